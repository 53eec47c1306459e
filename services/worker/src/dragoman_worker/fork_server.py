# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Starts model processes by fork: ``python -m dragoman_worker.fork_server DEVICE FD``.

torch takes seconds of CPU time to import. This process imports it once and does nothing else, so that a model process
that died is replaced in the time of a fork. It has no model, no second thread and no CUDA context: nothing in it that a
fork would break. One message is one packet of a Unix socket (see forked_process.py for the front's end):

    front  -> START, with the descriptor of the new process's socket     STARTED pid, or FAILED errno ->
    front  -> KILL pid                                                   ENDED pid status ->

Only who reaps a process knows that its number is not yet another's, so the kill is asked for here. When the front goes,
the socket closes and this process ends; the kernel then ends its children, as model_process.py asked it to.
"""

import errno
import importlib
import logging
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import NoReturn

from dragoman_common import logs
from dragoman_worker import model_process

logger = logging.getLogger(__name__)

MESSAGE = struct.Struct("<cii")
START, KILL, STARTED, FAILED, ENDED = b"S", b"K", b"s", b"f", b"e"
# Imported before the first fork. The architecture's module brings torch with it.
PRELOADED = ("dragoman_models.rnn",)


def main(descriptor: int, serve: Callable[[int], int], preloaded: tuple[str, ...] = PRELOADED) -> int:
    """Fork on request until the front closes its end.

    Args:
        descriptor: This end of the control socket.
        serve: Runs in each child with the descriptor of its model's socket; returns the exit status.
        preloaded: Modules to import first.

    Returns:
        The exit status.
    """
    logs.configure("worker-fork-server", "INFO")
    model_process.end_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for name in preloaded:
        importlib.import_module(name)
    with socket.socket(fileno=descriptor) as control:
        _run(control, serve)
    return 0


def _run(control: socket.socket, serve: Callable[[int], int]) -> None:
    # A child's end wakes the wait below through this pair; the handler itself has nothing to do.
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    woken.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _reap(control, children)
        if control in ready:
            data, descriptors, _, _ = socket.recv_fds(control, MESSAGE.size, 1)
            if not data:
                return
            kind, pid, _ = MESSAGE.unpack(data)
            if kind == START:
                _start(control, descriptors, serve, children)
            elif kind == KILL and pid in children:
                os.kill(pid, signal.SIGKILL)


def _start(control: socket.socket, descriptors: list[int], serve: Callable[[int], int], children: set[int]) -> None:
    """Fork, or say why not: the end of this process would be the end of every model that it has started."""
    if not descriptors:
        # The kernel drops a descriptor for which this process has no place left.
        control.send(MESSAGE.pack(FAILED, 0, errno.EMFILE))
        return
    descriptor = descriptors[0]
    try:
        pid = os.fork()
    except OSError as error:
        os.close(descriptor)
        control.send(MESSAGE.pack(FAILED, 0, error.errno or 0))
        return
    if pid == 0:
        _serve_and_exit(control, descriptor, serve)
    children.add(pid)
    os.close(descriptor)
    control.send(MESSAGE.pack(STARTED, pid, 0))


def _serve_and_exit(control: socket.socket, descriptor: int, serve: Callable[[int], int]) -> NoReturn:
    """What the child does."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # The child must not hold the control socket: its copy would keep it open after this process has gone.
        control.close()
        status = serve(descriptor)
    except BaseException:
        logger.exception("model process failed")
    finally:
        # Not exit(): what this process has registered for its own end is not the child's.
        os._exit(status)


def _reap(control: socket.socket, children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        control.send(MESSAGE.pack(ENDED, pid, os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    # The children's device; asked for by each of them alone, since a CUDA context does not survive a fork.
    sys.exit(main(int(sys.argv[2]), lambda descriptor: model_process.main([sys.argv[1], str(descriptor)])))
