"""Things of the script's that are held till the end, or only known as long as the script itself holds them."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any, cast

import torch


class Hold:
    """A thing of the script's: held, or only known as long as the script itself holds it.

    Args:
        held: Whether it is held from the beginning.
        ended: Called when a thing that was not held is gone.
    """

    __slots__ = ("_strong", "_weak", "kind")

    def __init__(self, thing: Any, *, held: bool = True, ended: Callable[[], None] | None = None) -> None:
        self.kind = type(thing).__name__
        self._strong = thing
        if held:
            return
        try:
            self._weak = weakref.ref(thing, None if ended is None else lambda _: _tell(ended))
        except TypeError:
            return
        self._strong = None

    def get(self) -> Any:
        """The thing; None where it is gone."""
        return self._weak() if self._strong is None else self._strong

    def keep(self) -> None:
        """Hold it from now on."""
        self._strong = self.get()


def _tell(ended: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # it would be printed among what the script prints
        ended()


def gone_optimizer(kind: str) -> torch.optim.Optimizer:
    """What stands for an optimizer that is gone: of the same name, without parameters."""
    return cast(torch.optim.Optimizer, type(kind, (), {"param_groups": []})())
