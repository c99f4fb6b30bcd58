"""Dropout that drops the wrong things (M18): whole time steps, nearly everything, or the answer itself.

``N`` samples, ``L`` positions, ``C`` features. What is dropped is seen in the batch; which axis holds features is known
by the layers that made the tensor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.axes import feature_axes
from netwright.checks.catalogue import finding
from netwright.checks.optrace import Op, record
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, source_line
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding

CHANNELS = frozenset({"dropout1d", "dropout2d", "dropout3d", "feature_dropout", "feature_alpha_dropout"})
PLAIN = frozenset({"dropout", "dropout_", "alpha_dropout", "native_dropout"})
SHAPES = frozenset({
    "view", "reshape", "squeeze", "unsqueeze", "flatten", "transpose", "permute", "contiguous", "softmax",
    "log_softmax",
    "sigmoid", "logsigmoid", "__getitem__", "float", "view_as", "movedim",
})  # fmt: skip
HEAVY = 0.8  # of the values dropped; torch's own models use .1 to .5
STEPS = "(?:word|token|time|step|patch|frame|position)s?"
MEANT = re.compile(rf"{STEPS}_?drop|drop(?:out)?_?{STEPS}", re.IGNORECASE)


Dropping = tuple[list[Op], Any, list[Op]]


def _dropouts(subject: Subject) -> Dropping:
    """All operations of one pass in train mode, what it returned, and those that drop; done once."""
    found: Dropping | None = subject.cache.get("dropouts")
    if found is None:
        inputs, _ = subject.rows()
        model = subject.fresh(train=True)
        subject.call(model, inputs)
        returned, ops = record(lambda: subject.call(model, inputs, grad=True))
        drops = [op for op in ops if op.short in CHANNELS | PLAIN and _rate(op) > 0 and _given(op) is not None]
        found = subject.cache["dropouts"] = (ops, returned, drops)
    return found


def _rate(op: Op) -> float:
    """Share that is dropped, 0 where the call does not drop."""
    rate = op.argument(1, "p", 0.5)
    training = op.argument(2, "training", True)
    return float(rate) if isinstance(rate, (int, float)) and training else 0.0


def _given(op: Op) -> Tensor | None:
    value = op.argument(0, "input")
    return value if isinstance(value, Tensor) else None


def whole_steps(subject: Subject) -> Iterator[Finding]:
    """M18: channel dropout on a tensor whose axis 1 holds positions; a note for (N, F), where it is plain dropout."""
    ops, _, drops = _dropouts(subject)
    axes = feature_axes(ops)
    told: set[Place | None] = set()
    for op in drops:
        value = _given(op)
        if value is None or op.short not in CHANNELS or op.place in told or not isinstance(op.out, Tensor):
            continue
        told.add(op.place)
        if value.ndim == 2 and op.short == "dropout2d":
            yield _renamed(op, value)
        axis = axes.get(id(value))
        if value.ndim < 3 or axis is None or axis == 1 or value.shape[1] < 2:
            continue
        dropped = (op.out.detach() == 0) & (value.detach() != 0)
        alive = (value.detach() != 0).flatten(2).any(2)
        gone = (dropped | (value.detach() == 0)).flatten(2).all(2) & alive
        partly = dropped.flatten(2).any(2) & ~gone
        if not bool(gone.any()) or bool(partly.any()):
            continue
        line = source_line(op.place)
        yield finding(
            "M18",
            severity="note" if MEANT.search(line) else "warning",
            evidence=(
                f"{op.short} got {tuple(value.shape)}, whose axis {axis} holds the features (it comes of a layer "
                "that puts them "
                f"there): it dropped {int(gone.sum())} of {int(alive.sum())} positions with all their features, and "
                "no feature "
                "of any position alone"
            ),
            cure="nn.Dropout(p), or drop channels between two transposes: drop(x.transpose(1, 2)).transpose(1, 2)",
            place=op.place,
            layer=_layer_of(subject, op),
        )


def _renamed(op: Op, value: Tensor) -> Finding:
    assert isinstance(op.out, Tensor)  # noqa: S101  asked before
    zeros = ((op.out.detach() == 0) & (value.detach() != 0)).sum()
    alive = (value.detach() != 0).sum()
    torch.manual_seed(0)
    ones = torch.ones(64, max(2, value.shape[1]))
    mask = torch.feature_dropout(ones, 0.5, True)
    single = bool((mask == 0).any(1).all()) and not bool((mask == 0).all(1).any())
    tail = "; torch draws one number for each value here" if single else ""
    return finding(
        "M18",
        severity="note",
        title="Dropout2d on (N, F) is plain dropout: harmless",
        evidence=(
            f"on {tuple(value.shape)} it set {int(zeros)} of {int(alive)} single values to 0, as nn.Dropout does{tail}"
        ),
        cure="nn.Dropout says what happens.",
        place=op.place,
    )


def _layer_of(subject: Subject, op: Op) -> str | None:
    """The registered dropout layer, where only one has this kind and rate."""
    kinds = {"dropout1d": nn.Dropout1d, "dropout2d": nn.Dropout2d, "dropout3d": nn.Dropout3d, "dropout": nn.Dropout}
    kind = kinds.get(op.short)
    names = [
        name
        for name, module in subject.model.named_modules()
        if kind is not None and type(module) is kind and float(getattr(module, "p", -1)) == _rate(op)
    ]
    return names[0] if len(names) == 1 else None


def nearly_all(subject: Subject) -> Iterator[Finding]:
    """M18: a rate of .8 or more that buries the answer in noise."""
    _, _, drops = _dropouts(subject)
    heavy = [op for op in drops if _rate(op) >= HEAVY]
    if not heavy:
        return
    noise, signal = _noise_and_signal(subject)
    if noise <= signal:
        return  # a wide layer averages it out
    op = heavy[0]
    value = _given(op)
    assert value is not None and isinstance(op.out, Tensor)  # noqa: S101  chosen so
    dropped = float(((op.out.detach() == 0) & (value.detach() != 0)).sum()) / max(1, int((value.detach() != 0).sum()))
    yield finding(
        "M18",
        title="Dropout leaves next to nothing",
        evidence=(
            f"a rate of {_rate(op):g} dropped {dropped:.0%} of the values of your batch. Passes of one sample in "
            "train mode differ by "
            f"{noise:.3g} from each other, two samples without dropout only by {signal:.3g}"
        ),
        cure=f"The rate is the share that is dropped, not kept: nn.Dropout({1 - _rate(op):.2g})",
        place=op.place,
        layer=_layer_of(subject, op),
    )


def _noise_and_signal(subject: Subject) -> tuple[float, float]:
    """How far answers to one sample differ in train mode, and how far those to two samples do in eval mode."""
    inputs, _ = subject.rows()
    model = subject.fresh(train=True)
    draws = torch.stack([subject.answer(model, inputs, seed=seed).float() for seed in range(8)])
    plain = subject.answer(subject.fresh(), inputs).float()
    return float(draws.std(0).mean()), float(plain.std(0).mean())


def answer_dropped(subject: Subject) -> Iterator[Finding]:
    """M18: dropout as the last step, on the answer that the loss gets."""
    ops, returned, drops = _dropouts(subject)
    if not drops:
        return
    if subject.objective is None or not subject.exact or subject.task is None:
        raise NotCheckedError("whether the loss gets the answer as it is, is not known")
    made = {id(op.out): op for op in ops if isinstance(op.out, Tensor)}
    value = subject.found(returned)
    while isinstance(value, Tensor) and id(value) in made:
        op = made[id(value)]
        if op in drops:
            break
        if op.short not in SHAPES:
            return
        value = next((one for one in op.tensors() if one is not value), None)
    else:
        return
    before = _given(op)
    assert before is not None and isinstance(op.out, Tensor)  # noqa: S101  chosen so
    zeros = int(((op.out.detach() == 0) & (before.detach() != 0)).sum())
    yield finding(
        "M18",
        title="Dropout on the answer",
        evidence=(
            f"in train mode dropout with rate {_rate(op):g} is the last step: it set {zeros} of {before.numel()} "
            "outputs of your "
            "batch to 0, which the loss then gets as answers; in eval mode none"
        ),
        cure="Drop before the last layer: self.out(self.drop(x))",
        place=op.place,
        layer=_layer_of(subject, op),
    )


CHECKS: tuple[Check, ...] = (
    Check("dropout along the wrong axis", ("M18",), whole_steps),
    Check("dropout of nearly everything", ("M18",), nearly_all),
    Check("dropout on the answer", ("M18",), answer_dropped),
)
