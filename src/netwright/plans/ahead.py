"""Kernels that a module may need, compiled from a run's first moment, while libraries are loaded and it is checked.

It imports little, so that this begins soon.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from netwright import native
from netwright.data.dataset import Data
from netwright.data.sources import LoaderSource
from netwright.given import Given
from netwright.plans import recurrent_kernels, winograd
from netwright.plans.compiled import DENSE
from netwright.records import Settings

LEAST_UPDATES = 100  # of a run for which a plan is looked for before an update was timed
# Layers that may be in a network of dense ones; whether what is between them can be done is seen in its operations.
LAYERS = (
    nn.Linear, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.GELU, nn.Dropout, nn.Flatten, nn.Identity,
    nn.LogSoftmax,
)  # fmt: skip


def begin(model: nn.Module, data: Data, settings: Settings, given: Given) -> None:
    """Begin with what a plan may take long to make, before anything else of a run is; ``wait`` for it."""
    if settings.plan not in ("auto", "kernels") or given.step is not None or isinstance(data.train, LoaderSource):
        return
    on_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if settings.device != "cpu" and (settings.device is not None or on_gpu):
        return
    samples = len(data.train) * (settings.epochs or 1)
    lazy = any(map(nn.parameter.is_lazy, model.parameters()))
    if samples >= LEAST_UPDATES * (settings.batch_size or 1) and not lazy:
        for one in _needed(model):
            native.begin(*one)


def wait(model: nn.Module) -> None:
    """Come back when what was begun for a module is done."""
    for one in _needed(model):
        native.wait(*one)


def are_built(model: nn.Module) -> bool:
    """Whether no kernel that a module may need is to be compiled."""
    return all(native.is_built(*one) for one in _needed(model))


def _needed(model: nn.Module) -> Iterator[tuple[Any, ...]]:
    """Sources of kernels that a module may need, with their macros."""
    if is_dense(model):
        yield (DENSE,)
        return
    if is_recurrent(model):
        yield (recurrent_kernels.SOURCE,)
    lanes = {winograd.lanes_for(*one.shape[1::-1]) for one in model.parameters() if winograd.takes(one.shape)}
    yield from ((winograd.SOURCE, *winograd.macros(one)) for one in sorted(lanes))


def is_dense(model: nn.Module) -> bool:
    """Whether all layers of a module are such as may be in a network of dense ones, with one of these among them."""
    leaves = [one for one in model.modules() if next(one.children(), None) is None]
    return any(type(one) is nn.Linear for one in leaves) and all(type(one) in LAYERS for one in leaves)


def is_recurrent(model: nn.Module) -> bool:
    """Whether it has layers that the recurrent kernels may do."""
    return any(isinstance(one, (nn.LSTM, nn.GRU)) for one in model.modules())
