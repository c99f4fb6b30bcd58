"""Whether a module answers the same twice: a graph keeps nothing from one call to the next, and draws nothing."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netwright.binding import unchanged
from netwright.errors import ExportRefusedError
from netwright.shipping.graph import Exported
from netwright.shipping.refusals import WANTED

Fields = tuple[Tensor, ...]
_SEEDS = (1, 2)


@contextlib.contextmanager
def as_before(model: nn.Module) -> Iterator[None]:
    """Put back what a module keeps beside its parameters: attributes, lists and dicts of its own, modes, buffers."""
    kept = [(module, dict(module.__dict__)) for module in model.modules()]
    inside = [
        (value, type(value)(value))
        for _, attributes in kept
        for name, value in attributes.items()
        if type(value) in (list, dict, set) and not (name.startswith("_") and hasattr(nn.Module, name))
    ]
    with unchanged(model):
        try:
            yield
        finally:
            for module, attributes in kept:
                for name in module.__dict__.keys() - attributes.keys():
                    del module.__dict__[name]
                module.__dict__.update(attributes)
            for value, before in inside:
                value.clear()
                value.extend(before) if isinstance(value, list) else value.update(before)


def refuse_memory(graph: Exported, example: Fields) -> bool:
    """Ask a module thrice: its answer must not depend on what it was asked before.

    Returns:
        Whether its answers depend on chance.

    Raises:
        ExportRefusedError: They depend on what it was asked before; what it keeps is named.
    """
    with as_before(graph), torch.no_grad():
        graph.eval()
        first = _asked(graph, example, _SEEDS[0])
        held = _tensors(graph.model)
        _asked(graph, tuple(value.flip(0) for value in example), _SEEDS[0])
        again = _asked(graph, example, _SEEDS[0])
        other = _asked(graph, example, _SEEDS[1])
        if not _alike(first, again):
            now = _tensors(graph.model)
            changed = [
                f"self.{name}"
                for name, value in now.items()
                if name not in held or held[name].shape != value.shape or not torch.equal(held[name], value)
            ]
            kind = type(graph.model).__name__
            raise ExportRefusedError(
                where=f"{kind}.forward",
                expected=WANTED,
                got=f"answers that depend on what was asked before, kept in {', '.join(changed) or 'global state'}",
                cure="Begin each forward anew: a state that is kept from batch to batch is given to it, or is zeros.",
            )
        return not _alike(again, other)


def _asked(graph: Exported, fields: Fields, seed: int) -> Fields:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    return tuple(value.clone() for value in graph(*[field.clone() for field in fields]))


def _alike(one: Fields, other: Fields) -> bool:
    return all(
        a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-5, equal_nan=True)
        for a, b in zip(one, other, strict=True)
    )


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {name: value.clone() for name, value in model.named_buffers()}
    for place, module in model.named_modules():
        for name, value in module.__dict__.items():
            held: list[Any] = list(value) if isinstance(value, tuple | list) else [value]
            tensors = [one for one in held if isinstance(one, Tensor)]
            if tensors:
                found[f"{place}.{name}".removeprefix(".")] = torch.cat([one.detach().flatten() for one in tensors])
    return found
