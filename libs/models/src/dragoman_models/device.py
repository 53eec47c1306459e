# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where a model is computed: on the CPU, or on a CUDA device.

Owns the choice and what float32 means there. It is made in the process that computes, by the architectures on torch
only: the others compute on the CPU wherever they are, and this module imports torch no earlier than it must.

    auto | cpu | cuda -> what torch finds -> cpu | cuda, or an error that says what was found
"""

import sys

from dragoman_common.errors import FailedPreconditionError

AUTO, CPU, CUDA = "auto", "cpu", "cuda"
CHOICES = (AUTO, CPU, CUDA)


class DeviceMissingError(FailedPreconditionError):
    """The device that was asked for is not here. Nothing is computed elsewhere instead."""


def check_choice(choice: str, *, name: str = "DEVICE") -> None:
    """Refuse what is no choice.

    Raises:
        ValueError: it is none of CHOICES; the text begins with the setting's name.
    """
    if choice not in CHOICES:
        raise ValueError(f"{name}: must be one of {', '.join(CHOICES)}")


def choose(choice: str) -> str:
    """Return the torch device to compute on, `cpu` or `cuda`, and make float32 there what it is on the CPU.

    Args:
        choice: `cpu`; `cuda`: the first device that is visible; `auto`: that one where there is one, else the CPU.

    Raises:
        DeviceMissingError: `cuda` is asked for and torch has none.
        ValueError: none of CHOICES.
    """
    check_choice(choice)
    if choice == CPU:
        return CPU
    import torch

    if not torch.cuda.is_available():
        if choice == AUTO:
            return CPU
        raise DeviceMissingError(f"DEVICE is cuda, but {_found()}, or set DEVICE to cpu (slower) or auto")
    keep_float32()
    return CUDA


def keep_float32() -> None:
    """Keep products of float32 numbers at float32 in this process: no TF32, whose 10 bits are off by 1e-3.

    torch has it off for matrices and on for cuDNN, which is what computes an rnn on CUDA.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def is_lost(error: Exception) -> bool:
    """Whether CUDA itself failed, so that this process must not be relied on to compute there again.

    After most such errors nothing can; some spoil only what was asked for. The two are not told apart: a new process is
    right after either. Memory that torch's own allocator cannot give is not such an error.
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.AcceleratorError)


def _found() -> str:
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA: take an image or package of torch that has it"
    return (
        f"no CUDA device is visible to torch {torch.__version__}: give the container or process one (nvidia.com/gpu, "
        f"CUDA_VISIBLE_DEVICES), on a host whose driver knows CUDA {torch.version.cuda}"
    )
