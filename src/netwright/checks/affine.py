"""Linear layers with nothing between them: together they can do no more than one.

That the pair is affine is tried out on a copy: what goes into the first is replaced, and what comes out of the last
must add up. That nothing else takes the first one's result is tried out too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode, resolve_name

from netwright.checks.catalogue import finding
from netwright.checks.leaves import MOST_NODES, Training, parts_that_differ, returned_tensors
from netwright.checks.linears import STEPS, Flow, Link, Step, flow_of, leaves_attention, links, meets_attention
from netwright.checks.optrace import Op
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, made_at
from netwright.checks.subject import Inputs, Subject, pick
from netwright.checks.traced import seeded_call, traced
from netwright.records import Finding

MOST_ROWS = 7
MOST_TRIED = 12  # chains of one module that are tried out
AFFINE = 1e-3  # of the largest result; rounding of float32 leaves some 1e-6, a sigmoid or GELU between some 1e-1
SAME = 1e-4  # of the largest answer; far above rounding
SWAPS = frozenset({"transpose", "permute", "swapaxes", "swapdims", "movedim", "t"})


class _DoneError(BaseException):
    """What was wanted has been seen; no Exception, so that no module catches it."""


@dataclass
class Swap(TorchFunctionMode):
    """Replace what some products of a call get or give, and catch what one gives.

    Attributes:
        given, made: By ordinal of the product what replaces its input and its result.
        until: Ordinal of the product whose result is wanted; None: go on to the end.
    """

    given: dict[int, Tensor] = field(default_factory=dict)
    made: dict[int, Tensor] = field(default_factory=dict)
    until: int | None = None
    caught: Tensor | None = None
    count: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call, with other tensors where that is wanted."""
        kwargs = kwargs or {}
        name = (resolve_name(func) or getattr(func, "__name__", "")).rpartition(".")[2]
        if name not in STEPS:
            return func(*args, **kwargs)
        at = self.count
        self.count += 1
        if at in self.given:
            where = 1 if name == "addmm" else 0
            if "input" in kwargs:
                kwargs = {**kwargs, "input": self.given[at]}
            else:
                args = (*args[:where], self.given[at], *args[where + 1 :])
        out = func(*args, **kwargs)
        if at == self.until:
            self.caught = out
            raise _DoneError
        return self.made.get(at, out)


def no_activation(subject: Subject) -> Iterator[Finding]:
    """M16: products with weights that follow each other."""
    inputs = _few(subject)
    model = subject.fresh()
    flow = flow_of(traced(subject, model, inputs), model)
    pairs = _only_there(flow, [link for link in links(flow) if not excused(flow, link) and _learns(model, link)])
    if any(len(link.after) > 1 for link in pairs) and _has_own_backward(subject, model, inputs):
        pairs = [link for link in pairs if len(link.after) == 1]  # a branch may turn its gradient round
    if not pairs:
        return
    standing = _pairs_in_training(subject, inputs)
    pairs = [link for link in pairs if all((link.first.names, one.names) in standing for one in link.after)]
    for chain in _chains(pairs)[:MOST_TRIED]:
        off = max((_off(subject, model, inputs, link, one) for link in chain for one in link.after), default=1.0)
        if off < AFFINE and all(_alone(subject, model, inputs, link) for link in chain):
            yield _finding(subject, model, chain, off)


def _few(subject: Subject) -> Inputs:
    inputs, _ = subject.rows()
    rows = min(MOST_ROWS, len(next(iter(inputs.values()))))
    few: Inputs = pick(inputs, slice(0, rows))
    return few


def _only_there(flow: Flow, pairs: list[Link]) -> list[Link]:
    """Without those whose weights are used in other places too."""
    inside = {step.index for link in pairs for step in (link.first, *link.after)}
    elsewhere = {name for step in flow.steps.values() if step.index not in inside for name in step.names}
    return [link for link in pairs if not any(step.names & elsewhere for step in (link.first, *link.after))]


def _has_own_backward(subject: Subject, model: nn.Module, inputs: Inputs) -> bool:
    """Whether a custom autograd Function stands in the graph of the answer."""
    returned = returned_tensors(subject.call(model, inputs, grad=True))
    waiting = [one.grad_fn for one in returned if one.grad_fn is not None]
    seen = set(waiting)
    while waiting and len(seen) < MOST_NODES:
        node = waiting.pop()
        if isinstance(node, BackwardCFunction):
            return True
        fresh = [one for one, _ in node.next_functions if one is not None and one not in seen]
        seen.update(fresh)
        waiting += fresh
    return False


def _pairs_in_training(subject: Subject, inputs: Inputs) -> set[tuple[frozenset[str], frozenset[str]]]:
    """The pairs that follow each other in train mode too, where a draw may stand between."""
    model = subject.fresh(train=True)
    flow = flow_of(traced(subject, model, inputs), model)
    return {(link.first.names, one.names) for link in links(flow) for one in link.after}


def _learns(model: nn.Module, link: Link) -> bool:
    """Whether each of the weights is learned: a frozen one is a given map."""
    learned = {name for name, one in model.named_parameters() if one.requires_grad}
    return all(step.names & learned for step in (link.first, *link.after))


def excused(flow: Flow, link: Link) -> bool:
    """Whether two linear maps on end can be meant so.

    A middle narrower than both ends is a low rank; depthwise, pointwise and separable kernels share a larger one; a
    linear map that makes the grid for a convolution, or upsamples, is the usual form of decoders; attention projects.
    """
    first = link.first
    out = sum(one.wide_out for one in link.after)
    if first.wide_out < min(first.wide_in, out) or leaves_attention(flow, first):
        return True
    meets = any(meets_attention(flow, one) for one in link.after)
    return meets or any(_factors(first, one, path) for one, path in zip(link.after, link.paths, strict=True))


def _factors(first: Step, second: Step, path: tuple[Op, ...]) -> bool:
    """Whether two maps are parts of a larger one that was split on purpose."""
    if first.names & second.names or first.groups > 1 or second.groups > 1:
        return True
    if first.kind == "up":
        return True
    swapped = any(op.short in SWAPS for op in path)
    if first.kind == "linear" and second.kind == "linear":
        return swapped or _regrouped(first, second)
    if first.kind == "linear":  # it makes the grid, unless each position keeps its features
        return first.wide_out != second.wide_in
    if second.kind == "up":
        sizes = [step.numel() // max(1, len(step)) for step in (first.given, first.made, second.made)]
        return sizes[1] < min(sizes[0], sizes[2])  # the code of an autoencoder
    if second.kind == "linear" and first.wide_out != second.wide_in:  # flattened
        return first.wide_out < first.wide_in
    return _kernels(first, second)


def _regrouped(first: Step, second: Step) -> bool:
    """Whether features were cut into positions between, or positions of few features laid end to end."""
    if first.wide_out == second.wide_in:
        return False
    return first.wide_out > second.wide_in or first.wide_out < first.wide_in


def _kernels(first: Step, second: Step) -> bool:
    """Whether two kernels are factors of one: along other axes, or fewer numbers than the one would have."""
    one = first.kernel
    two = second.kernel or (1,) * len(one)
    if len(one) != len(two):
        return False
    if max(one) > 1 and max(two) > 1:
        return all(a == 1 or b == 1 for a, b in zip(one, two, strict=True))
    sizes = [1, 1, 1]
    for a, b in zip(one, two, strict=True):
        sizes = [sizes[0] * a, sizes[1] * b, sizes[2] * (a + b - 1)]
    apart = first.wide_in * first.wide_out * sizes[0] + first.wide_out * second.wide_out * sizes[1]
    return max(max(one), max(two)) > 1 and apart < first.wide_in * second.wide_out * sizes[2]


def _chains(pairs: list[Link]) -> list[list[Link]]:
    """Pairs whose second is the next one's first, together."""
    starts = {link.first.index: link for link in pairs}
    inner = {one.index for link in pairs for one in link.after}
    chains = []
    for link in pairs:
        if link.first.index in inner:
            continue
        chain = [link]
        while len(chain[-1].after) == 1 and chain[-1].after[0].index in starts:
            chain.append(starts[chain[-1].after[0].index])
        chains.append(chain)
    unique: dict[tuple[frozenset[str], ...], list[Link]] = {}
    for chain in chains:  # a module that is called twice is told once
        unique.setdefault(tuple(link.first.names for link in chain), chain)
    return list(unique.values())


def _off(subject: Subject, model: nn.Module, inputs: Inputs, link: Link, last: Step) -> float:
    """How far f(a + b) is from f(a) + f(b) - f(0), relative to the largest result."""
    first = link.first
    a = first.given.detach().clone()
    spread = float(a.std()) or 1.0
    generator = torch.Generator().manual_seed(0)
    b = a.roll(1, 0) * 0.5 + 2 * spread * torch.randn(a.shape, generator=generator).to(a.dtype)
    results = []
    for given in (a, b, a + b, torch.zeros_like(a)):
        swap = Swap(given={first.ordinal: given}, until=last.ordinal)
        try:
            with swap:
                seeded_call(subject, model, inputs)
        except _DoneError:
            pass
        if swap.caught is None:
            return 1.0
        results.append(swap.caught.detach().double())
    one, other, both, nothing = results
    largest = float((both - nothing).abs().max())
    return float((both - one - other + nothing).abs().max()) / largest if largest > 0 else 1.0


def _alone(subject: Subject, model: nn.Module, inputs: Inputs, link: Link) -> bool:
    """Whether the first one's result reaches the answer only through the next: noise in its place changes nothing."""
    first = link.first
    usual = seeded_call(subject, model, inputs)
    if not returned_tensors(usual):
        return False
    generator = torch.Generator().manual_seed(0)
    product = first.made.detach()
    spread = float(product.std()) or 1.0
    noise = product + spread * torch.randn(product.shape, generator=generator).to(product.dtype)
    given = {one.ordinal: one.given.detach().clone() for one in link.after}
    with Swap(given=given, made={first.ordinal: noise}):
        other = seeded_call(subject, model, inputs)
    largest = max((float(one.detach().abs().max()) for one in returned_tensors(usual) if one.numel()), default=0.0)
    return parts_that_differ(usual, other) <= SAME * max(largest, 1e-6)


def _finding(subject: Subject, model: nn.Module, chain: list[Link], off: float) -> Finding:
    steps = [chain[0].first, *(one for link in chain for one in link.after)]
    names = [step.label for step in steps]
    unique = list(dict.fromkeys(names))
    shown = ", ".join(f"`{name}`" for name in unique[:4]) + (" …" if len(unique) > 4 else "")
    rows = len(chain[0].first.given)
    owned = dict(model.named_parameters())
    values = sum(owned[name].numel() for step in steps for name in step.names if name in owned)
    plain = all(step.kind == "linear" for step in steps)
    ends = f"({steps[0].wide_in}, {steps[-1].wide_out})" if len(chain[-1].after) == 1 else ""
    same = f" one Linear{ends}" if plain else " one linear map"
    training = subject.cache.get("training")
    loaded = isinstance(training, Training) and all(step.names <= training.loaded for step in steps[:1])
    return finding(
        "M16",
        severity="note" if loaded else None,
        evidence=f"{shown} follow each other with nothing between: with other inputs of {rows} samples, f(a + b) is "
        f"f(a) + f(b) - f(0) to {off:.0e} of its size. Their {values:,} weights can do what{same} can, and no more.",
        cure=f"Put an activation between, as {_cure(names[0])}; or leave one layer out.",
        place=_place(subject, steps),
        layer=steps[0].layer,
    )


def _cure(name: str) -> str:
    last = name.rpartition(".")[2]
    return f"x = torch.relu(self.{last}(x))" if last.isidentifier() else "nn.ReLU()"


def _place(subject: Subject, steps: list[Step]) -> Place | None:
    """The line of the second call; in a Sequential, where that is made."""
    layer = steps[1].layer
    if layer is not None and layer.rpartition(".")[2].isdigit():
        return made_at(subject.original or subject.model, layer) or steps[1].place
    return steps[1].place


CHECKS: tuple[Check, ...] = (Check("linear layers on end", ("M16",), no_activation, 3.0),)
