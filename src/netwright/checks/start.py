"""Initial weights that keep a module from learning: units that are all alike, or answers far out of scale.

Equal units are told where they stay equal while a copy is trained; a scale, where torch's own start learns far more
from the same batches. A layer that starts at zero on purpose moves apart at once, and is left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.leaves import Training, returned_tensors
from netwright.checks.linears import flow_of
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, made_at
from netwright.checks.subject import Inputs, NotCheckedError, Subject
from netwright.checks.traced import traced
from netwright.checks.trials import STEPS, against_torch, guess_of, redrawn
from netwright.records import Finding

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}
PROBES = 8  # steps in which equal units must stay equal; a few layers that start at zero part one step after another
MOST_ROWS = 32
LEARNED = 0.2  # share of the first loss that torch's own start must learn for the comparison to mean anything
FAR = 10.0  # times what the person's start learns, where its weights are only small
HIGH = 3.0  # times the loss of guessing; torch's own start is within 1.2 of it on normal inputs
NORMAL = 10.0  # of inputs the size above which they are the cause (D01)
SMALL = 0.1  # of the spread of torch's own start
INITS = ("constant_", "zeros_", "ones_", "normal_", "uniform_", "fill_", "zero_", "eye_", "trunc_normal_")
DEFAULT = "Leave the weights as torch draws them, or nn.init.kaiming_uniform_(layer.weight); biases may be zero."
SCALED = "Leave the weights as torch draws them, or scale them to the fan-in: nn.init.kaiming_normal_(layer.weight)."


@dataclass(frozen=True, slots=True)
class Alike:
    """A weight whose units start equal.

    Attributes:
        units: How many.
        axis: That counts them.
        value: The one value of all, None where a unit's own values differ.
    """

    name: str
    units: int
    axis: int
    gates: int
    value: float | None


def equal_units(subject: Subject) -> Iterator[Finding]:
    """M22: all units of a layer start equal, and training cannot part them."""
    alike = alike_in(subject.model)
    if not alike:
        return
    inputs, targets = subject.rows(min(MOST_ROWS, subject.pool_size))
    model = subject.fresh()
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    reached = _probe(subject, model, inputs, targets, PROBES)
    after = dict(model.named_parameters())
    stuck = [one for one in alike if one.name in reached and _still(one, before[one.name], after[one.name].detach())]
    moved = [one for one in stuck if bool((after[one.name].detach() != before[one.name]).any())]
    still = [one for one in stuck if one not in moved]
    if still and not _wakes(subject, still, inputs, targets):
        still = []  # another cause keeps the gradient from it
    stuck = moved + still
    if stuck:
        yield _of_equal(subject, stuck, still)
        return
    constant = [one for one in alike if one.value is not None and one.units > 2]
    if any(one.value for one in constant) or (len(constant) > 1 and _in_series(subject, constant)):
        yield from _of_one_direction(subject, constant)


def alike_in(model: nn.Module) -> list[Alike]:
    """The learned weights whose units are all equal."""
    found = []
    for owner_name, owner in model.named_modules():
        for key, weight in owner.named_parameters(recurse=False):
            name = f"{owner_name}.{key}" if owner_name else key
            if nn.parameter.is_lazy(weight) or not weight.requires_grad or weight.ndim < 2:
                continue
            if "Norm" in type(owner).__name__:
                continue  # its scales are 1
            for axis in _unit_axes(owner, weight):
                gates = GATES.get(type(owner).__name__, 1) if isinstance(owner, (nn.RNNBase, nn.RNNCellBase)) else 1
                units = weight.shape[axis] // gates
                one = Alike(name, units, axis, gates, None)
                if units > 1 and weight.numel() > gates * units and _apart(one, weight.detach()) == 0:
                    flat = weight.detach().reshape(-1)
                    value = float(flat[0]) if bool((flat == flat[0]).all()) else None
                    found.append(Alike(name, units, axis, gates, value))
                    break
    return found


def _unit_axes(owner: nn.Module, weight: Tensor) -> tuple[int, ...]:
    if isinstance(owner, TRANSPOSED):
        return (1,)
    if type(owner).__module__.startswith("torch."):
        return (0,)
    return (weight.ndim - 1, 0) if weight.ndim == 2 else (0,)  # x @ w, or linear(x, w)


def _apart(one: Alike, weight: Tensor) -> float:
    """The largest difference between two units of a gate."""
    rows = weight.movedim(one.axis, 0).reshape(one.gates, one.units, -1)
    return float((rows - rows[:, :1]).abs().max())


def _still(one: Alike, before: Tensor, after: Tensor) -> bool:
    """Whether its units differ by no more than rounding of what they moved."""
    moved = float((after - before).abs().max())
    return _apart(one, after) <= 1e-3 * moved


def _probe(subject: Subject, model: nn.Module, inputs: Inputs, targets: Any, steps: int) -> frozenset[str]:
    """Descend for some steps, each weight by a hundredth of its size; names of the weights that the loss depends on.

    In eval mode, so that dropout does not part units, and along the gradient itself: Adam would blow rounding up.
    """
    own = {name: one for name, one in model.named_parameters() if one.requires_grad}
    reached: frozenset[str] = frozenset()
    for step in range(steps):
        loss = _some_loss(subject, model, inputs, targets, step)
        slopes = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
        found = {name: slope for name, slope in zip(own, slopes, strict=True) if slope is not None}
        reached |= found.keys()
        largest = max((float(slope.abs().max()) for slope in found.values()), default=0.0)
        with torch.no_grad():
            for name, slope in found.items():
                top = float(slope.abs().max())
                if top > 1e-7 * largest:
                    own[name].sub_(0.01 * max(float(own[name].abs().max()), 0.1) * slope / top)
    return reached


def _some_loss(subject: Subject, model: nn.Module, inputs: Inputs, targets: Any, step: int) -> Tensor:
    """The person's loss; where it is not known, a fixed random sum of what the module returns."""
    if subject.objective is not None and targets is not None:
        return subject.loss(model, inputs, targets, seed=step)
    found = [one for one in returned_tensors(subject.call(model, inputs, seed=step, grad=True)) if one.requires_grad]
    if not found:
        raise NotCheckedError("what the module returns does not depend on its weights")
    generator = torch.Generator().manual_seed(0)
    return torch.stack([(one * torch.randn(one.shape, generator=generator)).mean() for one in found]).sum()


def _wakes(subject: Subject, still: list[Alike], inputs: Inputs, targets: Any) -> bool:
    """Whether weights that got no gradient get one once they are drawn as torch draws them."""
    model = redrawn(subject.fresh(), only=[one.name for one in still])
    own = {name: one for name, one in model.named_parameters() if name in {one.name for one in still}}
    loss = _some_loss(subject, model, inputs, targets, 0)
    slopes = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
    return all(slope is not None and bool((slope != 0).any()) for slope in slopes)


def _of_equal(subject: Subject, stuck: list[Alike], still: list[Alike]) -> Finding:
    first = stuck[0]
    names = ", ".join(f"`{one.name}`" for one in stuck[1:4]) + (" …" if len(stuck) > 4 else "")
    value = f" (all values are {first.value:g})" if first.value is not None else ""
    if first in still:
        after = f"and get no gradient at all in {PROBES} steps on a batch; drawn at random they get one"
    else:
        after = f"and still are after {PROBES} steps on a batch, since each gets the same gradient"
    dropout = any(isinstance(one, nn.modules.dropout._DropoutNd) and one.p for one in subject.model.modules())
    return finding(
        "M22",
        severity="warning" if dropout else None,
        evidence=f"The {first.units} units of `{first.name}` are equal{value}, {after}: it acts as one unit"
        + (" (only dropout can tell them apart)" if dropout else "")
        + (f". The same holds of {names}." if len(stuck) > 1 else "."),
        cure=DEFAULT,
        place=_place(subject, first.name),
        layer=first.name.rpartition(".")[0] or None,
    )


def _in_series(subject: Subject, constant: list[Alike]) -> bool:
    """Whether a layer that starts at zero gets the same for all samples, as one behind another such does.

    One that starts at zero on purpose ends a branch, and what goes into it differs from sample to sample.
    """
    inputs, _ = subject.rows()
    model = subject.fresh()
    flow = flow_of(traced(subject, model, inputs), model)
    names = {one.name for one in constant}
    return any(step.names & names and bool((step.given == step.given[:1]).all()) for step in flow.steps.values())


def _of_one_direction(subject: Subject, constant: list[Alike]) -> Iterator[Finding]:
    """Equal weights whose units differ in their biases alone: clearly less is learned than from torch's own start."""
    if subject.objective is None or subject.optimizer is None:
        return
    own, other, _ = against_torch(subject)
    if other.progress < LEARNED or own.progress > other.progress / 2:
        return
    first = next((one for one in constant if one.value), constant[0])
    yield finding(
        "M22",
        evidence=f"All values of `{first.name}` are {first.value:g}: its {first.units} units see one sum of their "
        f"inputs, and differ in their biases alone. {STEPS} steps end at a loss of {own.last:.4g}, from torch's own "
        f"start at {other.last:.4g}.",
        cure=DEFAULT,
        place=_place(subject, first.name),
        layer=first.name.rpartition(".")[0] or None,
    )


def out_of_scale(subject: Subject) -> Iterator[Finding]:
    """M22: the first loss is far above that of guessing, or weights are so small that nothing is learned."""
    training = subject.cache.get("training")
    if isinstance(training, Training) and training.loaded:
        return  # no start, but weights from elsewhere
    inputs, targets = subject.rows(min(64, subject.pool_size))
    if any(float(one.float().abs().max()) > NORMAL * 3 for one in inputs.values() if one.is_floating_point()):
        return
    model = subject.fresh(train=True)
    first = float(subject.loss(model, inputs, targets, grad=False))
    guess = guess_of(subject)
    if guess > 0 and first > HIGH * guess:
        yield from _too_large(subject, first, guess)
    elif _small_layers(subject.model):
        yield from _too_small(subject)


def _too_large(subject: Subject, first: float, guess: float) -> Iterator[Finding]:
    own, other, start = against_torch(subject)
    if not other.first < own.first / 2 or not other.last < own.last / 2 or other.progress < 0.0:
        return
    name, times = _furthest(subject.model, start)
    classes = f" (ln {subject.num_classes} for equal classes)" if subject.num_classes else ""
    inputs, _ = subject.rows(min(64, subject.pool_size))
    spread = float(subject.answer(subject.fresh(), inputs).detach().float().std())
    yield finding(
        "M22",
        severity="warning",
        evidence=f"The first loss is {first:.4g}, guessing has {guess:.4g}{classes}; outputs have a standard deviation "
        f"of {spread:.3g}. `{name}` is {times:.1f} times as large as torch draws it. From torch's own start the first "
        f"loss is {other.first:.4g}, and after {STEPS} steps {other.last:.4g} instead of {own.last:.4g}.",
        cure=SCALED,
        place=_place(subject, name),
        layer=name.rpartition(".")[0] or None,
    )


def _furthest(model: nn.Module, start: nn.Module) -> tuple[str, float]:
    """The weight that is largest relative to torch's own start."""
    drawn = dict(start.named_parameters())
    sizes = {
        name: float(one.detach().float().std() / drawn[name].detach().float().std().clamp_min(1e-12))
        for name, one in model.named_parameters()
        if one.requires_grad and one.ndim > 1 and one.numel() > 3
    }
    name = max(sizes, key=lambda one: sizes[one])
    return name, sizes[name]


def _small_layers(model: nn.Module) -> list[str]:
    """Layers whose weights are below a tenth of what torch draws, but not zero; from two on they multiply."""
    found = []
    for name, module in model.named_modules():
        weight = module.weight if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)) else None
        if isinstance(weight, Tensor) and weight.requires_grad:
            usual = (3 * weight[0].numel()) ** -0.5
            if weight.numel() > 3 and 0 < float(weight.detach().float().std()) < SMALL * usual:
                found.append(f"{name}.weight" if name else "weight")
    return found if len(found) > 1 else []


def _too_small(subject: Subject) -> Iterator[Finding]:
    own, other, _ = against_torch(subject)
    if other.progress < LEARNED or own.progress > other.progress / FAR:
        return
    names = _small_layers(subject.model)
    weight = dict(subject.model.named_parameters())[names[0]]
    yield finding(
        "M22",
        severity="warning",
        evidence=f"The weights of {len(names)} layers are tiny: `{names[0]}` has a standard deviation of "
        f"{float(weight.detach().float().std()):.2g}, torch draws {(3 * weight[0].numel()) ** -0.5:.2g}. {STEPS} steps "
        f"bring the loss from {own.first:.4g} to {own.last:.4g}; from torch's own start to {other.last:.4g}.",
        cure=SCALED,
        place=_place(subject, names[0]),
        layer=names[0].rpartition(".")[0] or None,
    )


def _place(subject: Subject, name: str) -> Place | None:
    """The person's line that sets weights, where there is one alone; else where the layer is made."""
    lines = []
    for file, tree in subject.sources.trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in INITS:
                lines += [Place(file, node.lineno)] if "bias" not in ast.dump(node) else []
    if len(lines) == 1:
        return lines[0]
    return made_at(subject.original or subject.model, name.rpartition(".")[0] or name)


CHECKS: tuple[Check, ...] = (
    Check("units that start equal", ("M22",), equal_units, 3.0),
    Check("the scale of initial weights", ("M22",), out_of_scale, 3.0),
)
