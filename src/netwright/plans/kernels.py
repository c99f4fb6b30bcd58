"""The recorded update with kernels of our own, compiled for this processor: convolutions of 3x3, LSTM and GRU layers.

Whatever they do not know stays with torch's kernels. Of networks of dense layers they do the whole update, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn
from torch.fx import GraphModule

from netwright.batch import Batch
from netwright.plans import recurrent_kernels, winograd
from netwright.plans.ahead import is_dense, is_recurrent
from netwright.plans.dense import dense
from netwright.plans.operations import NoProgramError
from netwright.plans.recording import record
from netwright.plans.recurrent import Layers, by_kernels
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
    found = []
    if is_recurrent(model):
        found.append(OF_GRU if any(isinstance(one, nn.GRU) for one in model.modules()) else OF_LSTM)
    if _may_convolve(model):
        found.append(OF_CONVOLUTIONS)
    return max(found, default=None)


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
    if is_recurrent(state.model):
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
    if is_recurrent(model):
        yield "no LSTM or GRU is called with float32 tensors of whole sequences"
    if _may_convolve(model):
        yield "no convolution of 3x3 is in float32, with stride 1, channels last and large enough"


def _may_convolve(model: nn.Module) -> bool:
    return any(winograd.takes(one.shape) for one in model.parameters())
