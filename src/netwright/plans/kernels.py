"""The recorded update with kernels of our own, compiled for this processor: convolutions of 3x3, LSTM and GRU layers.

Whatever they do not know stays with torch's kernels. Of networks of dense layers they do the whole update, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn
from torch.fx import GraphModule

from netwright import native
from netwright.batch import Batch
from netwright.plans import recurrent_kernels, winograd
from netwright.plans.dense import SOURCE as DENSE
from netwright.plans.dense import dense, is_dense
from netwright.plans.recording import record
from netwright.plans.recurrent import Layers, by_kernels
from netwright.plans.tracing import NoProgramError
from netwright.step import Program, TrainState

Shares = tuple[float, float, float]
# Measured with 32 to 512 units, one thread: of a GRU's update 28 to 86 %, of an LSTM's 2 to 45 %. Of updates with
# convolutions of 32 to 512 channels 30 to 50 %.
OF_GRU, OF_LSTM, OF_CONVOLUTIONS = (0.7, 0.6, 0.4), (0.4, 0.3, 0.25), (0.1, 0.3, 0.3)
OF_DENSE = (0.85, 0.6, 0.0)  # of 20-64-64-3, some 1 ms, nine tenths; by one thread, which long updates are not worth


def may_save(model: nn.Module) -> Shares | None:
    """Shares of an update, as ``Way.saves`` has them; None where there is nothing that the kernels may do."""
    if is_dense(model):
        return OF_DENSE
    found = [OF_GRU] if _has(model, nn.GRU) else [OF_LSTM] if _has(model, nn.LSTM) else []
    if _may_convolve(model):
        found.append(OF_CONVOLUTIONS)
    return max(found, default=None)


def are_built(model: nn.Module) -> bool:
    """Whether no kernel that a module may need is to be compiled."""
    return all(native.is_built(*one) for one in _needed(model))


def begin(model: nn.Module) -> None:
    """Compile what a module may need beside what else is done, as to load torch's compiler and to check the module."""
    for one in _needed(model):
        native.begin(*one)


def wait(model: nn.Module) -> None:
    """Come back when what was begun for a module is done."""
    for one in _needed(model):
        native.wait(*one)


def _needed(model: nn.Module) -> Iterator[tuple[Any, ...]]:
    """Sources of kernels that a module may need, with their macros."""
    if is_dense(model):
        yield (DENSE,)
        return
    if _has(model, nn.LSTM, nn.GRU):
        yield (recurrent_kernels.SOURCE,)
    lanes = {winograd.lanes_for(*one.shape[1::-1]) for one in model.parameters() if winograd.takes(one.shape)}
    yield from ((winograd.SOURCE, *winograd.macros(one)) for one in sorted(lanes))


def kernels(state: TrainState, batch: Batch) -> Callable[[], Program]:
    """What makes the plan for a state like this one, by batches like this one.

    Raises:
        NoProgramError: It cannot be recorded, there is nothing that the kernels can do, or they cannot be compiled.
    """
    if may_save(state.model) is None:
        raise NoProgramError("the module has no convolution of 3x3, no LSTM and no GRU, and is not all dense layers")
    if is_dense(state.model):
        return dense(state, batch)
    layers, convolutions = Layers(), 0
    if _has(state.model, nn.LSTM, nn.GRU):
        recurrent_kernels.library()

    def rewrite(graph: GraphModule) -> float:
        nonlocal convolutions
        by_kernels(graph)
        convolutions = winograd.exchange(graph)
        return winograd.ROUNDS if convolutions else 1.0

    made = record(state, batch, within=layers, rewrite=rewrite)
    if not layers.done and not convolutions:
        raise NoProgramError("; ".join(_reasons(state.model)))
    return made


def _reasons(model: nn.Module) -> Iterable[str]:
    """Why nothing was done."""
    if _has(model, nn.LSTM, nn.GRU):
        yield "no LSTM or GRU is called with float32 tensors of whole sequences"
    if _may_convolve(model):
        yield "no convolution of 3x3 is in float32, with stride 1, channels last and large enough"


def _has(model: nn.Module, *kinds: type[nn.Module]) -> bool:
    return any(isinstance(one, kinds) for one in model.modules())


def _may_convolve(model: nn.Module) -> bool:
    return any(winograd.takes(one.shape) for one in model.parameters())
