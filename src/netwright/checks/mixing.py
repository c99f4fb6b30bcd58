"""Do samples of a batch leave each other alone? (M05, M06, and M07 as far as the place in the batch counts.)

Three experiments in eval mode: other samples beside, another order, fewer samples. What a sample is answered may not
change. Only where it does, all operations are followed, to tell where.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from netwright.checks.catalogue import Severity, finding
from netwright.checks.layouts import rows_are_samples
from netwright.checks.optrace import Op
from netwright.checks.owners import ASTRAY, Owners, is_reshape, origin, owners_of
from netwright.checks.probes import REAL, Probe, answers_in, gap, moved, probe_of, replaced
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, class_place, made_at, source_line
from netwright.checks.subject import NotCheckedError, Subject
from netwright.checks.traced import Span
from netwright.records import Finding

RECURRENT = frozenset(
    {"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"}
)
STATISTICS = frozenset({
    "mean", "sum", "std", "var", "std_mean", "var_mean", "max", "min", "amax", "amin", "norm", "vector_norm", "softmax",
    "log_softmax", "normalize", "cumsum", "cumprod", "sort", "argsort", "topk", "median", "quantile", "layer_norm",
    "prod", "logsumexp", "aminmax", "nanmean",
})  # fmt: skip
NORMS = frozenset({"batch_norm", "instance_norm"})
ATTENTION = frozenset({"matmul", "bmm", "einsum", "scaled_dot_product_attention", "multi_head_attention_forward"})


def samples_influence_each_other(subject: Subject) -> Iterator[Finding]:
    """Change some samples: what the others are answered may not move."""
    probe = probe_of(subject)
    odd = _some(probe.rows)
    answer = probe.run(replaced(subject, probe.inputs, odd))
    if answer.shape != probe.answer.shape:
        raise NotCheckedError("the shape of the answer depends on what is in the batch")
    away = _moved_beside(probe, answer, odd)
    if away > REAL * probe.spread and rows_are_samples(subject, probe):
        yield from _mixed(probe, away, odd)
    elif away <= REAL * probe.spread and not probe.noisy:
        yield from _by_place(probe)


def _some(rows: int) -> list[int]:
    """About every third row, in no order that a flip or a shift keeps."""
    return [1, 2, *range(5, rows, 4)] if rows > 2 else [1]


def _moved_beside(probe: Probe, answer: Tensor, odd: list[int]) -> float:
    """How far the answers of samples moved that were not changed."""
    before, after = probe.answer.movedim(probe.axis, 0), answer.movedim(probe.axis, 0)
    if len(before) == probe.rows:
        even = [row for row in range(probe.rows) if row not in odd]
        return gap(before[even], after[even])
    # positions of all samples end to end, in whichever order: those that one changed sample moves, no other may move
    seen = torch.zeros(len(before), dtype=torch.bool)
    twice = torch.zeros_like(seen)
    others = []
    for row in (0, probe.rows // 2, probe.rows - 1):
        changed = probe.run(replaced(probe.subject, probe.inputs, [row])).movedim(probe.axis, 0)
        lines = moved(before, changed).reshape(len(before), -1).any(dim=1)
        twice |= seen & lines
        seen |= lines
        others.append(changed)
    return max((gap(before[twice], one[twice]) for one in others), default=0.0) if bool(twice.any()) else 0.0


def _mixed(probe: Probe, away: float, odd: list[int]) -> Iterator[Finding]:
    subject = probe.subject
    evidence = (
        f"In eval mode I put other samples in rows {_listed(odd)} of {probe.rows}; the answers for the other rows, "
        "whose "
        f"samples stayed, moved by up to {away:.2g} (answers spread by {probe.spread:.2g})"
    )
    owners, index = _trail(probe)
    if owners is None or index is None:
        known, _ = layout_known(subject)
        if not known:
            raise NotCheckedError("whether the rows of the inputs are samples is not known")
        yield finding("M05", evidence=f"{evidence}.", cure=CURE_OTHER, place=class_place(type(subject.model)))
        return
    op, layer, place = owners.base.ops[index], owners.base.layer(index), owners.base.ops[index].place
    layer_at = _time_layer(owners, index)
    known, flat = layout_known(subject)
    if not known and flat and not _is_statistic(owners, index):
        raise NotCheckedError("whether the rows of the inputs are samples or steps of one sequence is not known")
    line = source_line(place)
    first = f"{evidence}. They first meet in `{line or op.short}`"
    if layer_at is not None:
        yield _batch_for_time(probe, layer_at, owners, evidence)
        return
    code, cure = "M05", _cure(owners, index)
    severity: Severity | None = None
    first += f" ({_shapes(owners, index)})"
    if op.short in RECURRENT:
        code, cure = "M06", "Step over the time axis, x[:, t], not over the batch."
        first += ": its state runs from sample to sample"
    elif op.short in NORMS:
        severity, cure = "note", "Leave track_running_stats=True, so that eval mode uses the statistics of training."
        first += ", which takes its statistics from the batch in eval mode as well"
    elif _is_routing(owners, index) or _is_named_so(owners, index, line):
        severity = "note"
    yield finding(code, severity=severity, evidence=f"{first}.", cure=cure, layer=layer, place=place)


def _is_routing(owners: Owners, index: int) -> bool:
    """Whether samples meet in whole numbers, as where experts of limited capacity count their tokens."""
    out = owners.base.ops[index].out
    if not isinstance(out, Tensor) or owners.out(index).state != "mixed":
        return False
    return not out.is_floating_point() or bool((out == out.round()).all())


def _is_named_so(owners: Owners, index: int, line: str) -> bool:
    """Whether a layer says that it compares the samples of a batch, as discriminators do on purpose."""
    names = [type(span.module).__name__ for span in owners.base.around(index)] + [line]
    return any(word in name.lower().replace("_", "") for name in names for word in ("minibatch", "mbstd", "batchstd"))


def _trail(probe: Probe) -> tuple[Owners | None, int | None]:
    """All operations with their owners, and the one in which samples went astray."""
    try:
        owners = owners_of(probe)
    except NotCheckedError:
        return None, None
    for answer in answers_in(probe.subject, owners.base.returned):
        index = origin(owners, answer)
        if index is not None and owners.out(index).state in ASTRAY:
            return owners, index
    return owners, None


def layout_known(subject: Subject) -> tuple[bool, bool]:
    """Whether it is known that rows are samples, and whether an input has no axis but rows and features."""
    largest = max(subject.pool.values(), key=lambda one: one.ndim)
    flat = largest.ndim == 1 or (largest.ndim == 2 and largest.is_floating_point())
    return bool(subject.cache.get("rows_are_samples", "spec" in subject.cache)), flat


def _is_statistic(owners: Owners, index: int) -> bool:
    """A statistic over the rows, as (x - x.mean(0)), which no model of sequences takes."""
    return owners.base.ops[index].short in STATISTICS or is_reshape(owners.base.ops[index])


def _time_layer(owners: Owners, index: int) -> Span | None:
    """The layer of torch.nn around an operation that takes another axis for the batch."""
    around = owners.base.around(index)
    found: Span | None = None
    axis: int | None = None
    for span in reversed(around):
        if not type(span.module).__module__.startswith("torch.nn"):
            break
        owned = owners.entered(span)
        first = getattr(span.module, "batch_first", None)
        if found is None and isinstance(first, bool) and span.given:
            wrong = 1 if first else 0
            if owned.axis == wrong or (
                owned.axis == 0 and span.given[0].ndim == 2 and not isinstance(span.module, nn.RNNCellBase)
            ):
                found, axis = span, owned.axis
        elif found is not None and owned.axis == axis and not isinstance(span.module, (nn.Sequential, nn.ModuleList)):
            found = span
    return found


def _batch_for_time(probe: Probe, span: Span, owners: Owners, evidence: str) -> Finding:
    model = probe.subject.model
    shape = tuple(span.given[0].shape)
    kind = type(span.module).__name__
    first = next(
        (bool(one.batch_first) for one in span.module.modules() if isinstance(getattr(one, "batch_first", None), bool)),
        False,
    )
    if len(shape) == 2:
        cure = "Give it (batch, time, features) with batch_first=True; a 2-D input is one sequence without a batch."
    elif first:
        cure = f"nn.{kind}(…) without batch_first=True, or no transpose before it."
    else:
        cure = f"nn.{kind}(…, batch_first=True), or x.transpose(0, 1) before it."
    wants = "(time, features)" if len(shape) == 2 else "(batch, time, …)" if first else "(time, batch, …)"
    return finding(
        "M06",
        evidence=f"{evidence}. `{span.name}` takes {wants} and gets {shape}, whose axis "
        f"{owners.entered(span).axis} counts the samples: it reads the batch as a sequence.",
        cure=cure,
        layer=span.name or None,
        place=made_at(model, span.name) if span.name else class_place(type(model)),
    )


CURE_OTHER = (
    "Work along the axes of one sample; only batch normalisation may look across the batch, and only in training."
)


def _cure(owners: Owners, index: int) -> str:
    op = owners.base.ops[index]
    if is_reshape(op):
        return (
            "view and reshape keep the order of the numbers and exchange no axes: x.transpose(0, 1) or "
            "x.permute(…) does."
        )
    if op.short in ("softmax", "log_softmax"):
        return f"{op.short}(…, dim=-1): over the classes or keys of one sample."
    if op.short in STATISTICS:
        return (
            "Take it over the axes of one sample, dim=-1; or use nn.BatchNorm1d, which keeps statistics for eval mode."
        )
    if op.short in ATTENTION:
        return "Attention takes (batch, time, features): here the samples stand where it looks for time."
    return CURE_OTHER


def _shapes(owners: Owners, index: int) -> str:
    op = owners.base.ops[index]
    out = tuple(op.out.shape) if isinstance(op.out, Tensor) else "several tensors"
    before = op.shapes[0] if op.shapes else ()
    return f"{before} to {out}; the first number that counts samples is {owners.rows}" if op.shapes else f"{out}"


def _listed(rows: list[int]) -> str:
    shown = ", ".join(map(str, rows[:4]))
    return shown if len(rows) <= 4 else f"{shown} …"


def _by_place(probe: Probe) -> Iterator[Finding]:
    """Another order of the samples must give the same answers in that order; fewer must give the same as well."""
    count = probe.rows
    if probe.answer.shape[probe.axis] != count:
        return
    order = torch.arange(count).roll(1)
    answer = probe.run({name: value[order] for name, value in probe.inputs.items()}).movedim(probe.axis, 0)
    before = probe.answer.movedim(probe.axis, 0)
    if answer.shape == before.shape:
        away = gap(before[order], answer)
        if away > REAL * probe.spread and rows_are_samples(probe.subject, probe):
            probe.subject.cache["placed"] = True
            yield _placed(probe, away)


def _placed(probe: Probe, away: float) -> Finding:
    subject = probe.subject
    evidence = (
        f"I gave the same {probe.rows} samples in another order: a sample that moved to another row of the batch "
        "got an "
        f"answer that differs by up to {away:.2g} (answers spread by {probe.spread:.2g})"
    )
    index, owners = None, None
    alike = {name: value[:1].expand_as(value).clone() for name, value in probe.inputs.items()}
    try:
        owners = owners_of(probe)
        trace = probe.trace(alike)
        if [op.name for op in trace.ops] == [op.name for op in owners.base.ops]:
            index = _first_unlike(owners, trace.ops, probe.rows)
    except NotCheckedError:
        index = None
    place: Place | None = class_place(type(subject.model))
    layer, named, meant = None, "", False
    if owners is not None and index is not None:
        op = owners.base.ops[index]
        meant = isinstance(op.out, Tensor) and bool((op.out == op.out.round()).all())  # who comes first, as in a queue
        place, layer = op.place, owners.base.layer(index)
        named = f"; rows of equal samples first differ in `{source_line(place) or op.short}`"
        held = _held(probe.model, op.tensors())
        named += f", by `{held}`" if held else ""
    return finding(
        "M07",
        severity="note" if meant else None,
        title="The place in the batch changes the answer",
        evidence=f"{evidence}{named}.",
        cure="Number the time axis: pe[:, :x.size(1)] for (batch, time, width), with pe of shape (1, max_len, width).",
        place=place,
        layer=layer,
    )


def _first_unlike(owners: Owners, ops: list[Op], rows: int) -> int | None:
    """The first operation that makes equal samples unequal."""
    for index, (op, alike) in enumerate(zip(owners.base.ops, ops, strict=True)):
        owned = owners.out(index)
        axis = 0 if owned.state == "mixed" else owned.axis
        if axis is None or not isinstance(op.out, Tensor) or not isinstance(alike.out, Tensor):
            continue
        if alike.out.shape == op.out.shape and alike.out.shape[axis] == rows:
            lines = alike.out.movedim(axis, 0)
            if bool(moved(lines[:1].expand_as(lines), lines).any()):
                return index
    return None


def _held(model: nn.Module, tensors: list[Tensor]) -> str:
    """The name of the parameter or buffer among tensors, or of what they are a part of."""
    held = {one.untyped_storage().data_ptr(): name for name, one in (*model.named_parameters(), *model.named_buffers())}
    return next(
        (held[one.untyped_storage().data_ptr()] for one in tensors if one.untyped_storage().data_ptr() in held), ""
    )


CHECKS: tuple[Check, ...] = (
    Check("samples that influence each other", ("M05", "M06", "M07"), samples_influence_each_other, most_s=5.0),
)
