"""Load data: look at what was given, say what was understood and why, and hold it ready as splits.

Each name is fetched when it is used: what answers from a bundle takes parts of this package that do without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netwright.data.dataset import Data
    from netwright.data.loading import load

__all__ = ["Data", "load"]

_HOMES = {"Data": "dataset", "load": "loading"}


def __getattr__(name: str) -> object:
    """Fetch a public name from its module (PEP 562)."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'netwright.data' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(f"netwright.data.{_HOMES[name]}"), name)
