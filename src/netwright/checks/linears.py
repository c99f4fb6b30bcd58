"""Linear maps that a call does, and what lies between one and the next.

A step is one product with weights: a linear layer, a convolution, or ``x @ w``. Told by the operations that were done,
whoever wrote them. ``B`` is the number of samples, ``C`` of channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from netwright.checks.optrace import Op, tensors_in
from netwright.checks.sourcecode import Place
from netwright.checks.traced import Traced

CONVS = frozenset({"conv1d", "conv2d", "conv3d"})
UPS = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
MATMULS = frozenset({"matmul", "__matmul__", "mm"})
PRODUCTS = MATMULS | {"bmm", "einsum", "baddbmm", "scaled_dot_product_attention", "multi_head_attention_forward"}
STEPS = CONVS | UPS | MATMULS | {"linear", "addmm"}
MOVES = frozenset({
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "swapaxes", "swapdims", "movedim", "squeeze",
    "unsqueeze", "contiguous", "clone", "to", "float", "double", "type", "__getitem__", "select", "narrow", "pad",
    "expand", "view_as", "reshape_as", "t",
})  # fmt: skip
# In eval mode these are affine in each sample; that nothing else happened is tried out afterwards.
THROUGH = MOVES | {
    "dropout", "dropout1d", "dropout2d", "dropout3d", "dropout_", "alpha_dropout", "feature_dropout", "batch_norm",
    "avg_pool1d", "avg_pool2d", "avg_pool3d",
}  # fmt: skip
# What attention does to queries and keys before it multiplies them.
TOWARDS = MOVES | {
    "chunk", "split", "tensor_split", "unbind", "mul", "__mul__", "__rmul__", "div", "__truediv__", "cat", "add", "sub",
    "neg", "normalize", "layer_norm", "rms_norm", "dropout", "stack",
}  # fmt: skip
ADDS = frozenset({"add", "add_", "__add__", "__iadd__", "__radd__"})
MOST_HOPS = 16


@dataclass(frozen=True, slots=True)
class Step:
    """One product with weights.

    Attributes:
        index: Of its operation; ``ordinal`` among all products of the call.
        given, made: Its input, and its result with the bias added.
        names: Of the parameters that the weight is, or is computed from.
        wide_in, wide_out: Features, or channels, of one position.
        kind: linear, conv or up.
    """

    index: int
    ordinal: int
    given: Tensor
    made: Tensor
    names: frozenset[str]
    wide_in: int
    wide_out: int
    kind: str
    kernel: tuple[int, ...]
    groups: int
    layer: str | None
    place: Place | None

    @property
    def label(self) -> str:
        """What to call it: its layer, else its weight."""
        return self.layer or ", ".join(sorted(self.names)) or "a product"


@dataclass(slots=True)
class Flow:
    """What depends on the inputs in one call, and who takes what.

    Attributes:
        constant: By id, of what does not depend on the inputs, the names of the parameters that it is computed from.
        users: By id of a tensor, indices of the operations that took it.
        steps: By index of the operation.
    """

    seen: Traced
    constant: dict[int, frozenset[str]]
    users: dict[int, list[int]] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)

    def live(self, op: Op) -> list[Tensor]:
        """The tensors among an operation's arguments that depend on the inputs."""
        return [one for one in op.tensors() if id(one) not in self.constant]


def flow_of(seen: Traced, model: nn.Module) -> Flow:
    """Follow the tensors of one call."""
    constant = {id(one): frozenset({name}) for name, one in model.named_parameters()}
    constant.update((id(one), frozenset[str]()) for one in model.buffers())
    flow = Flow(seen, constant)
    inputs = {id(one) for span in seen.spans[:1] for one in span.given}
    ordinal = 0
    for index, op in enumerate(seen.ops):
        given = op.tensors()
        for one in given:
            flow.users.setdefault(id(one), []).append(index)
        if all(id(one) in constant and id(one) not in inputs for one in given):
            roots = frozenset[str]().union(*(constant[id(one)] for one in given))
            constant.update((id(one), roots) for one in tensors_in(op.out) if id(one) not in inputs)
        if op.short in STEPS:
            step = _step(flow, index, op, ordinal)
            if step is not None:
                flow.steps[index] = step
            ordinal += 1
    return flow


def _step(flow: Flow, index: int, op: Op, ordinal: int) -> Step | None:
    at = 1 if op.short == "addmm" else 0
    given, weight = op.argument(at, "input"), op.argument(at + 1, "weight")
    if not isinstance(given, Tensor) or not isinstance(weight, Tensor) or not isinstance(op.out, Tensor):
        return None
    names = flow.constant.get(id(weight))
    if not names or id(given) in flow.constant or weight.ndim < 2 or given.ndim < 2:
        return None
    if op.short in MATMULS and weight.ndim != 2:
        return None
    kind = "conv" if op.short in CONVS else "up" if op.short in UPS else "linear"
    last = kind == "linear"
    groups = 1 if last else op.argument(6, "groups", 1)  # of both kinds of convolution the seventh
    return Step(
        index=index,
        ordinal=ordinal,
        given=given,
        made=_with_bias(flow, index, op),
        names=names,
        wide_in=given.shape[-1] if last else given.shape[1 if given.ndim == weight.ndim else 0],
        wide_out=op.out.shape[-1] if last else op.out.shape[1 if op.out.ndim == weight.ndim else 0],
        kind=kind,
        kernel=() if last else tuple(weight.shape[2:]),
        groups=groups if isinstance(groups, int) else 1,
        layer=flow.seen.layer(index),
        place=op.place,
    )


def _with_bias(flow: Flow, index: int, op: Op) -> Tensor:
    """The result of a product with what is added to it right after, where that is a parameter."""
    made: Tensor = op.out
    if op.short not in MATMULS:
        return made
    for later in flow.seen.ops[index + 1 : index + 4]:
        given = later.tensors()
        others = [one for one in given if one is not made]
        bias = others[0] if len(given) == 2 and len(others) == 1 else None
        if later.short in ADDS and bias is not None and bias.ndim == 1 and isinstance(later.out, Tensor):
            return later.out if id(bias) in flow.constant else made
    return made


@dataclass(frozen=True, slots=True)
class Link:
    """A step that feeds only other steps.

    Attributes:
        paths: Of each of ``after`` the operations between.
    """

    first: Step
    after: tuple[Step, ...]
    paths: tuple[tuple[Op, ...], ...]


def links(flow: Flow) -> Iterator[Link]:
    """The steps whose results go nowhere but into further steps, past operations that only move values."""
    kept = _kept_ids(flow)
    for first in flow.steps.values():
        found: list[tuple[Step, tuple[Op, ...]]] = []
        if _follow(flow, kept, first.made, first.index, (), found) and found:
            yield Link(first, tuple(step for step, _ in found), tuple(path for _, path in found))


def _kept_ids(flow: Flow) -> set[int]:
    """Ids of what the module returned, or keeps in an attribute."""
    kept = {id(one) for one in tensors_in(flow.seen.returned)}
    if hasattr(flow.seen.returned, "__dict__"):
        kept |= {id(one) for one in tensors_in(dict(vars(flow.seen.returned)))}
    for span in flow.seen.spans:
        kept |= {id(one) for one in tensors_in(dict(vars(span.module)))}
    return kept


def _follow(
    flow: Flow,
    kept: set[int],
    made: Tensor,
    index: int,
    path: tuple[Op, ...],
    found: list[tuple[Step, tuple[Op, ...]]],
) -> bool:
    """Whether all that takes a tensor is a step, or moves it on to one."""
    if id(made) in kept or len(path) > MOST_HOPS:
        return False
    for at in flow.users.get(id(made), ()):
        op, step = flow.seen.ops[at], flow.steps.get(at)
        if at <= index or _idle(flow, kept, op):
            continue
        if step is not None and step.given is made:  # dropout in eval mode hands the same tensor on
            found += [(step, path)] if all(step is not one for one, _ in found) else []
        elif not _moved_on(op, made) or not _follow(flow, kept, op.out, at, (*path, op), found):
            return False
    return True


def _moved_on(op: Op, made: Tensor) -> bool:
    return op.short in THROUGH and isinstance(op.out, Tensor) and op.argument(0, "input") is made


def _idle(flow: Flow, kept: set[int], op: Op) -> bool:
    """Whether nothing takes what an operation gave, as of ``relu(x)`` whose result is not assigned."""
    out = op.out
    if not isinstance(out, Tensor) or out.ndim == 0 or op.short.endswith("_"):
        return False
    return id(out) not in kept and not flow.users.get(id(out)) and all(out is not one for one in op.tensors())


def meets_attention(flow: Flow, step: Step) -> bool:
    """Whether a step's result is multiplied with other results, as queries with keys."""
    found = [(step.made, step.index)]
    seen: set[int] = set()
    while found:
        tensor, index = found.pop()
        for at in flow.users.get(id(tensor), ()):
            op = flow.seen.ops[at]
            if at <= index or at in seen:
                continue
            seen.add(at)
            if op.short == "multi_head_attention_forward" or (op.short in PRODUCTS and len(flow.live(op)) > 1):
                return True
            if op.short in TOWARDS and len(seen) < 100:
                found += [(one, at) for one in tensors_in(op.out)]
    return False


def leaves_attention(flow: Flow, step: Step) -> bool:
    """Whether a step takes what attention gave, as an output projection does."""
    tensor, index = step.given, step.index
    for _ in range(MOST_HOPS):
        at = flow.seen.maker(tensor, index)
        if at is None:
            return False
        op = flow.seen.ops[at]
        if op.short == "multi_head_attention_forward" or (op.short in PRODUCTS and len(flow.live(op)) > 1):
            return True
        first = op.argument(0, "input")
        if op.short not in MOVES | {"dropout"} or not isinstance(first, Tensor):
            return False
        tensor, index = first, at
    return False
