# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The supervisor, with tiny Python programs as services."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dragoman_client.local.child import Timing
from dragoman_client.local.home import Home
from dragoman_client.local.process import ProcessIdentity, processes_of_run
from dragoman_client.local.service_spec import ServiceSpec
from dragoman_client.local.state import PlatformState, is_supervised, read_state
from dragoman_client.local.supervisor import Supervisor

FAST = Timing(start_timeout_s=20.0, poll_s=0.01, first_backoff_s=0.01, max_backoff_s=0.02, stop_grace_s=10.0)

SERVICE = """
import json, os, signal, socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
host, port = os.environ["LISTEN"].split(":")
listener.bind((host, int(port)))
listener.listen()
signal.signal(signal.SIGTERM, lambda *_: (print("told to end", flush=True), sys.exit(0)))
path = os.environ["READY"]
with open(path + ".tmp", "w") as file:
    json.dump({"port": listener.getsockname()[1], "pid": os.getpid()}, file)
os.rename(path + ".tmp", path)
print("needs", os.environ.get("NEEDED_PORT"), flush=True)
while True:
    signal.pause()
"""


async def always(_: int) -> bool:
    return True


def spec(name: str, program: str = SERVICE, *, needs: tuple[str, ...] = ()) -> ServiceSpec:
    return ServiceSpec(
        name=name,
        command=(sys.executable, "-S", "-c", program),
        needs=needs,
        environment=lambda ports: {"NEEDED_PORT": str(ports[needs[0]])} if needs else {},
        listen_variable="LISTEN",
        ready_file_variable="READY",
    )


def state_of_this_process() -> PlatformState:
    return PlatformState(
        run_id=os.urandom(8).hex(),
        phase="starting",
        supervisor_pid=os.getpid(),
        supervisor_start_mark="",
        grpc_target="",
        http_address="",
    )


class Run:
    """A supervisor in this process's loop, and the wait for what a test needs to see."""

    def __init__(self, home: Home, services: list[ServiceSpec]) -> None:
        self.state = state_of_this_process()
        self._changed = asyncio.Event()
        self.supervisor = Supervisor(
            home,
            services,
            self.state,
            environ=dict(os.environ),
            is_serving=always,
            timing=FAST,
            on_change=lambda _: self._changed.set(),
        )
        self.task = asyncio.create_task(self.supervisor.run())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> PlatformState:
        os.kill(os.getpid(), signal.SIGTERM)
        return await self.task


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


@pytest.fixture
async def start(home: Home) -> Callable[..., Run]:
    return lambda *services: Run(home, list(services))


async def test_needs_are_ready_first_and_their_ports_are_handed_on(home: Home, start: Callable[..., Run]) -> None:
    run = start(spec("second", needs=("first",)), spec("first"))
    await run.until(lambda: run.state.phase == "ready")
    first = run.state.service("first")
    assert home.log_file("second").read_text().splitlines() == [f"needs {first.port}"]
    assert first.port > 0
    await run.stop()


async def test_stop_lets_services_end_in_reverse_order_and_leaves_no_process(
    home: Home, start: Callable[..., Run]
) -> None:
    run = start(spec("a"), spec("b"))
    await run.until(lambda: run.state.phase == "ready")
    assert len(processes_of_run(run.state.run_id, home.jobs)) == 2
    stopped: list[str] = []
    run.supervisor._on_change = lambda state: stopped.extend(
        service.name for service in state.services if service.state == "stopped" and service.name not in stopped
    )
    state = await run.stop()
    assert stopped == ["b", "a"]
    assert state.phase == "stopped"
    assert processes_of_run(run.state.run_id, home.jobs) == ()
    assert "told to end" in home.log_file("a").read_text()
    assert not home.ready_file("a").exists()


async def test_killed_service_comes_back_on_the_same_port(start: Callable[..., Run]) -> None:
    run = start(spec("a"))
    await run.until(lambda: run.state.phase == "ready")
    service = run.state.service("a")
    pid, port = service.pid, service.port
    os.kill(pid, signal.SIGKILL)
    await run.until(lambda: service.state == "ready" and service.pid != pid)
    assert service.port == port
    assert service.num_restarts == 1
    await run.stop()


async def test_first_start_that_fails_ends_the_platform_and_names_service_and_log(
    home: Home, start: Callable[..., Run]
) -> None:
    run = start(spec("good"), spec("bad", "import sys; print('no such setting: X', file=sys.stderr); sys.exit(2)"))
    state = await run.task
    assert state.phase == "failed"
    assert state.failed_service == "bad"
    assert "bad ended with 2" in state.failure
    assert "no such setting: X" in state.failure
    assert processes_of_run(state.run_id, home.jobs) == ()
    written = read_state(home)
    assert written is not None
    assert written.failure == state.failure


async def test_service_that_never_gets_ready_fails_within_the_start_timeout(home: Home) -> None:
    state = state_of_this_process()
    supervisor = Supervisor(
        home,
        [spec("mute", "import signal; signal.pause()")],
        state,
        environ=dict(os.environ),
        is_serving=always,
        timing=Timing(start_timeout_s=0.05, poll_s=0.01, stop_grace_s=5.0),
    )
    await supervisor.run()
    assert "mute was not ready after 0.05 s" in state.failure
    assert processes_of_run(state.run_id, home.jobs) == ()


async def test_service_that_is_not_serving_is_not_ready(home: Home) -> None:
    answers = iter([False, False, True])
    asked: list[int] = []

    async def third_time(port: int) -> bool:
        asked.append(port)
        return next(answers)

    check: Callable[[int], Awaitable[bool]] = third_time
    state = state_of_this_process()
    changed = asyncio.Event()
    supervisor = Supervisor(
        home,
        [spec("slow")],
        state,
        environ=dict(os.environ),
        is_serving=check,
        timing=FAST,
        on_change=lambda s: changed.set() if s.phase == "ready" else None,
    )
    task = asyncio.create_task(supervisor.run())
    await asyncio.wait_for(changed.wait(), 30)
    assert len(asked) == 3
    os.kill(os.getpid(), signal.SIGTERM)
    await task


SUPERVISOR_PROGRAM = """
import asyncio, json, os, sys
sys.path.insert(0, sys.argv[2])
from test_supervisor import FAST, always, spec
from dragoman_client.local.home import Home
from dragoman_client.local.process import ProcessIdentity
from dragoman_client.local.state import PlatformState, supervision
from dragoman_client.local.supervisor import Supervisor
from pathlib import Path
STUBBORN = '''import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
''' + __import__("test_supervisor").SERVICE.replace("signal.signal(signal.SIGTERM", "(lambda *_: None)(signal.SIGTERM")
home = Home(Path(sys.argv[1])); home.create()
own = ProcessIdentity.of(os.getpid())
state = PlatformState(run_id="f" * 32 + str(os.getpid()), phase="starting", supervisor_pid=own.pid,
                      supervisor_start_mark=own.start_mark, grpc_target="", http_address="")
def tell(state):
    if state.phase == "ready":
        print("ready", flush=True)
with supervision(home):
    asyncio.run(Supervisor(home, [spec("polite"), spec("stubborn", STUBBORN)], state, environ=dict(os.environ),
                           is_serving=always, timing=FAST, on_change=tell).run())
"""


@pytest.fixture
def killed_platform(home: Home) -> PlatformState:
    """A platform whose supervisor was SIGKILLed; one of its services ignores SIGTERM."""
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR_PROGRAM, str(home.root), str(Path(__file__).parent)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        state = read_state(home)
        assert state is not None
        process.kill()
    return state


def test_down_after_the_supervisor_was_killed_leaves_no_process_and_no_run_file(
    home: Home, killed_platform: PlatformState, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dragoman_client.local import platform

    monkeypatch.setattr(platform, "SERVICE_GRACE_S", 0.1)
    assert not is_supervised(home)
    assert killed_platform.service("stubborn").process.is_alive()
    assert platform.Platform(home, os.environ).stop() is True
    assert processes_of_run(killed_platform.run_id, home.jobs) == ()
    assert list(home.run.iterdir()) == []
    assert platform.Platform(home, os.environ).stop() is False


def test_down_ends_a_training_job_that_its_launcher_left(home: Home) -> None:
    from dragoman_client.local.platform import Platform

    state_of_this_process().write(home.state_file)
    environ = {"DRAGOMAN_TRAINER_OUTPUT_DIR": f"{home.jobs}/j-1/output"}
    with subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"], env=environ) as job:
        assert Platform(home, os.environ).stop() is True
        assert job.wait(timeout=10) == -signal.SIGTERM


def test_pid_that_was_handed_out_again_is_left_alone(home: Home) -> None:
    own = ProcessIdentity.of(os.getpid())
    assert own is not None
    assert own.is_alive()
    stranger = ProcessIdentity(own.pid, "another-boot:1")
    assert not stranger.is_alive()
    # Would end this test run if the start mark were not compared.
    stranger.send(signal.SIGKILL)


def test_state_file_is_private_json(home: Home) -> None:
    state_of_this_process().write(home.state_file)
    assert home.state_file.stat().st_mode & 0o777 == 0o600
    assert json.loads(home.state_file.read_text())["phase"] == "starting"
