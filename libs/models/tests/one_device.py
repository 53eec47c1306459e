# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""For tests: that what is computed is computed on one device, on machines that have no other than the CPU.

torch's meta device computes shapes and no values, and takes tensors of other devices without a word: this refuses them.
"""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

META = "meta"
COPIES = (torch.ops.aten.to, torch.ops.aten._to_copy)


class OneDevice(TorchDispatchMode):
    """Holds every operation to tensors of one device, but for the copies that are asked for.

    Args:
        more_copies: Operations that may copy from one device to another, beside COPIES.

    Attributes:
        on_meta: How many operations were computed on the meta device.
    """

    def __init__(self, *more_copies: Any) -> None:
        super().__init__()
        self._copies = (*COPIES, *more_copies)
        self.on_meta = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See TorchDispatchMode.

        Raises:
            AssertionError: an operation is given, or gives, tensors of two devices.
        """
        answer = function(*args, **(kwargs or {}))
        if function.overloadpacket not in self._copies:
            leaves = torch.utils._pytree.tree_leaves((args, kwargs, answer))
            seen = {leaf.device.type for leaf in leaves if torch.is_tensor(leaf)}
            assert len(seen) <= 1, f"{function} is given tensors of {sorted(seen)}"
            self.on_meta += seen == {META}
        return answer
