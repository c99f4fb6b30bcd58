"""Which code an error has that keeps a module from being trained at all, and whether it is the person's at all."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from netwright.batch import Batch
from netwright.binding import bind, call
from netwright.checks.subject import copy_module
from netwright.errors import LossError, NetwrightError
from netwright.records import DataSpec


def code_of(model: nn.Module, error: NetwrightError) -> str:
    """The code of the fault behind an error; M00 where none is known."""
    if next(model.parameters(), None) is None:
        return "M10"
    if "columns, one for each class" in error.expected:
        return "L05"
    return "L04" if isinstance(error, LossError) else "M00"


def fits_plainly(model: nn.Module, spec: DataSpec, batch: Batch, loss_fn: Any) -> bool:
    """Whether a loss takes what the module returns, and the targets, as they are: then nothing is wrong with them.

    Asked of losses of the person's own, of cross entropy with a distribution for each sample, and of binary cross
    entropy with shares, as of masks.
    """
    if loss_fn is None or isinstance(loss_fn, (str, dict)):
        return False
    if type(loss_fn).__module__.startswith("torch.nn") and not _shares(loss_fn, batch.targets):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copied = copy_module(model).train()
            binding = bind(copied, tuple(batch.inputs), spec.parts)
            loss = loss_fn(call(binding, copied, batch.inputs), batch.targets)
    except Exception:
        return False
    return isinstance(loss, Tensor) and loss.numel() == 1 and bool(torch.isfinite(loss)) and loss.requires_grad


def _shares(loss_fn: nn.Module, targets: object) -> bool:
    """Whether targets are the shares that a cross entropy takes beside classes: of each sample, or of each number."""
    if not isinstance(targets, Tensor) or not targets.is_floating_point() or not bool((targets >= 0).all()):
        return False
    if isinstance(loss_fn, nn.CrossEntropyLoss):
        return targets.ndim == 2 and bool(((targets.sum(1) - 1).abs() < 1e-4).all())
    return isinstance(loss_fn, (nn.BCELoss, nn.BCEWithLogitsLoss)) and bool((targets <= 1).all())
