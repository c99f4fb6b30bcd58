"""Backward passes that a person wrote: held against differences of their forward, in float64 (K11, M15).

Each ``torch.autograd.Function`` of the person's is found on the graph, and called again with the inputs that it had.
A function that is flat, or the identity, has its backward for a purpose: straight-through, reversal, scaling, clipping.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.leaves import graph_leaves, is_persons_class, returned_tensors, training
from netwright.checks.optrace import tensors_in
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, class_place
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding

MOST_ELEMENTS = 24  # of each input that are varied one by one
# Words with which people say that a backward differs from the derivative on purpose.
MEANT = re.compile(
    r"straight|\bste|ste\b|through|surrogate|revers|\bgrl|bound|quanti|binar|spik|heaviside|clip|clamp.?grad|guided|stop.?grad"
    r"|scale.?grad|grad.?scale|gradient.?scal",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comparing one input's derivative gave.

    Attributes:
        wrong: Of the ``smooth`` numbers that were varied how many have another derivative.
        ratio: Analytic through numeric where that is the same for all; None otherwise.
        passed: Numbers on which forward does not depend but for which backward gives a gradient.
        cosine: Of both gradients.
    """

    smooth: int
    wrong: int
    ratio: float | None
    passed: int
    cosine: float
    none: bool


def wrong_backward(subject: Subject) -> Iterator[Finding]:
    """M15 of the person's autograd Functions."""
    for kind, args in _recorded(subject).items():
        yield from _check(subject, kind, args)


def _total(subject: Subject, model: nn.Module) -> Tensor:
    """The loss, or where that is unknown the sum of the mean squares of what comes back."""
    inputs, targets = subject.rows()
    returned = subject.call(model, inputs, grad=True)
    try:
        return subject.loss_of(subject.found(returned), inputs, targets)
    except NotCheckedError:
        parts = [one.square().mean() for one in returned_tensors(returned) if one.requires_grad]
        if not parts:
            raise NotCheckedError("what the module returns has no gradient") from None
        return torch.stack(parts).sum()


def functions_in(total: Tensor) -> list[Any]:
    """Classes of the person's autograd Functions on a graph."""
    found: dict[type, None] = {}
    stack, seen = [total.grad_fn], {total.grad_fn}
    while stack and len(seen) < 50_000:
        node: Any = stack.pop()
        if node is None:
            continue
        kind = getattr(type(node), "_forward_cls", None)
        if isinstance(kind, type) and is_persons_class(kind):
            found[kind] = None
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)
    return list(found)


def _recorded(subject: Subject) -> dict[type, tuple[Any, ...]]:
    """Of each Function the arguments of its first call."""
    model = subject.fresh(train=True)
    kinds = functions_in(_total(subject, model))
    if not kinds:
        return {}
    found: dict[type, tuple[Any, ...]] = {}
    before = [(kind, vars(kind).get("forward")) for kind in kinds]
    try:
        for kind in kinds:
            kind.forward = staticmethod(_recording(kind, found))
        _total(subject, model)
    finally:
        for kind, own in before:
            if own is None:
                delattr(kind, "forward")
            else:
                kind.forward = own
    return found


def _recording(kind: Any, found: dict[type, tuple[Any, ...]]) -> Callable[..., Any]:
    original = kind.forward
    skipped = 0 if kind.setup_context is not torch.autograd.Function.setup_context else 1

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if kind not in found and not kwargs:
            found[kind] = tuple(
                (one.detach().clone().requires_grad_(one.requires_grad) if isinstance(one, Tensor) else one)
                for one in args[skipped:]
            )
        return original(*args, **kwargs)

    return forward


def _check(subject: Subject, kind: Any, args: tuple[Any, ...]) -> Iterator[Finding]:
    wide = [_widened(one) for one in args]
    call = functools.partial(_weighed, kind)
    wanted = [at for at, one in enumerate(wide) if isinstance(one, Tensor) and one.requires_grad]
    try:
        analytic = _analytic(call, wide, wanted, 1.0)
        doubled = _analytic(call, wide, wanted, 2.0)
    except Exception:
        return  # not in float64, or it raises: then training would have raised as well
    names = _names(kind)
    for at, slope, twice in zip(wanted, analytic, doubled, strict=True):
        verdict = _compared(call, wide, at, slope)
        if verdict is None or _is_identity(kind, wide, at):
            continue
        name = names[at] if at < len(names) else f"input {at + 1}"
        ignored = slope is not None and twice is not None and bool(slope.any()) and torch.equal(slope, twice)
        told = _judged(subject, kind, name, verdict, ignored=ignored)
        if told is not None:
            yield told
            return  # one cause is one finding
    seen = training(subject)
    if seen is not None and seen.second:
        yield from _second(kind, call, wide, wanted)


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().double().requires_grad_(value.requires_grad)
    return value


def _names(kind: Any) -> list[str]:
    try:
        names = [one.name for one in inspect.signature(kind.forward).parameters.values()]
    except (TypeError, ValueError):
        return []
    return names if kind.setup_context is not torch.autograd.Function.setup_context else names[1:]


def _weighed(kind: Any, args: list[Any], factor: float = 1.0) -> Tensor:
    """The outputs' sum with fixed random weights, of which the gradient is compared."""
    torch.manual_seed(0)
    outputs = [one for one in tensors_in(kind.apply(*args)) if one.is_floating_point()]
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(one.shape, generator=generator, dtype=torch.float64) * factor for one in outputs]
    return torch.stack([(one * own.to(one)).sum() for one, own in zip(outputs, weights, strict=True)]).sum()


def _analytic(call: Any, wide: list[Any], wanted: list[int], factor: float) -> list[Tensor | None]:
    with torch.enable_grad():
        return list(torch.autograd.grad(call(wide, factor), [wide[at] for at in wanted], allow_unused=True))


def _compared(call: Any, wide: list[Any], at: int, analytic: Tensor | None) -> Verdict | None:
    """The derivative in single numbers of one input against differences of forward; None where forward is flat."""
    value = wide[at]
    count = value.numel()
    picked = torch.randperm(count, generator=torch.Generator().manual_seed(2))[:MOST_ELEMENTS].tolist()
    pairs: list[tuple[float, float]] = []
    passed = 0
    with torch.no_grad():
        for index in picked:
            numeric = _difference(call, wide, at, index)
            if numeric is None:
                continue
            own = 0.0 if analytic is None else float(analytic.reshape(-1)[index])
            if abs(numeric) > 1e-9:
                pairs.append((own, numeric))
            elif abs(own) > 1e-6:
                passed += 1
    if not pairs:
        return None
    wrong = [(own, numeric) for own, numeric in pairs if abs(own - numeric) > 1e-3 * max(abs(own), abs(numeric)) + 1e-7]
    ratios = [own / numeric for own, numeric in pairs]
    middle = sum(ratios) / len(ratios)
    same = len(pairs) > 2 and all(abs(one - middle) <= 1e-3 * abs(middle) + 1e-9 for one in ratios)
    a, n = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    cosine = float((a @ n) / (a.norm() * n.norm()).clamp_min(1e-300))
    return Verdict(len(pairs), len(wrong), middle if same else None, passed, cosine, analytic is None)


def _difference(call: Any, wide: list[Any], at: int, index: int) -> float | None:
    """Central difference in one number; None at a kink or a jump, where two step sizes or two sides disagree."""
    flat = wide[at].detach().clone().reshape(-1)
    start = float(flat[index])
    slopes = []
    for step in (1e-5 * max(1.0, abs(start)), 1e-6 * max(1.0, abs(start))):
        sums = []
        for way in (step, 0.0, -step):
            flat[index] = start + way
            args = [*wide[:at], flat.reshape(wide[at].shape).clone(), *wide[at + 1 :]]
            sums.append(float(call(args)))
        slopes += [(sums[0] - sums[2]) / (2 * step), (sums[0] - sums[1]) / step, (sums[1] - sums[2]) / step]
    middle = slopes[0]
    if any(abs(one - middle) > 1e-3 * abs(middle) + 1e-4 for one in slopes):
        return None
    return middle


def _is_identity(kind: Any, wide: list[Any], at: int) -> bool:
    """Whether forward gives this input back unchanged: then its backward is all that it is for."""
    with torch.no_grad():
        outputs = tensors_in(kind.apply(*wide))
    return any(one.shape == wide[at].shape and torch.equal(one, wide[at]) for one in outputs)


def _judged(subject: Subject, kind: Any, name: str, verdict: Verdict, *, ignored: bool) -> Finding | None:
    meant = _says_so(kind)
    if verdict.wrong == 0:
        if verdict.passed == 0 or meant:
            return None
        return _told(
            kind,
            "warning",
            f"for {verdict.passed} of {verdict.passed + verdict.smooth} numbers of `{name}` forward is flat, but "
            "backward gives a "
            "gradient",
            "Set the gradient to 0 where forward is flat, as grad_output * (x > 0) for a ReLU.",
        )
    how = f"{verdict.wrong} of {verdict.smooth} derivatives by `{name}` are wrong"
    if verdict.none or verdict.ratio == 0.0:
        how += ": backward gives none, though forward depends on it"
        cure = f"Return a gradient for `{name}` in its place of backward's result."
    elif ignored:
        how += ": backward gives the same whatever grad_output is, here 1 or 2 times it"
        cure = "Multiply by grad_output: return grad_output * derivative"
    elif verdict.ratio is not None:
        how += f": analytic / numeric = {verdict.ratio:.4g} for each"
        cure = f"Multiply backward's result for `{name}` by {1 / verdict.ratio:.4g}."
    else:
        how += f"; cosine of both gradients {verdict.cosine:.2f}"
        cure = f"Correct it; torch.autograd.gradcheck({kind.__name__}.apply, ...) in float64 tests it."
    tail = " Its name or comment says that this is meant." if meant else ""
    return _told(kind, "note" if meant else "error", how + "." + tail, cure)


def _says_so(kind: Any) -> bool:
    """Whether the class's name, docstring or comments speak of a gradient that differs on purpose."""
    if MEANT.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__) + " " + (kind.__doc__ or "")):
        return True
    try:
        source = inspect.getsource(kind.backward)
    except (OSError, TypeError):
        return False
    return any(MEANT.search(line.partition("#")[2]) for line in source.splitlines() if "#" in line)


def _told(kind: Any, severity: Any, evidence: str, cure: str) -> Finding:
    return finding(
        "M15",
        severity=severity,
        evidence=(
            f"I called {kind.__name__} with its inputs of your batch in float64 and varied single numbers: {evidence}"
        ),
        cure=cure,
        place=_backward_place(kind),
        where=None if _backward_place(kind) else kind.__name__,
    )


def _backward_place(kind: Any) -> Place | None:
    code = getattr(inspect.unwrap(kind.backward), "__code__", None)
    return class_place(kind) if code is None else Place(code.co_filename, code.co_firstlineno)


def _second(kind: Any, call: Any, wide: list[Any], wanted: list[int]) -> Iterator[Finding]:
    """A note where the derivative of backward itself is missing: gradient penalties would be silently wrong."""
    at = wanted[0] if wanted else -1
    if at < 0:
        return
    generator = torch.Generator().manual_seed(4)
    way = torch.randn(wide[at].shape, generator=generator, dtype=torch.float64)

    def slope(args: list[Any]) -> Tensor:
        (first,) = torch.autograd.grad(call(args), args[at], create_graph=True)
        total: Tensor = (first * way).sum()
        return total

    try:
        with torch.enable_grad():
            here = slope(wide)
            got = torch.autograd.grad(here, wide[at], allow_unused=True)[0] if here.requires_grad else None
            moved = [*wide[:at], (wide[at].detach() + 1e-5 * way).requires_grad_(), *wide[at + 1 :]]
            numeric = (float(slope(moved)) - float(here)) / 1e-5
    except Exception:
        return
    analytic = 0.0 if got is None else float((got * way).sum())
    if abs(numeric - analytic) > 1e-2 * max(abs(numeric), abs(analytic)) + 1e-4:
        yield _told(
            kind,
            "note",
            f"its second derivative in a random direction is {numeric:.3g}, autograd gives {analytic:.3g}: a "
            "gradient penalty "
            "through it would be wrong",
            "Compute backward of saved inputs with differentiable operations.",
        )


def never_called(subject: Subject) -> Iterator[Finding]:
    """M15 of nn.Module classes with a method ``backward(grad)``: autograd never calls it."""
    named = [(name, one) for name, one in subject.model.named_modules() if _own_backward(type(one))]
    if not named or _called_by_hand(subject):
        return
    model = subject.fresh(train=True)
    calls: list[str] = []
    for name, _ in named:
        vars(model.get_submodule(name))["backward"] = lambda *args, name=name: calls.append(name)
    total = _total(subject, model)
    flat = list(graph_leaves([total], flat=True).values())
    grads = torch.autograd.grad(total, flat, allow_unused=True) if flat else ()
    if calls:
        return
    own = {id(one): key for key, one in model.named_parameters()}
    zero = [
        own[id(one)]
        for one, grad in zip(flat, grads, strict=True)
        if id(one) in own and (grad is None or not bool(grad.any()))
    ]
    zero += [key for key, one in model.named_parameters() if one.requires_grad and id(one) not in map(id, flat)]
    layers = dict.fromkeys(key.rpartition(".")[0] or key for key in zero)
    harm = "the gradient comes of forward alone"
    if zero:
        harm = f"the gradient of {', '.join(f'`{one}`' for one in list(layers)[:4])} is exactly 0"
    name, module = named[0]
    yield finding(
        "M15",
        severity="error" if zero else "warning",
        evidence=(
            f"{type(module).__name__} is an nn.Module with a method backward: autograd called it 0 times in a "
            "backward pass "
            f"of your batch; {harm}"
        ),
        cure=(
            "Write it as torch.autograd.Function with static forward and backward, and call its apply; or x "
            "+ (hard - x).detach()"
        ),
        place=class_place(type(module), "backward"),
        layer=name or None,
    )


def _own_backward(kind: type) -> bool:
    """Whether a class of the person's has a method ``backward`` that takes a gradient."""
    method = getattr(kind, "backward", None)
    if method is None or not inspect.isfunction(method) or not is_persons_class(kind):
        return False
    names = list(inspect.signature(method).parameters)[1:2]
    return any(re.search(r"grad|dout|^d[a-z]?$|delta|upstream|output", name) for name in names)


def _called_by_hand(subject: Subject) -> bool:
    """Whether some source calls ``thing.backward(values)`` itself: a network with backward passes of its own."""
    for _, tree in subject.sources.trees():
        for node in ast.walk(tree):
            function = node.func if isinstance(node, ast.Call) and node.args else None
            if not isinstance(function, ast.Attribute) or function.attr != "backward":
                continue
            if getattr(function.value, "attr", "") != "autograd":
                return True
    return False


CHECKS: tuple[Check, ...] = (
    Check("custom backward passes", ("M15",), wrong_backward, most_s=4.0),
    Check("methods backward that are never called", ("M15",), never_called),
)
