"""Where the numbers of pictures lie: channel after channel, or pixel after pixel with the channels side by side.

Convolutions and poolings run over the second faster, but pictures of several channels come in the first, and each
update puts them in the other order twice, which is not worth it where convolutions make little of them. A module that
asks for a plain view of what lies so, as ``x.view(len(x), -1)`` behind a convolution, cannot take it; so it is tried.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.binding import Binding, ask, plain_module
from netwright.records import Choice, Plan

# Numbers that convolutions give for each one of such pictures, on a processor. With channels apart an update takes 0.5
# to 0.7 of the time where they give 0.08 to 0.33 (patches of 8 or 16 pixels, a stride of 4), 0.8 to 0.95 where 1, and
# 1.1 to 1.7 where 2 or more (3 x 3 pixels, normalised or pooled); one convolution under a mean alone took 0.4 there.
WORTH_TURNING = 1.0
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


def made_of_pictures(model: nn.Module, binding: Binding, batch: Batch) -> float:
    """Numbers that 2-D convolutions give for each one of the pictures with several channels; infinite without such.

    Those of one channel lie alike in both orders. The module answers once, where the batch is.
    """
    numbers = sum(one.numel() for one in batch.inputs.values() if one.ndim == 4 and one.shape[1] > 1)
    if not numbers or isinstance(model, torch.jit.ScriptModule):
        return math.inf
    found: list[int] = []

    def count(module: nn.Module, inputs: object, output: object) -> None:
        del module, inputs
        if isinstance(output, Tensor):  # a class of one's own may answer more
            found.append(output.numel())

    hooks = [one.register_forward_hook(count) for one in model.modules() if isinstance(one, nn.Conv2d)]
    try:
        with torch.no_grad():
            ask(binding, model, batch.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(found) / numbers if found else math.inf


def with_layout(plan: Plan, model: nn.Module, binding: Binding, batch: Batch) -> Plan:
    """The plan, with pixels as they are made where the module cannot take them otherwise."""
    if plan["memory_format"] != "channels_last":
        return plan
    if plan["device"] == "cpu" and made_of_pictures(model, binding, batch) < WORTH_TURNING:
        reason = "convolutions make so little of the pictures that turning these takes longer than it saves"
    elif takes_channels_last(model, binding, batch):
        return plan
    else:
        reason = "the module does not take channels side by side, as x.view(…) behind a convolution does not"
    layout = Choice(name="memory_format", value="contiguous", reason=reason)
    return Plan(choices=tuple(layout if one.name == layout.name else one for one in plan.choices))
