"""Python that goes one way for some sizes and another for others: tracing follows the example's way alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from netwright.errors import ExportRefusedError, NetwrightError
from netwright.shipping.graph import Exported
from netwright.shipping.refusals import WANTED
from netwright.shipping.steady import as_before
from netwright.shipping.watching import Assumed

MOST = 64  # sizes that are tried for one that goes another way
CLOSE = 1e-4
Fields = tuple[Tensor, ...]


def own_ways(assumed: Sequence[Assumed]) -> list[Assumed]:
    """Assumptions about sizes that the person's own code made, as in `if x.shape[1] > 5`."""
    return [one for one in assumed if one.fixed is None and one.own and one.line is not None]


def refuse_ways(graph: Exported, program: ExportedProgram, assumed: Sequence[Assumed], example: Fields) -> None:
    """Where the person's code asked for a size, ask module and program at a size that would go the other way.

    Args:
        program: Traced for torch, so that it runs.

    Raises:
        ExportRefusedError: They answer otherwise; the line is named.
    """
    axes, hints = _axes(graph, program, example)
    module = program.module(check_guards=False)
    for one in own_ways(assumed):
        for symbol in {str(free) for free in one.relation.free_symbols} & axes.keys():
            size = _other_size(one.relation, symbol, hints)
            if size is None:
                continue
            fields = resized(graph, example, axes[symbol], size)
            with torch.no_grad(), as_before(graph):
                graph.eval()
                try:
                    wanted = graph(*[value.clone() for value in fields])
                except (RuntimeError, ValueError, IndexError, AssertionError, TypeError, NetwrightError):
                    continue  # the module itself takes no such size
                try:
                    found = module(*fields)
                except (RuntimeError, ValueError, IndexError, AssertionError, TypeError):
                    found = ()
            if not _alike(wanted, found):
                what = "samples" if axes[symbol] == "batch" else "positions"
                raise ExportRefusedError(
                    where=one.line or "forward",
                    expected=WANTED,
                    got=f"a Python `if` on a size: {hints[symbol]} {what} go one way and {size} another",
                    cure=f"  {one.line}\n    {one.source.strip()}\nWrite one way for all sizes, as "
                    "functional.pad(x, (0, -x.shape[-1] % 2)), an adaptive pool, or a mask.",
                )


def _axes(graph: Exported, program: ExportedProgram, example: Fields) -> tuple[dict[str, str], dict[str, int]]:
    """By symbol of a size the axis it is of, and the example's size."""
    axes: dict[str, str] = {}
    hints: dict[str, int] = {}
    nodes = {node.name: node for node in program.graph_module.graph.nodes if node.op == "placeholder"}
    for one, name, value in zip(graph.inputs, program.graph_signature.user_inputs, example, strict=True):
        shape = nodes[str(name)].meta["val"].shape
        for axis, called in one.axes.items():
            axes.setdefault(str(shape[axis]), called)
            hints.setdefault(str(shape[axis]), value.shape[axis])
    return axes, hints


def _other_size(relation: Any, symbol: str, hints: Mapping[str, int]) -> int | None:
    """The size nearest to the example's at which a relation does not hold."""
    for size in sorted(range(1, MOST + 1), key=lambda size: abs(size - hints[symbol])):
        values = {free: size if str(free) == symbol else hints.get(str(free), 2) for free in relation.free_symbols}
        if relation.subs(values) == False:  # noqa: E712 - SymPy's own false is not Python's
            return size
    return None


def resized(graph: Exported, example: Fields, axis: str, size: int) -> Fields:
    """The example with another size of one axis; lengths and masks say that the first sample fills it."""
    found = []
    for one, value in zip(graph.inputs, example, strict=True):
        changed = value
        for place, called in one.axes.items():
            if called == axis:
                changed = changed.index_select(place, torch.arange(size) % changed.shape[place])
        if axis != "batch" and one.name == f"{axis}s":
            changed = torch.full_like(changed, size)
        if axis != "batch" and changed.dtype == torch.bool and axis in one.axes.values():
            changed = torch.ones_like(changed)
        found.append(changed.contiguous())
    return tuple(found)


def _alike(wanted: Fields, found: Fields) -> bool:
    return len(wanted) == len(found) and all(
        one.shape == other.shape
        and torch.allclose(one.double(), other.double(), rtol=CLOSE, atol=CLOSE, equal_nan=True)
        for one, other in zip(wanted, found, strict=True)
    )
