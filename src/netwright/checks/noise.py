"""Randomness that stays on in eval mode (K14, M19).

Two fresh copies answer the same samples in eval mode with other random numbers; the first operation whose results
differ though its inputs do not is where it comes from. Sampling with a learnt spread, generators and Monte-Carlo
dropout are no faults.
"""

from __future__ import annotations

import ast
import functools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.leaves import parts_that_differ, returned_tensors, watched_call
from netwright.checks.optrace import Op, record, tensors_in
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, source_line
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding

DROPS = frozenset({
    "dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
    "feature_dropout", "native_dropout", "rrelu", "rrelu_", "scaled_dot_product_attention",
    "multi_head_attention_forward",
    "lstm", "gru", "rnn_tanh", "rnn_relu",
})  # fmt: skip
# Words with which people say that dropout is meant to stay on.
MEANT = re.compile(
    r"monte|\bmc\b|\bmc_|_mc\b|mcdrop|bayes|uncertain|stochastic forward|on purpose|intentional", re.IGNORECASE
)
MIXED = frozenset({
    "add", "add_", "sub_", "__add__", "__radd__", "__iadd__", "sub", "__sub__", "__rsub__", "mul", "mul_",
    "__mul__", "__rmul__",
    "__imul__", "div", "div_", "rsub", "__truediv__", "where", "masked_fill", "masked_fill_", "lerp", "addcmul",
    "__and__",
})  # fmt: skip
PRODUCTS = frozenset({"mul", "mul_", "__mul__", "__rmul__", "__imul__", "addcmul"})


MOST_SEEDS = 9
DRAWS = ("rand", "bernoulli", "normal", "uniform", "log_normal")
SINKS = frozenset({"linear", "matmul", "__matmul__", "conv1d", "conv2d", "cat", "embedding"})


@dataclass(frozen=True, slots=True)
class Source:
    """Where two passes part.

    Attributes:
        op: The first operation whose results differ though its inputs do not; None where none was seen.
        diverged: Whether the passes did other operations from here on.
        ops: All of the first pass.
    """

    op: Op | None
    diverged: bool
    ops: list[Op]
    returned: Any


def random_in_eval(subject: Subject) -> Iterator[Finding]:
    """M19."""
    inputs, _ = subject.rows()
    model = subject.fresh()
    if any(one.training for one in model.modules()):
        raise NotCheckedError("the module does not go into eval mode")
    first = _call(subject, model, inputs, 1)
    scale = max((float(one.abs().max()) for one in returned_tensors(first) if one.numel()), default=0.0)
    for seed in range(2, MOST_SEEDS):  # a branch that is taken by chance may be taken twice
        other = _call(subject, subject.fresh(), inputs, seed)
        gap = parts_that_differ(first, other)
        if gap > 1e-5 * (scale + 1e-6):
            break
    else:
        return
    returned = [first, other]
    source = _source(subject, inputs, seed)
    drops = source.op is not None and source.op.short in DROPS
    told = _dropout(subject, source) if drops else _drawn(subject, source, inputs)
    if told is None:
        return
    severity, words, cure = told
    moved = _decisions(subject, returned)
    yield finding(
        "M19",
        severity=severity,  # type: ignore[arg-type]
        evidence=(
            f"two passes over the same {len(next(iter(inputs.values())))} samples in eval mode differ by "
            f"{gap:.3g}{moved}: {words}"
        ),
        cure=cure,
        place=source.op.place if source.op else None,
        layer=_layer(subject, seed),
    )


def _call(subject: Subject, model: nn.Module, inputs: Any, seed: int, *, grad: bool = False) -> Any:
    """Call with the generators of torch, NumPy and Python seeded."""
    random.seed(seed)
    np.random.seed(seed)
    return subject.call(model, inputs, seed=seed, grad=grad)


def _source(subject: Subject, inputs: Any, second_seed: int) -> Source:
    """Record both passes, with the graph on, and compare them operation by operation."""
    runs = []
    for seed in (1, second_seed):
        model = subject.fresh()
        runs.append(record(lambda model=model, seed=seed: _call(subject, model, inputs, seed, grad=True)))  # type: ignore[misc]
    (returned, first), (_, second) = runs
    for one, other in zip(first, second, strict=False):
        if one.name != other.name or one.shapes != other.shapes:
            before = _draw_before(first, one)
            return Source(before or one, True, first, returned)
        if _same(one.tensors(), other.tensors()) and not _same(tensors_in(one.out), tensors_in(other.out)):
            if isinstance(one.out, Tensor) and one.short.startswith("empty"):
                continue  # not filled yet
            if _decides(one, first):
                return Source(one, True, first, returned)
            return Source(one, False, first, returned)
    return Source(None, True, first, returned)


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape
        and a.dtype == b.dtype
        and torch.equal(torch.nan_to_num(a.detach()), torch.nan_to_num(b.detach()))
        for a, b in zip(one, other, strict=True)
    )


def _draw_before(ops: list[Op], until: Op) -> Op | None:
    """The last random number that was drawn before an operation."""
    found = None
    for op in ops:
        if op is until:
            return found
        if op.short.startswith(("rand", "bernoulli", "multinomial", "normal", "uniform")):
            found = op
    return found


def _decides(op: Op, ops: list[Op]) -> bool:
    """Whether a draw ends in a Python number, as for ``if torch.rand(1) < p``."""
    tainted = {id(one) for one in tensors_in(op.out)}
    for other in ops:
        if any(id(one) in tainted for one in other.tensors()):
            if other.short in ("item", "__bool__", "tolist", "__float__", "__int__"):
                return True
            made = tensors_in(other.out)
            if all(one.numel() <= 1 for one in made):
                tainted |= {id(one) for one in made}
    return False


def _dropout(subject: Subject, source: Source) -> tuple[str, str, str] | None:
    """A dropout that does not follow the mode: severity, words, cure."""
    op = source.op
    assert op is not None  # noqa: S101  asked before
    line = source_line(op.place)
    shown = f"`{line[:90]}`" if line else op.short
    if _meant(subject, op.place):
        words = f"{shown} drops values in eval mode too. Its words say that this is meant (Monte-Carlo dropout)"
        return "note", words, "Nothing, where predictions are averaged over many passes."
    module = _stranger_dropout(subject)
    if module is not None:
        words = f"the {type(module).__name__} at {shown} is not registered, so that eval() does not reach it"
        return "error", words, "Make it in __init__, as an attribute or in nn.ModuleList: self.drop = nn.Dropout(p)"
    if op.short == "scaled_dot_product_attention":
        words = f"{shown} has dropout_p above 0 always; the function does not know eval mode"
        return "error", words, "dropout_p=self.p if self.training else 0.0"
    if _explicit(subject, op.place):
        words = f"{shown} says training=True, so it drops values in eval mode too"
        return "warning", words, "training=self.training; where it is Monte-Carlo dropout, say so in a comment"
    cure = f"F.{op.short}(x, p, training=self.training)" if "dropout" in op.short else "training=self.training"
    return "error", f"{shown} does not follow eval mode", cure


def _stranger_dropout(subject: Subject) -> nn.Module | None:
    """A dropout layer in train mode that is called and not registered."""
    inputs, _ = subject.rows()
    for module, _ in watched_call(subject, subject.fresh(), inputs, seed=1, grad=False).strangers:
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training:
            return module
    return None


def _explicit(subject: Subject, place: Place | None) -> bool:
    """Whether the call on a line says ``training=True`` itself."""
    for call in _calls_at(subject, place):
        said = [one.value for one in call.keywords if one.arg == "training"] + call.args[2:3]
        if any(isinstance(one, ast.Constant) and one.value is True for one in said):
            return True
    return False


def _calls_at(subject: Subject, place: Place | None) -> Iterator[ast.Call]:
    tree = subject.sources.tree(place.file) if place is not None else None
    if tree is None or place is None:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.lineno <= place.line <= (node.end_lineno or node.lineno):
            yield node


def _meant(subject: Subject, place: Place | None) -> bool:
    """Whether the class around a line, or the line itself, speaks of Monte-Carlo dropout."""
    tree = subject.sources.tree(place.file) if place is not None else None
    if tree is None or place is None:
        return False
    homes = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.lineno <= place.line <= (node.end_lineno or 0)
    ]
    outer = min(homes, key=lambda node: node.lineno, default=None)
    if outer is None:
        return bool(MEANT.search(source_line(place)))
    lines = range(max(1, outer.lineno - 2), (outer.end_lineno or outer.lineno) + 1)
    return any(MEANT.search(source_line(Place(place.file, line))) for line in lines)


def _drawn(subject: Subject, source: Source, inputs: Any) -> tuple[str, str, str] | None:
    """Random numbers that forward draws itself; None where that is what the module is for."""
    supervised = subject.task is not None and subject.objective is not None and subject.pool_targets is not None
    answers = returned_tensors(source.returned)
    rows = len(next(iter(inputs.values())))
    if not supervised or not answers or not any(one.ndim and len(one) == rows for one in answers):
        return None
    if _targets_are_inputs(subject):
        return None  # a denoiser learns from its noise
    op = source.op
    if op is None or not (op.short.startswith(DRAWS) or source.diverged):
        return None
    if _meant(subject, op.place):
        return None
    line = source_line(op.place)
    shown = f"`{line[:90]}`" if line else op.short
    if source.diverged:
        cure = "if self.training and torch.rand(1) < p: ..."
        return "error", f"forward takes another way from pass to pass, at {shown}", cure
    if any(id(one) in {id(each) for each in tensors_in(op.out)} for one in answers) or _is_sampling(op, source.ops):
        return None
    if not _mixed_in(op, source.ops):
        return None  # the noise is what the module starts from, as in a generator
    return "error", f"{shown} adds noise in eval mode too", "if self.training: x = x + noise"


def _targets_are_inputs(subject: Subject) -> bool:
    targets = subject.pool_targets
    return isinstance(targets, Tensor) and any(
        value.numel() == targets.numel() and torch.allclose(value.reshape(-1).float(), targets.reshape(-1).float())
        for value in subject.pool.values()
    )


def _is_sampling(op: Op, ops: list[Op]) -> bool:
    """Whether noise around 0 is multiplied with something learnt, as in a VAE, or drawn with learnt probabilities."""
    if any(one.requires_grad for one in op.tensors()) and not op.short.endswith("_like"):
        return True
    tainted = _memories(op)
    for other in ops[ops.index(op) + 1 :]:
        given = other.tensors()
        noise = [one for one in given if id(one) in tainted]
        if not noise:
            continue
        learnt = [one for one in given if one.requires_grad and id(one) not in tainted]
        if other.short in PRODUCTS and learnt and _centred(noise[0]):
            return True
        if other.short in MIXED and learnt:
            return False
        tainted |= {id(one) for one in tensors_in(other.out)}
    return False


def _memories(op: Op) -> set[int]:
    return {id(one) for one in tensors_in(op.out)}


def _centred(noise: Tensor) -> bool:
    """Whether random numbers lie around 0: a mask or a factor around 1 does not."""
    values = noise.detach().float()
    return values.numel() < 2 or abs(float(values.mean())) < 0.5 * float(values.std() + 1e-12)


def _mixed_in(op: Op, ops: list[Op]) -> bool:
    """Whether noise is added to, or multiplied with, values that stem from the inputs."""
    tainted = _memories(op)
    for other in ops[ops.index(op) + 1 :]:
        given = other.tensors()
        if not any(id(one) in tainted for one in given):
            continue
        others = [one for one in given if id(one) not in tainted and one.numel() > 1]
        size = next(one.numel() for one in given if id(one) in tainted)
        if other.short in MIXED and any(one.numel() >= size for one in others):
            return True
        if other.short in SINKS:
            return False
        tainted |= {id(one) for one in tensors_in(other.out)}
    return False


def _decisions(subject: Subject, returned: list[Any]) -> str:
    """How many samples get another class, in words; empty where there are no classes."""
    if subject.task != "classification":
        return ""
    try:
        one, other = (subject.found(each) for each in returned)
    except NotCheckedError:
        return ""
    if not isinstance(one, Tensor) or one.ndim != 2 or one.shape[1] < 2:
        return ""
    changed = int((one.argmax(1) != other.argmax(1)).sum())
    return f" and give {changed} of them another class" if changed else ""


def _layer(subject: Subject, other: int) -> str | None:
    """The first submodule whose output differs though its input does not."""
    inputs, _ = subject.rows()
    seen: list[list[tuple[str, list[Tensor], list[Tensor]]]] = []
    for seed in (1, other):
        model = subject.fresh()
        calls: list[tuple[str, list[Tensor], list[Tensor]]] = []

        def note(_: Any, args: Any, out: Any, *, name: str, into: list[Any] = calls) -> None:
            into.append((name, tensors_in(args), tensors_in(out)))

        inner = [(name, module) for name, module in model.named_modules() if name]
        handles = [module.register_forward_hook(functools.partial(note, name=name)) for name, module in inner]
        _call(subject, model, inputs, seed)
        for handle in handles:
            handle.remove()
        seen.append(calls)
    for (name, given, out), (_, other_given, other_out) in zip(seen[0], seen[1], strict=False):
        if _same(given, other_given) and not _same(out, other_out):
            return name
    return None


CHECKS: tuple[Check, ...] = (Check("randomness in eval mode", ("M19",), random_in_eval, most_s=4.0),)
