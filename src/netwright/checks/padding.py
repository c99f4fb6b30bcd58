"""Does padding change the answer, or count in the loss? (M09, L08)

The same samples with fewer pads, with other contents in the pads, and with other contents in what is real: only the
last may matter. Answers count where they are scored: at real positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.owners import walked_back
from netwright.checks.probes import Probe, answer_of, differs, gap, kinds, moved, probe_of
from netwright.checks.runner import Check
from netwright.checks.sequences import Padding, attends, by_position, padding_of, time_inputs
from netwright.checks.sourcecode import Place, class_place, source_line
from netwright.checks.subject import Inputs, NotCheckedError, Subject
from netwright.checks.traced import Traced, seeded_call, traced
from netwright.records import Finding

REAL = 1e-4  # of the spread of answers; rounding of float32 moves them by a hundredth of that
CLEAR = 0.02  # the same where it is no attention that reads the pads
COUNTED = 0.1  # of scored positions that may be padding before it is told
TRIED = 5  # samples


@dataclass(frozen=True, slots=True)
class Tried:
    """Padded samples and what was done with them.

    Attributes:
        longest: Positions that are kept where pads are cut off.
        least: Real positions that every sample has.
        fewer, other, real: How far answers moved with fewer pads, other pads, other real contents; None: not done.
    """

    inputs: Inputs
    real: Tensor
    longest: int
    least: int
    spread: float
    fewer: float | None
    other: float | None
    contents: float | None


def padding_changes_answers(subject: Subject) -> Iterator[Finding]:
    """Cut pads off and change them."""
    probe = probe_of(subject)
    names = time_inputs(probe)
    padding = padding_of(subject, names) if names else None
    if padding is None:
        return
    tried = _try(probe, padding)
    if tried is None:
        return
    harm = tried.fewer if tried.fewer is not None else tried.other
    inverted = tried.contents is not None and tried.contents <= 1e-6 * tried.spread
    if probe.answer.dtype not in (torch.float32, torch.float64):
        raise NotCheckedError("numbers of 16 bits are too coarse to tell")
    if harm is None or (harm <= REAL * tried.spread and not inverted):
        return
    trace, index = _where(probe, padding, tried)
    yield from _told(probe, padding, tried, trace, index, inverted=inverted)


def _try(probe: Probe, padding: Padding) -> Tried | None:
    """Samples of different lengths, none of which fills all positions."""
    subject = probe.subject
    counts = padding.real.sum(dim=1)
    length = padding.real.shape[1]
    usable = ((counts <= length - 2) & (counts >= 2)).nonzero()[:, 0]
    if len(usable) < 2:
        return None
    order = usable[counts[usable].argsort()]
    different = [int((counts[order] == size).nonzero()[0]) for size in kinds(counts[order])]
    rows = order[different[:TRIED]]  # the shortest ones, so that much padding can be cut off
    inputs = {name: value[rows].clone() for name, value in subject.pool.items()}
    real = padding.real[rows]
    longest, least = int(real.sum(dim=1).max()), int(real.sum(dim=1).min())
    if len(rows) < 2 or least == longest:
        return None
    before = _scored(probe, _run(probe, inputs), real)
    spread = max(float(before.double().std()), 1e-3 * float(before.double().abs().max()), 1e-12)
    fewer = _moved(probe, before, trimmed(inputs, length, longest), real[:, :longest])
    other = None
    if padding.told is not None:
        other = _moved(probe, before, refilled(inputs, padding, real, ~real), real)
    inner = real & (torch.arange(length) > 0) & (torch.arange(length) < real.sum(dim=1, keepdim=True) - 1)
    contents = _moved(probe, before, refilled(inputs, padding, real, inner), real, whole_only=True)
    return Tried(inputs, real, longest, least, spread, fewer, other, contents)


def _run(probe: Probe, inputs: Inputs) -> Tensor:
    return answer_of(probe.subject, seeded_call(probe.subject, probe.ready(), inputs))


def _scored(probe: Probe, answer: Tensor, real: Tensor) -> Tensor:
    """The answer, or what it says of real positions."""
    rows, length = real.shape
    placed = by_position(answer, rows, length, axis=min(probe.axis, answer.ndim - 1))
    return answer if placed is None else placed[real]


def _moved(probe: Probe, before: Tensor, inputs: Inputs, real: Tensor, *, whole_only: bool = False) -> float | None:
    try:
        answer = _run(probe, inputs)
    except NotCheckedError:
        return None
    if whole_only and by_position(answer, *real.shape, axis=min(probe.axis, answer.ndim - 1)) is not None:
        return None
    after = _scored(probe, answer, real)
    return gap(before, after) if after.shape == before.shape else None


def trimmed(inputs: Inputs, length: int, longest: int) -> Inputs:
    """Inputs without the positions that are padding in all samples."""
    return {
        name: value[:, :longest].clone() if value.ndim > 1 and value.shape[1] == length else value
        for name, value in inputs.items()
    }


def refilled(inputs: Inputs, padding: Padding, real: Tensor, where: Tensor) -> Inputs:
    """Other real contents, of other samples, at some positions of the padded input."""
    value = inputs[padding.name]
    generator = torch.Generator().manual_seed(0)
    stock = value[real]
    drawn = stock[torch.randint(len(stock), value.shape[:2], generator=generator)]
    return {**inputs, padding.name: torch.where(where.reshape(*where.shape, *[1] * (value.ndim - 2)), drawn, value)}


def _where(probe: Probe, padding: Padding, tried: Tried) -> tuple[Traced | None, int | None]:
    """The operation by which pads reach real positions: both passes compared at positions that all samples have."""
    length = tried.real.shape[1]
    inputs = trimmed(tried.inputs, length, tried.longest)
    if tried.fewer is None:
        inputs = refilled(tried.inputs, padding, tried.real, ~tried.real)
    try:
        base = traced(probe.subject, probe.ready(), tried.inputs)
        other = traced(probe.subject, probe.ready(), inputs)
        answer = probe.subject.found(base.returned)
    except NotCheckedError:
        return None, None
    if [op.name for op in base.ops] != [op.name for op in other.ops] or not isinstance(answer, Tensor):
        return base, None

    def bad(index: int, place: int) -> bool:
        before, after = base.ops[index].tensors()[place], other.ops[index].tensors()[place]
        return _reached(before, after, length, tried)

    return base, walked_back(base, answer, bad)


def _reached(before: Tensor, after: Tensor, length: int, tried: Tried) -> bool:
    """Whether numbers of real positions differ; pads themselves may."""
    if before.ndim != after.ndim or before.ndim == 0:
        return False
    for axis in range(before.ndim):
        if before.shape[axis] == length:
            before = before.narrow(axis, 0, tried.least)
        if after.shape[axis] in (length, tried.longest) and after.shape[axis] != before.shape[axis]:
            after = after.narrow(axis, 0, tried.least)
    if before.shape != after.shape:
        return False
    return bool(moved(before, after).any())


def _told(
    probe: Probe, padding: Padding, tried: Tried, trace: Traced | None, index: int | None, *, inverted: bool
) -> Iterator[Finding]:
    op = trace.ops[index] if trace is not None and index is not None else None
    place: Place | None = op.place if op is not None else class_place(type(probe.subject.model))
    attention = trace is not None and attends(trace.ops if op is None else [op])
    if not attention and not (inverted and trace is not None and attends(trace.ops)):
        # states and means run over padding in many sound programs; where a mask is given it was meant to count
        if padding.told is None or (tried.fewer or 0.0) <= CLEAR * tried.spread or _unheard(probe, padding, tried):
            return
        severity: str | None = "warning"
    else:
        severity = None
    parts = [
        f"Samples have {tried.least} … {tried.longest} real positions of {tried.real.shape[1]}, the rest is padding"
    ]
    if tried.fewer is not None:
        parts.append(f"with {tried.real.shape[1] - tried.longest} pads cut off, their answers {_by(tried.fewer)}")
    if tried.other is not None:
        parts.append(f"with other numbers in the pads they {_by(tried.other)}")
    if inverted:
        parts.append("with other numbers in the real positions not at all: the mask hides what is real")
    text = f"{'; '.join(parts)} (answers spread by {tried.spread:.2g})"
    if op is not None:
        text += f". It gets in at `{source_line(op.place) or op.short}`"
    yield finding(
        "M09",
        severity="warning" if severity == "warning" else None,
        evidence=f"{text}.",
        cure=_cure(padding, op.short if op is not None else "", inverted=inverted),
        place=place,
        layer=trace.layer(index) if trace is not None and index is not None else None,
    )


def _unheard(probe: Probe, padding: Padding, tried: Tried) -> bool:
    """Whether the input that tells what is real has no effect at all: that is told of as such."""
    if padding.told is None:
        return True
    changed = {**tried.inputs, padding.told: tried.inputs[padding.told].roll(1, 0)}
    return not differs(_run(probe, tried.inputs), _run(probe, changed))


def _by(away: float) -> str:
    return f"moved by up to {away:.2g}" if away < float("inf") else "became NaN, or were so before"


def _cure(padding: Padding, short: str, *, inverted: bool) -> str:
    seen = f"{padding.name} != {padding.fill}" if padding.fill is not None else "mask"
    if inverted:
        return (
            "key_padding_mask and src_key_padding_mask are True where a key is ignored; attn_mask of "
            "scaled_dot_product_attention is True where it is kept: invert it with ~."
        )
    if short == "multi_head_attention_forward":
        return f"key_padding_mask=~({seen}): True where a key is to be ignored."
    if short == "scaled_dot_product_attention":
        return f"attn_mask=({seen})[:, None, None, :]: True where a key is kept."
    if short in ("softmax", "matmul", "bmm"):
        return (
            f"scores.masked_fill(~({seen})[:, None, None, :], float('-inf')) before the softmax: along the "
            "keys, the last axis."
        )
    if short in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        return "nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)"
    return f"Leave padding out: real = ({seen}); (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)."


def padding_counts_in_loss(subject: Subject) -> Iterator[Finding]:
    """The gradient of the loss at positions that are padding must be 0."""
    names = time_inputs(probe_of(subject))
    if not names or padding_of(subject, names) is None:
        return
    seen = subject.cache.get("loss_seen")
    if seen is not None:
        inputs, output, loss = seen
        if loss.inside or loss.swapped or loss.value is None or not isinstance(loss.target, Tensor):
            raise NotCheckedError("what becomes of the loss of each position is not seen")
        given, wanted = loss.input.cpu(), loss.target.cpu()
        place = loss.place
    else:
        inputs, wanted = subject.rows(min(64, subject.pool_size))
        place, output = None, None
        given = subject.found(subject.call(subject.fresh(), inputs))
    if not isinstance(given, Tensor) or not isinstance(wanted, Tensor) or wanted.is_floating_point() or given.ndim < 2:
        return
    padding = _of_inputs(subject, inputs)
    if padding is None:
        return
    name, real = padding
    if wanted.numel() != real.numel() or given.numel() % real.numel():
        return
    leaf = given.detach().clone().requires_grad_()
    value = loss.function(leaf, wanted) if seen is not None else subject.loss_of(leaf, inputs, wanted)
    if value.numel() != 1:
        raise NotCheckedError("the loss is not one number")
    (gradient,) = torch.autograd.grad(value, leaf)
    counted = _by_place(gradient, real, output)
    if counted is None:
        return
    share = float((counted & ~real).sum()) / max(1, int(counted.sum()))
    fill = wanted.reshape(-1)[(counted & ~real).reshape(-1)] if wanted.shape != real.shape else wanted[counted & ~real]
    if share < COUNTED or not len(fill) or float((fill == fill.mode().values).double().mean()) < 0.95:
        return
    yield finding(
        "L08",
        evidence=f"{share:.0%} of the {int(counted.sum())} positions that the loss counts are padding of `{name}`, "
        "and the target "
        f"there is {int(fill.mode().values)}: to tell it is free, so the loss looks better than the model is, and "
        "what is real "
        f"gets {1 - share:.0%} of the gradient.",
        cure="Fill these targets with -100, which cross-entropy leaves out; or "
        f"ignore_index={int(fill.mode().values)} where "
        "no real target is that.",
        place=place,
        where=None if place is not None else "the loss",
    )


def _of_inputs(subject: Subject, inputs: Inputs) -> tuple[str, Tensor] | None:
    """The padded input and the real positions of one batch."""
    names = time_inputs(probe_of(subject))
    padding = padding_of(subject, names) if names else None
    if padding is None or padding.name not in inputs:
        return None
    own, pool = inputs[padding.name], subject.pool[padding.name]
    if own.shape[1] != pool.shape[1] or not torch.equal(own, pool[: len(own)]):
        return None
    return padding.name, padding.real[: len(own)]


def _by_place(gradient: Tensor, real: Tensor, output: Tensor | None) -> Tensor | None:
    """Positions (B, T) at which a gradient is not 0; None where its axes are not clear."""
    rows, length = real.shape
    if output is not None and output.ndim == 3 and output.shape[0] != rows:
        return None
    if gradient.shape[0] == rows * length:
        return (gradient != 0).flatten(1).any(dim=1).reshape(rows, length)
    if gradient.shape[0] != rows:
        return None
    at = [axis for axis in range(1, gradient.ndim) if gradient.shape[axis] == length]
    if not at:
        return None
    return (gradient != 0).movedim(at[-1], 1).flatten(2).any(dim=2)


CHECKS: tuple[Check, ...] = (
    Check("whether padding changes the answer", ("M09",), padding_changes_answers, most_s=3.0),
    Check("whether padding counts in the loss", ("L08",), padding_counts_in_loss, most_s=2.0),
)
