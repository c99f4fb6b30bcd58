"""What a module holds beside parameters and buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn


def attributes(model: nn.Module) -> Mapping[str, Any]:
    """Plain values and tensors that modules hold beside parameters and buffers, so that a change of them is seen."""
    return dict(_walk(model))


def _walk(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for path, module in model.named_modules():
        recurrent = isinstance(module, nn.RNNBase)  # which lists its parameters anew where a program's stand for them
        for name, value in vars(module).items():
            if recurrent and name.startswith("_flat_weight"):
                continue
            if isinstance(value, (int, float, str, bool, tuple, type(None))) and name != "training":
                yield f"{path}.{name}".strip("."), value if not isinstance(value, tuple) else repr(value)
            elif isinstance(value, Tensor):
                yield f"{path}.{name}".strip("."), (id(value), value._version)
            elif isinstance(value, (list, set)) or (isinstance(value, dict) and not name.startswith("_")):
                yield f"{path}.{name}".strip("."), (id(value), len(value))
