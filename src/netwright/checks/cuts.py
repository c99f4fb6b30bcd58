"""The line at which the graph between some parameters and the answer ends, read out of recorded operations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from netwright.checks.leaves import FLAT, returned_tensors
from netwright.checks.optrace import Op, record, tensors_in
from netwright.checks.sourcecode import Place, source_line
from netwright.checks.subject import NotCheckedError, Subject

CHOICES = frozenset({"argmax", "argmin", "argsort", "multinomial", "bernoulli", "topk", "sort"})
NUMBERS = frozenset({"item", "tolist", "numpy", "__array__", "__float__", "__int__", "__index__"})


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the graph ends: the line, what was seen there in words, and what to write instead."""

    place: Place | None
    words: str
    cure: str


def find_cut(subject: Subject, names: list[str]) -> Cut | None:
    """The operation that takes values of these parameters and gives something without a graph; None where none is."""
    model = subject.fresh(train=True)
    try:
        inputs, _ = subject.rows()
        subject.call(model, inputs, grad=True)
        returned, ops = record(lambda: subject.call(model, inputs, grad=True))
    except NotCheckedError:
        return None
    own = dict(model.named_parameters())
    tainted = {id(own[name]) for name in names if name in own}
    needed = _needed(returned, ops)
    best: tuple[int, int, Op] | None = None
    for at, op in enumerate(ops):
        given = [one for one in op.tensors() if id(one) in tainted]
        if not given:
            continue
        made = tensors_in(op.out)
        tainted |= {id(one) for one in made}
        rank = _rank(op, given, made, needed)
        # On the way to the answer the first counts; of those that lead out of torch the last, which is the nearest.
        if rank is not None and (best is None or rank < best[0] or (rank == best[0] == 3)):
            best = (rank, at, op)
    return None if best is None else _told(best[2])


def _needed(returned: object, ops: list[Op]) -> set[int]:
    """Ids of all tensors that what comes back is made of."""
    needed = {id(one) for one in returned_tensors(returned)}
    for op in reversed(ops):
        if any(id(one) in needed for one in tensors_in(op.out)):
            needed |= {id(one) for one in op.tensors()}
    return needed


def _rank(op: Op, given: list[Tensor], made: list[Tensor], needed: set[int]) -> int | None:
    """How surely this operation is the cut, 0 the surest; None where it is none."""
    if not any(one.requires_grad for one in given):
        return None
    if any(one.requires_grad for one in made):
        flat = any(type(one.grad_fn).__name__ in FLAT for one in made if one.grad_fn is not None)
        return 1 if flat and any(id(one) in needed for one in made) else None
    if any(id(one) in needed for one in made):
        return 0 if any(one.is_floating_point() for one in made) else 2
    return 3 if op.short in NUMBERS or op.short == "detach" or op.name.endswith("data.__get__") else None


def _told(op: Op) -> Cut:
    line = source_line(op.place)
    shown = f", at `{line[:90]}`" if line else ""
    if op.short == "detach":
        return Cut(op.place, f".detach() ends the graph{shown}", "Take the .detach() away.")
    if op.name.endswith("data.__get__"):
        return Cut(op.place, f".data is outside of the graph{shown}", "Use the tensor itself in place of its .data.")
    if op.short in NUMBERS:
        cure = "Stay in torch: torch.stack(list), not torch.tensor(list); torch's functions, not NumPy's."
        return Cut(op.place, f".{op.short.strip('_')}() leaves the graph{shown}", cure)
    if op.short in CHOICES or op.short in ("gt", "lt", "ge", "le", "eq", "ne"):
        cure = "Use something with a slope: softmax weights, gumbel_softmax, or x + (hard - x).detach()."
        return Cut(op.place, f"{op.short} has no derivative{shown}", cure)
    if any(type(one.grad_fn).__name__ in FLAT for one in tensors_in(op.out)):
        cure = f"Pass the gradient straight through: x + (x.{op.short}() - x).detach()"
        return Cut(op.place, f"the derivative of {op.short} is 0 everywhere{shown}", cure)
    if op.short in ("tensor", "as_tensor", "from_numpy"):
        return Cut(op.place, f"torch.{op.short} makes a tensor without a graph{shown}", "torch.stack(list of tensors)")
    cure = "Take it out of torch.no_grad(), or freeze it: layer.requires_grad_(False)"
    return Cut(op.place, f"{op.short} is computed under no_grad{shown}", cure)
