"""Which code an error has that keeps a module from being trained at all."""

from __future__ import annotations

from torch import nn

from netwright.errors import LossError, NetwrightError


def code_of(model: nn.Module, error: NetwrightError) -> str:
    """The code of the fault behind an error; M00 where none is known."""
    if next(model.parameters(), None) is None:
        return "M10"
    if "columns, one for each class" in error.expected:
        return "L05"
    return "L04" if isinstance(error, LossError) else "M00"
