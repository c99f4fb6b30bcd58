"""Where the numbers of pictures lie: channel after channel, or pixel after pixel with the channels side by side.

Convolutions and poolings run over the second faster. A module that asks for a plain view of what lies so, as
``x.view(len(x), -1)`` behind a convolution, cannot take it; so it is tried before it is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.binding import Binding, ask, plain_module
from netwright.records import Choice, Plan

SAME = 1e-3  # of the largest answer; rounding differs where sums are in another order


def has_convolutions(model: nn.Module) -> bool:
    """Whether the module has 2-D convolutions."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def plain_layout(model: nn.Module) -> None:
    """Parameters in the layout that a module is made with, whatever the training had laid them out in."""
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@contextlib.contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """Kernels with their channels side by side inside; each parameter's own storage again after."""
    held = [(one, one.data) for one in model.parameters() if one.ndim == 4]
    try:
        for one, data in held:
            one.data = data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for one, data in held:
            one.data = data


def takes_channels_last(model: nn.Module, binding: Binding, batch: Batch) -> bool:
    """Whether the module answers a few samples alike in both layouts. It is in eval mode, where the batch is.

    The random generators are moved; what they gave is the same for both.
    """
    if plain_module(model) is not model or isinstance(model, torch.jit.ScriptModule):  # made for one layout
        return False
    if any(one.is_inference() for one in model.parameters()):
        return False
    drawn = torch.get_rng_state()
    with torch.no_grad():
        plain = _numbers(ask(binding, model, batch.inputs))
        torch.set_rng_state(drawn)
        try:
            with channels_last(model):
                other = _numbers(ask(binding, model, batch.inputs))
        except Exception:  # whatever a module raises of a layout that it does not take
            return False
    return len(plain) == len(other) and all(map(_alike, plain, other))


def _numbers(outputs: Any) -> list[Tensor]:
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def _alike(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    scale = float(first.abs().max()) if first.numel() else 0.0
    return torch.allclose(first.double(), second.double(), rtol=SAME, atol=SAME * scale, equal_nan=True)


def with_layout(plan: Plan, model: nn.Module, binding: Binding, batch: Batch) -> Plan:
    """The plan, with pixels as they are made where the module cannot take them otherwise."""
    if plan["memory_format"] != "channels_last" or takes_channels_last(model, binding, batch):
        return plan
    reason = "the module does not take channels side by side, as x.view(…) behind a convolution does not"
    layout = Choice(name="memory_format", value="contiguous", reason=reason)
    return Plan(choices=tuple(layout if one.name == layout.name else one for one in plan.choices))
