"""Positions of sequences: the axis of time of an answer, which positions are real, and which token each is trained on.

``T`` is the number of positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netwright.checks.optrace import tensors_in
from netwright.checks.probes import Probe, differs, kinds, probe_of, replaced
from netwright.checks.subject import Inputs, NotCheckedError, Subject

LEAST_PAIRS = 40  # positions that a rule about targets is told from
POSITIONS = 600  # that a rule about targets is told from where a pass must be made for it
SAME = 0.99  # of positions that agree


@dataclass(frozen=True, slots=True)
class Pairs:
    """What positions of an answer are trained on: sample, position and class of each scored one."""

    inputs: Inputs
    rows: Tensor
    positions: Tensor
    targets: Tensor


def by_position(answer: Tensor, rows: int, length: int, *, axis: int = 0) -> Tensor | None:
    """An answer as (B, T, ...); None where it has no axis of that length."""
    answer = answer.movedim(axis, 0) if answer.shape[axis] == rows else answer
    if answer.shape[0] == rows * length and answer.ndim <= 2:
        return answer.reshape(rows, length, -1)
    if answer.shape[0] != rows:
        return None
    at = next((one for one in range(1, answer.ndim) if answer.shape[one] == length), None)
    return None if at is None else answer.movedim(at, 1)


def time_inputs(probe: Probe) -> list[str]:
    """Names of the inputs with an axis of time: token ids (B, T), or numbers (B, T, D)."""
    subject = probe.subject
    return [
        name
        for name, value in probe.inputs.items()
        if name not in (subject.lengths, subject.mask)
        and (
            (value.ndim == 2 and not value.is_floating_point() and value.dtype != torch.bool)
            or (value.ndim == 3 and value.is_floating_point())
        )
        and value.shape[1] >= 4
    ]


def offsets(pairs: Pairs, tokens: Tensor) -> dict[int, float]:
    """By offset the share of positions whose target is the token so far on, of those that have one."""
    shares = {}
    for offset in (-1, 0, 1, 2):
        at = pairs.positions + offset
        inside = (at >= 0) & (at < tokens.shape[1])
        if int(inside.sum()) >= LEAST_PAIRS:
            there = tokens[pairs.rows[inside], at[inside]]
            shares[offset] = float((there == pairs.targets[inside]).double().mean())
    return shares


def aim(subject: Subject) -> tuple[str, int, dict[int, float]] | None:
    """The input whose tokens are the targets, and how far on: 1 is the next token. None where they are not.

    Raises:
        NotCheckedError: What positions are trained on is not known.
    """
    if "aim" not in subject.cache:
        subject.cache["aim"] = _aim(subject)
    found: tuple[str, int, dict[int, float]] | None = subject.cache["aim"]
    return found


def _aim(subject: Subject) -> tuple[str, int, dict[int, float]] | None:
    pairs = pairs_of(subject)
    subject.cache["scored"] = kinds(pairs.positions)
    if len(kinds(pairs.targets)) < 3:
        return None
    best: tuple[str, int, dict[int, float]] | None = None
    for name, value in pairs.inputs.items():
        if value.ndim != 2 or value.is_floating_point() or value.shape[1] < 3 or name == subject.mask:
            continue
        kept = _without_padding(pairs, value)
        if not _matters(subject, name):
            continue  # the targets themselves, given along for the loss
        shares = offsets(kept, value)
        for offset in (1, 0, 2, -1):
            if shares.get(offset, 0.0) >= SAME and (best is None or (best[1] != 1 and offset == 1)):
                best = (name, offset, shares)
    return best


def _matters(subject: Subject, name: str) -> bool:
    """Whether the answer depends on an input."""
    probe = probe_of(subject)
    if name not in probe.inputs:
        return False
    changed = replaced(subject, probe.inputs, list(range(probe.rows)))[name]
    if torch.equal(changed, probe.inputs[name]):
        changed = probe.inputs[name].roll(1, 0)
    return differs(probe.answer, probe.run({**probe.inputs, name: changed}))


def _without_padding(pairs: Pairs, tokens: Tensor) -> Pairs:
    """Positions of trailing runs of one token tell nothing: there all offsets agree."""
    run = (tokens == tokens[:, -1:]).flip(1).cumprod(dim=1).flip(1).bool()
    run &= run.sum(dim=1, keepdim=True) > 1
    kept = ~run[pairs.rows, pairs.positions.clamp(max=tokens.shape[1] - 1)]
    return Pairs(pairs.inputs, pairs.rows[kept], pairs.positions[kept], pairs.targets[kept])


def pairs_of(subject: Subject) -> Pairs:
    """What each scored position is trained on, of one batch.

    Raises:
        NotCheckedError: It cannot be told.
    """
    found = _pairs_seen(subject) if subject.cache.get("loss_seen") is not None else None
    if found is None and subject.objective is not None and subject.pool_targets is not None:
        found = _pairs_of_gradient(subject)
    if found is None:
        found = _pairs_inside(subject)
    if found is None or len(found.targets) < LEAST_PAIRS:
        raise NotCheckedError("which position is trained on which class is not known")
    return found


def _pairs_seen(subject: Subject) -> Pairs | None:
    """By the rows of the answer that were given to the loss, recognised by their numbers."""
    inputs, output, loss = subject.cache["loss_seen"]
    given, wanted = loss.input, loss.target
    if (
        not isinstance(output, Tensor)
        or output.ndim != 3
        or not isinstance(wanted, Tensor)
        or wanted.is_floating_point()
    ):
        return None
    if loss.swapped or given.ndim < 2 or wanted.numel() * given.shape[1] != given.numel() and given.ndim != 2:
        return None
    classes = given.shape[1]
    lines = given.movedim(1, -1).reshape(-1, classes).cpu()
    answer = output.cpu() if output.shape[2] == classes else output.cpu().transpose(1, 2)
    if answer.shape[2] != classes or len(lines) != wanted.numel():
        return None
    place = _places(answer, lines)
    if place is None:
        place = _places(answer.log_softmax(dim=-1), lines)
    if place is None:
        return None
    rows, positions = place
    targets = wanted.reshape(-1).cpu()
    ignored = loss.options.get("ignore_index", getattr(loss.module, "ignore_index", -100))
    scored = targets != (ignored if isinstance(ignored, int) else -100)
    return Pairs(inputs, rows[scored], positions[scored], targets[scored])


def _places(answer: Tensor, lines: Tensor) -> tuple[Tensor, Tensor] | None:
    """Sample and position of each line in an answer (B, T, V), where the lines are a part of it in its order."""
    rows, length, classes = answer.shape
    number = torch.arange(rows * length).reshape(rows, length)
    for turned in (False, True):  # sample by sample, or position by position
        whole, index = (answer.transpose(0, 1), number.T) if turned else (answer, number)
        axis = 0 if turned else 1
        if len(lines) % rows:
            continue
        for start in range(length - len(lines) // rows + 1):
            part = whole.narrow(axis, start, len(lines) // rows).reshape(-1, classes)
            if torch.allclose(part, lines, rtol=1e-4, atol=1e-6):
                at = index.narrow(axis, start, len(lines) // rows).reshape(-1)
                return at // length, at % length
    return _picked(answer.reshape(-1, classes), lines, length)


def _picked(flat: Tensor, lines: Tensor, length: int) -> tuple[Tensor, Tensor] | None:
    """The same for lines that were picked by a mask, in order."""
    found, at = [], 0
    for line in lines[:2000]:
        while at < len(flat) and not torch.equal(flat[at], line):
            at += 1
        if at == len(flat):
            return None
        found.append(at)
        at += 1
    if len(lines) > len(found):
        return None
    index = torch.tensor(found)
    return index // length, index % length


def _pairs_of_gradient(subject: Subject) -> Pairs | None:
    """By the gradient of the loss with respect to the answer: only the class that is wanted has a negative one."""
    inputs, targets = subject.rows(_enough(subject))
    found = subject.found(subject.call(subject.fresh(), inputs))
    if not isinstance(found, Tensor) or found.ndim != 3 or targets is None:
        return None
    leaf = found.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(subject.loss_of(leaf, inputs, targets), leaf)
    return _chosen(inputs, gradient)


def _enough(subject: Subject) -> int:
    """As many samples as have some hundred positions together."""
    length = max(value.shape[1] if value.ndim > 1 else 1 for value in subject.pool.values())
    return min(64, max(2, POSITIONS // length), subject.pool_size)


def _pairs_inside(subject: Subject) -> Pairs | None:
    """The same where the module is given the targets and returns its loss beside the answer."""
    count = subject.cache.get("rows") or _enough(subject)
    inputs, _ = subject.rows(min(int(count), subject.pool_size))
    returned = tensors_in(subject.call(subject.fresh(), inputs, grad=True))
    losses = [one for one in returned if one.numel() == 1 and one.requires_grad]
    answers = [one for one in returned if one.ndim == 3 and one.requires_grad]
    if not losses or not answers:
        return None
    (gradient,) = torch.autograd.grad(losses[0].reshape(()), answers[0], allow_unused=True)
    return None if gradient is None else _chosen(inputs, gradient)


def _chosen(inputs: Inputs, gradient: Tensor) -> Pairs:
    """Positions at which a gradient asks for one class more and for all others less."""
    lengths = {value.shape[1] for value in inputs.values() if value.ndim > 1}
    if gradient.shape[1] not in lengths:
        gradient = gradient.transpose(1, 2)
    scored = (gradient < 0).sum(dim=2) == 1
    rows, positions = scored.nonzero(as_tuple=True)
    return Pairs(inputs, rows, positions, gradient.argmin(dim=2)[scored])


@dataclass(frozen=True, slots=True)
class Padding:
    """Which positions are real.

    Attributes:
        name: The input that is padded.
        real: bool (N, T) of the whole pool.
        told: Name of the input that tells the module so, as its mask; None where it can only see the contents.
        fill: The token that padding is made of; None of numbers.
    """

    name: str
    real: Tensor
    told: str | None
    fill: int | None


def padding_of(subject: Subject, names: list[str]) -> Padding | None:
    """How the samples of the pool are padded at their end; None where they are not, or it is not sure."""
    for name in names:
        value = subject.pool[name]
        told, real = _told(subject, value)
        if real is None:
            real = _unseen(subject, value)
        if real is None:
            continue
        counts = real.sum(dim=1)
        if int((counts < value.shape[1] - 1).sum()) < max(3, 0.1 * len(value)) or len(kinds(counts)) < 3:
            continue
        inside = value[~real]
        fill = int(inside[0]) if value.ndim == 2 and not value.is_floating_point() and len(kinds(inside)) == 1 else None
        return Padding(name, real, told, fill)
    return None


def _told(subject: Subject, value: Tensor) -> tuple[str | None, Tensor | None]:
    """Real positions as an input tells them, as lengths or a mask that begins with real ones."""
    length = value.shape[1]
    steps = torch.arange(length)
    if subject.lengths is not None:
        counts = subject.pool[subject.lengths]
        if int(counts.max()) <= length and int(counts.min()) > 0:
            return subject.lengths, steps < counts[:, None]
    for name, mask in subject.pool.items():
        if mask.shape != value.shape[:2] or mask is value or not (name == subject.mask or mask.dtype == torch.bool):
            continue
        if not bool(((mask == 0) | (mask == 1)).all()):
            continue
        real = (
            mask.bool()
            if bool(mask[:, 0].bool().all())
            else ~mask.bool()
            if not bool(mask[:, 0].bool().any())
            else None
        )
        if real is not None and bool((real == (steps < real.sum(dim=1, keepdim=True))).all()):
            return name, real
    return None, None


def _unseen(subject: Subject, value: Tensor) -> Tensor | None:
    """Real positions as far as the contents tell: a token or zeros at ends only, in runs of all lengths."""
    empty = value == 0 if value.ndim == 2 else (value == 0).all(dim=2)
    candidates = [empty]
    if value.ndim == 2:
        indices = {one.padding_idx for one in subject.model.modules() if isinstance(one, nn.Embedding)}
        known = {subject.pad_id, *indices, int(value.max())} - {None, 0}
        candidates += [value.eq(one) for one in known if one is not None]
    for one in candidates:
        run = one.flip(1).cumprod(dim=1).flip(1).bool()
        padded = run.sum(dim=1) >= 2
        inside = int((one & ~run).sum())
        if inside == 0 and float(padded.double().mean()) >= 0.2 and not bool(run.all(dim=1).any()):
            return ~run
    return None


def attends(ops: list[Any]) -> bool:
    """Whether there is attention among operations: a softmax, or a function of torch that has one inside."""
    kinds = {"scaled_dot_product_attention", "multi_head_attention_forward", "softmax"}
    return any(op.short in kinds for op in ops)
