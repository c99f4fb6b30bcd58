"""D13, D15, D18: values that are none, pixels in the wrong layout, sound without sound."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from netwright.checks.catalogue import finding
from netwright.checks.data_rows import column_names, data_of, first_of, named_inputs, pool_tensor, share, table_of
from netwright.checks.facts import Samples
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, class_place, made_at
from netwright.checks.subject import NotCheckedError, Subject, hooked
from netwright.records import Finding

CODES_FOR_MISSING = (-999.0, -9999.0, -99999.0, 999.0, 9999.0, 99999.0, 999999.0, -99.0, -1e30, 1e30)
FEWEST = 3  # rows with a code
MOST_SHARE = 0.45  # of a column may be a code; what is more is what the column usually says
GAP = 4.0  # distance of a code from all other values, in ranges of those
DISTINCT = 12  # other values there must be, for the column to be a measurement
SMOOTHER = 1.6  # times rougher is a picture whose axes are cut wrongly; the margin is wide, real ones give 2 to 6
AGREE = 0.9  # of the pictures must say so
SILENT = 1e-4  # of full scale
CLIPPED = 0.01  # share of a clip's samples that lie at its own extreme, in a row


def missing(subject: Subject) -> Iterator[Finding]:
    """D13: NaN and infinity that reach the loss, and codes for what was not measured."""
    for split in subject.splits:
        told = list(_not_finite(subject, split, subject.splits[split]))
        yield from told[:1]
        if told:
            return
    yield from _codes(subject)


def _not_finite(subject: Subject, split: str, samples: Samples) -> Iterator[Finding]:
    for name, value in [*named_inputs(subject, samples).items(), ("the targets", samples.targets)]:
        if value is None or value.dtype.kind != "f" or not len(value):
            continue
        if name == "the targets" and subject.task == "forecasting":
            continue  # what is not known of a series is neither learnt nor scored
        flat = ~np.isfinite(value.reshape(len(value), -1))
        rows = np.flatnonzero(flat.any(1))
        if not len(rows) or (split == "train" and not _harms(subject, name, value, rows)):
            continue
        kind = "NaN" if np.isnan(value).any() else "infinite"
        columns = np.flatnonzero(flat.any(0))
        which = f", in columns {', '.join(map(str, columns[:5]))}{' …' if len(columns) > 5 else ''}"
        what = name if name == "the targets" else f"`{name}`"
        yield finding(
            "D13",
            where=f"{what} of {split}",
            evidence=f"{share(len(rows), len(value))} samples of {split} are {kind} in {what}"
            f"{which if flat.shape[1] > 1 else ''}; the first is sample {samples.ids[rows[0]]}.",
            cure="Fill them with the training mean: x = torch.where(x.isnan(), mean, x)"
            if kind == "NaN" and name != "the targets"
            else "Leave these samples out, or mend what made them (log(0), a division by 0).",
        )


def _harms(subject: Subject, name: str, value: NDArray[Any], rows: NDArray[Any]) -> bool:
    """Whether the module's answer, or the loss, is not finite for such a sample; true where that cannot be tried."""
    inputs, targets = subject.rows(min(8, subject.pool_size))
    if name == "the targets":
        if not isinstance(targets, Tensor) or targets.shape[1:] != value.shape[1:]:
            return True
        targets = torch.from_numpy(value[np.resize(rows, len(targets))]).to(targets.dtype)
        try:
            return not bool(torch.isfinite(subject.loss(subject.fresh(), inputs, targets, grad=False)))
        except NotCheckedError:
            return True
    if name not in inputs or inputs[name].shape[1:] != value.shape[1:]:
        return True
    inputs[name] = torch.from_numpy(value[np.resize(rows, len(inputs[name]))]).to(inputs[name].dtype)
    try:
        return not bool(torch.isfinite(subject.answer(subject.fresh(), inputs)).all())
    except NotCheckedError:
        return True


def _codes(subject: Subject) -> Iterator[Finding]:
    """Codes for missing values in the columns of a table, that also reach the first layer of weights."""
    samples = data_of(subject)
    table = table_of(subject, samples)
    if table is None:
        return
    name, values = table
    found = [(at, code, count) for at, column in enumerate(values.T) for code, count in code_in(column)]
    if not found or not _reaches(subject, len(found)):
        return
    names = column_names(subject, values.shape[1])
    at, code, count = found[0]
    others = values[:, at][values[:, at] != code]
    also = f", and likewise {', '.join(names[one[0]] for one in found[1:4])}" if len(found) > 1 else ""
    known = code in CODES_FOR_MISSING
    yield finding(
        "D13",
        severity="error" if known else "warning",
        where=f"{names[at]} of `{name}`",
        evidence=f"{share(count, len(values))} values of {names[at]} are exactly {code:.6g}, all others lie from "
        f"{others.min():.4g} to {others.max():.4g}{also}: a code for a missing value goes in as a number.",
        cure="known = x != code\nx = torch.where(known, x, mean of the known training values), before scaling; "
        "give `known` as a column too.",
    )


def code_in(column: NDArray[np.float64]) -> Iterator[tuple[float, int]]:
    """An extreme value of a column that repeats exactly, far outside of all the others, and how often it does."""
    column = column[np.isfinite(column)]
    if len(column) < 20:
        return
    for code in (float(column.min()), float(column.max())):
        others = column[column != code]
        count = len(column) - len(others)
        if count < FEWEST or count > MOST_SHARE * len(column) or len(np.unique(others)) < DISTINCT:
            continue
        low, high = float(others.min()), float(others.max())
        gap = min(abs(code - low), abs(code - high))
        usual = code in CODES_FOR_MISSING and gap > high - low
        if gap > GAP * (high - low) or usual or (code == -1.0 and _lone_minus_one(others)):
            yield code, count


def _lone_minus_one(others: NDArray[np.float64]) -> bool:
    """Whether -1 stands among positive measurements, of which some are large: not among -1, 0 and 1."""
    whole = bool((others == np.round(others)).all())
    return float(others.min()) > 0 and float(np.median(others)) > 10 and not (whole and float(others.max()) < 20)


def _reaches(subject: Subject, codes: int) -> bool:
    """Whether the code is still there at the first layer: a module may turn it into a flag itself."""
    try:
        first = first_of(subject)
    except NotCheckedError:
        return True
    if not first.inputs.is_floating_point():
        return False
    features = first.features()
    return any(True for column in features.T for _ in code_in(column)) if codes else False


def layout(subject: Subject) -> Iterator[Finding]:
    """D15: pictures stored as (H, W, C) that were cut, not turned, into (C, H, W), or the other way."""
    seen = _first_picture(subject)
    if seen is None:
        return
    name, pictures = seen
    count, channels, height, width = pictures.shape
    if channels not in (3, 4) or min(height, width) < 6 or count < 8:
        return
    given = roughness(pictures)
    cut = pictures.reshape(count, height, width, channels).permute(0, 3, 1, 2)
    turned = pictures.permute(0, 2, 3, 1).reshape(count, channels, height, width)
    for what, other, cure in (
        ("height, width, channel", cut, "x = x.permute(0, 3, 1, 2)"),
        ("channel, height, width", turned, "Leave out the permute: channels come first already."),
    ):
        mended = roughness(other)
        varied = (given > 0) & (mended > 0)
        if int(varied.sum()) < 8:
            continue
        ratio = given[varied] / mended[varied]
        if float(ratio.median()) > SMOOTHER and float((ratio > 1.2).double().mean()) >= AGREE:
            reshape = _reshape_line(subject, channels)
            yield finding(
                "D15",
                layer=name or None,
                place=reshape or made_at(subject.original or subject.model, name) or class_place(type(subject.model)),
                evidence=f"Neighbouring pixels of what reaches `{name}` differ by {given.mean():.3g} on average; read "
                f"as ({what}) the same numbers give whole pictures, with differences of {mended.mean():.3g}: "
                f"view and reshape cut rows, they do not turn axes.",
                cure=cure,
            )
            return


def _first_picture(subject: Subject) -> tuple[str, Tensor] | None:
    """What reaches the first two-dimensional convolution, else an input that is a picture."""
    model = subject.fresh()
    seen: list[tuple[str, Tensor]] = []

    def look(name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            if not seen and args and isinstance(args[0], Tensor) and args[0].ndim == 4:
                seen.append((name, args[0].detach().double()))

        return hook

    layers = [(name, one) for name, one in model.named_modules() if isinstance(one, nn.Conv2d)]
    if layers:
        with hooked([one.register_forward_pre_hook(look(name)) for name, one in layers]):
            subject.call(model, subject.rows(min(64, subject.pool_size))[0])
        return seen[0] if seen else None
    value = pool_tensor(subject)
    return ("", value[:64].double()) if value is not None and value.ndim == 4 else None


def roughness(pictures: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels in a channel, over the picture's own spread, (N,)."""
    flat = pictures.flatten(1)
    down = (pictures[:, :, 1:] - pictures[:, :, :-1]).abs().flatten(1).mean(1)
    across = (pictures[:, :, :, 1:] - pictures[:, :, :, :-1]).abs().flatten(1).mean(1)
    return torch.nan_to_num((down + across) / flat.std(1).clamp_min(1e-12))


def _reshape_line(subject: Subject, channels: int) -> Place | None:
    """The one line that reshapes to so many channels."""
    lines = []
    for file, tree in subject.sources.trees():
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else None
            if not isinstance(called, ast.Attribute) or called.attr not in ("view", "reshape"):
                continue
            if any(isinstance(one, ast.Constant) and one.value == channels for one in ast.walk(node)):
                lines.append(Place(file, called.lineno))
    return lines[0] if len(lines) == 1 else None


def sounds(subject: Subject) -> Iterator[Finding]:
    """D18: clips that are silent or clipped."""
    for split, samples in subject.splits.items():
        waves = _waves(subject, samples)
        if waves is None:
            continue
        level = np.abs(waves - waves.mean(1, keepdims=True)).max(1)
        full = max(float(np.median(level)), 1e-12)
        silent = np.flatnonzero(level < SILENT * full)
        peak = np.abs(waves).max(1, keepdims=True)
        at_peak = np.abs(waves) >= 0.999 * peak
        runs = (at_peak[:, 1:] & at_peak[:, :-1]).mean(1)
        clipped = np.setdiff1d(np.flatnonzero(runs > CLIPPED), silent)
        for where, word in ((silent, "silent"), (clipped, "clipped")):
            if len(where) >= 2 and len(where) > 0.005 * len(waves):
                names = [samples.names[at] if samples.names else f"{split}[{samples.ids[at]}]" for at in where[:3]]
                yield finding(
                    "D18",
                    where=split,
                    evidence=f"{share(len(where), len(waves))} clips of {split} are {word}: {', '.join(names)}.",
                    cure="Listen to them; leave out what is empty and record again what is too loud.",
                )


def _waves(subject: Subject, samples: Samples) -> NDArray[np.float64] | None:
    """Clips as waves, (N, T); None where the inputs are none."""
    for name, value in named_inputs(subject, samples).items():
        wave = value.squeeze(1) if value.ndim == 3 and value.shape[1] == 1 else value
        named = subject.kind == "sound" or any(word in name.lower() for word in ("wav", "audio", "sound", "signal"))
        if named and wave.ndim == 2 and wave.dtype.kind == "f" and wave.shape[1] >= 1_000:
            found: NDArray[np.float64] = wave.astype(np.float64)
            lengths = samples.lengths
            return found if lengths is None else _within(found, lengths)
    return None


def _within(waves: NDArray[np.float64], lengths: NDArray[Any]) -> NDArray[np.float64]:
    """Padding replaced by the clip again, so that it counts neither as silence nor as peak."""
    out: NDArray[np.float64] = waves.copy()
    for at, length in enumerate(lengths):
        if 0 < length < waves.shape[1]:
            out[at] = np.resize(waves[at, : int(length)], waves.shape[1])
    return out


CHECKS: tuple[Check, ...] = (
    Check("values that are missing", ("D13",), missing, 1.5),
    Check("the layout of pixels", ("D15",), layout, 1.0),
    Check("silent and clipped sound", ("D18",), sounds, 1.0),
)
