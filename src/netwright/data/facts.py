"""What is worked out alike for every kind of data: classes, shares of splits, statistics, digest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.data.splits import split_off
from netwright.data.threads import cores, in_threads
from netwright.errors import DataError, UsageError, unknown_name
from netwright.records import Choice, LoadOptions, SplitSpec

IGNORE_INDEX = -100  # torch.nn.CrossEntropyLoss leaves such targets out

Indices = NDArray[np.int64]


def find_classes(targets: NDArray[Any]) -> tuple[NDArray[np.int64], tuple[str, ...], Choice | None]:
    """Targets as 0 … C-1, the classes' names, and what was decided where they were something else.

    Args:
        targets: (N,) whole numbers, booleans or text.

    Raises:
        DataError: A whole number below 0 that is not the ignored one.
    """
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise DataError(
            where="targets",
            expected="one class a sample, (N,)",
            got=f"whole numbers of shape {targets.shape}",
            cure='For one-hot targets give targets.argmax(1); for several labels a sample task="multi_label"; for '
            "values to regress on give float32.",
        )
    if targets.dtype.kind in "US" or targets.dtype == object:
        names, codes = np.unique(targets.astype(str), return_inverse=True)
        choice = Choice(name="classes", value=len(names), reason="the targets are text: classes in sorted order")
        return codes.astype(np.int64), tuple(map(str, names)), choice
    whole = targets.astype(np.int64)
    wrong = np.flatnonzero((whole < 0) & (whole != IGNORE_INDEX))
    if len(wrong):
        raise DataError(
            where=f"target of sample {wrong[0]}",
            expected=f"classes as whole numbers from 0, or {IGNORE_INDEX} for a sample to be ignored",
            got=f"{whole[wrong[0]]} ({len(wrong)} such targets)",
            cure="Number the classes from 0.",
        )
    present = np.unique(whole[whole != IGNORE_INDEX])
    count = int(present.max()) + 1 if len(present) else 0
    if len(present) == count or count <= max(2, 2 * len(present)):
        return whole, tuple(map(str, range(count))), None
    codes = np.searchsorted(present, whole)
    codes[whole == IGNORE_INDEX] = IGNORE_INDEX
    reason = f"the targets are {len(present)} different numbers up to {count - 1}: each is a class of its own"
    return codes, tuple(map(str, present)), Choice(name="classes", value=len(present), reason=reason)


def asked_task(options: LoadOptions, known: Sequence[str], *, data: str) -> str | None:
    """The kind of answer that was asked for; None where it is left to us.

    Args:
        known: Kinds that this data can be answered with.
        data: What it is, for the error.

    Raises:
        UnknownNameError: It is none of these.
    """
    if options.task is not None and options.task not in known:
        raise unknown_name(f"task for {data}", options.task, known, where="--task")
    return options.task


def choose_splits(
    targets: NDArray[Any],
    options: LoadOptions,
    *,
    classes: Sequence[str] | None,
    groups: Sequence[str] | None = None,
    has_val: bool = False,
    has_test: bool = False,
) -> tuple[dict[str, Indices], tuple[Choice, ...]]:
    """Which samples train, and which are kept for val and test where those are not given."""
    parts: dict[str, Indices] = {"train": np.arange(len(targets))}
    choices: list[Choice] = []
    if options.test_group is not None:
        parts, asked_for = _held_out(options.test_group, groups, has_test=has_test)
        choices.append(asked_for)
        has_test = True
        if options.group_by is None:  # the others were not asked to stay together
            groups = None
    how = "whole groups" if groups is not None else "stratified by class" if classes is not None else "at random"
    shares = {
        "test": (0.0 if has_test else 0.2 if options.test_fraction is None else options.test_fraction),
        "val": (
            0.0 if has_val else (1 / 12 if has_test else 0.1) if options.val_fraction is None else options.val_fraction
        ),
    }
    wanted = [name for name, share in shares.items() if share > 0]
    if classes is not None and groups is None and wanted:
        _check_rare(targets, classes, wanted)
    for name in wanted:
        share = shares[name]
        here = parts["train"]
        if choices and classes is not None and groups is None:
            _check_rest(targets, here, classes, name)
        of_rest = min(share * len(targets) / len(here), 0.9)
        kept, taken = split_off(
            targets[here],
            of_rest,
            seed=options.split_seed,
            classes=classes,
            groups=None if groups is None else [groups[index] for index in here],
        )
        parts["train"], parts[name] = here[kept], here[taken]
        asked = getattr(options, f"{name}_fraction") is not None
        reason = "asked for" if asked else f"no {name} split was given"
        value = f"{len(taken):,} samples, {how}, split seed {options.split_seed}"
        choices.append(Choice(name=f"{name} split", value=value, reason=reason, asked=asked))
    return parts, tuple(choices)


def _held_out(asked: str, groups: Sequence[str] | None, *, has_test: bool) -> tuple[dict[str, Indices], Choice]:
    """The groups that were asked for as the test split, all others to learn from."""
    if groups is None or has_test:
        raise UsageError(
            where=f"--test-group {asked}",
            expected="data without a test split" if has_test else "samples that belong to groups",
            got="a test split of their own" if has_test else "no groups",
            cure="Leave it out, or put the splits together."
            if has_test
            else "Say what makes a group: --group-by with a regular expression on files' names.",
        )
    wanted = {name.strip() for name in asked.split(",") if name.strip()}
    for name in sorted(wanted - set(groups)):
        raise unknown_name("group", name, set(groups), where="--test-group")
    inside = np.asarray([group in wanted for group in groups])
    if inside.all() or not inside.any():
        raise UsageError(
            where=f"--test-group {asked}",
            expected="some groups to test on, and others to learn from",
            got=f"{int(inside.sum())} of {len(inside):,} samples to test on",
            cure=f"Groups there are: {', '.join(sorted(set(groups))[:12])}.",
        )
    value = f"{int(inside.sum()):,} samples of {', '.join(sorted(wanted))}"
    choice = Choice(name="test split", value=value, reason="asked for: none of them is learned from", asked=True)
    return {"train": np.flatnonzero(~inside), "test": np.flatnonzero(inside)}, choice


def _check_rare(targets: NDArray[Any], classes: Sequence[str], wanted: Sequence[str]) -> None:
    """Each class needs a sample to learn from, and one for each split that is to be made."""
    counts = np.bincount(targets[targets >= 0], minlength=len(classes))
    least = 1 + len(wanted)
    rare = [(classes[i], int(count)) for i, count in enumerate(counts) if 0 < count < least]
    if rare:
        raise DataError(
            where=f"class {', '.join(f'{name} ({count})' for name, count in rare[:8])}",
            expected=f"at least {least} samples of each class: one to learn from, one each for {' and '.join(wanted)}",
            got=str(rare[0][1]),
            cure="Add samples, remove the class, or give the splits yourself, as folders train/, val/ and test/.",
        )


def _check_rest(targets: NDArray[Any], here: Indices, classes: Sequence[str], split: str) -> None:
    """A large first split may leave one sample of a class, which cannot be split again."""
    every, left = (np.bincount(of[of >= 0], minlength=len(classes)) for of in (targets, targets[here]))
    rare = [f"{name} ({count})" for name, count, rest in zip(classes, every, left, strict=True) if rest == 1]
    if rare:
        raise DataError(
            where=f"class {', '.join(rare[:8])}",
            expected=f"at least 2 samples of each class for train and {split}, after the test split",
            got=f"1 of {every[left == 1][0]}",
            cure="Make --test-fraction smaller, add samples, or remove the class.",
        )


def split_specs(targets: Mapping[str, NDArray[Any]], classes: Sequence[str] | None) -> dict[str, SplitSpec]:
    """Counts of each split, in all and by class; splits in the usual order."""
    specs = {}
    for name in ("train", "val", "test"):
        if name in targets:
            values = targets[name]
            counts = None
            if classes is not None:
                counts = tuple(int(n) for n in np.bincount(values[values >= 0], minlength=len(classes)))
            specs[name] = SplitSpec(count=len(values), class_counts=counts)
    return specs


def channel_statistics(
    images: NDArray[Any], indices: Indices | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel (axis 1), in float64; a constant channel gets 1.

    Args:
        images: (N, C, ...).
        indices: Samples to look at; None for all. Read in pieces, so that memory stays flat.
    """
    where = np.arange(len(images)) if indices is None else indices
    if images.dtype == np.uint8:
        count, total, square = _byte_sums(images, where)
    else:
        count, total, square = _sums(images, where)
    return from_sums(count, total, square)


def from_sums(
    count: int, total: NDArray[np.float64], square: NDArray[np.float64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of channels; a constant one gets 1.

    Args:
        count: Values of a channel.
        total: Their sums, (C,).
        square: Sums of their squares, (C,).
    """
    mean = total / max(count, 1)
    std = np.sqrt(np.maximum(square / max(count, 1) - mean**2, 0))
    std[std < 1e-8 * np.maximum(1, np.abs(mean))] = 1.0
    return tuple(map(float, mean)), tuple(map(float, std))


Moments = tuple[int, NDArray[np.float64], NDArray[np.float64]]  # values of a channel, their sums, sums of squares


def _sums(values: NDArray[Any], where: Indices) -> Moments:
    axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    count, total, square = 0, np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for start in range(0, len(where), 1024):
        piece = values[where[start : start + 1024]].astype(np.float64)
        count += piece.size // values.shape[1]
        total += piece.sum(axes)
        square += (piece**2).sum(axes)
    return count, total, square


def _byte_sums(images: NDArray[np.uint8], where: Indices) -> Moments:
    """As ``_sums``, to the last bit, since sums of whole numbers below 2**53 are exact; several threads at once."""
    channels = images.shape[1]
    in_one = max(1, math.prod(images.shape[2:]))
    at_once = max(1, 2**16 // in_one)  # pixels of a channel, so that they stay in the cache

    def sums(some: Indices) -> NDArray[np.float64]:
        found = np.zeros((2, channels))
        for start in range(0, len(some), at_once):
            piece = images[some[start : start + at_once]]
            for channel in range(channels):
                values = piece[:, channel].astype(np.float64)
                found[0, channel] += values.sum()
                found[1, channel] += np.square(values, out=values).sum()
        return found

    parts = np.array_split(where, min(len(where), 4 * cores())) if len(where) * in_one > 2**20 else [where]
    total, square = np.sum(list(in_threads(sums, parts, cores())) if len(parts) > 1 else [sums(where)], axis=0)
    return len(where) * in_one, total, square


def check_finite(values: NDArray[Any], field: str, split: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        DataError: The first such sample is named, with how many there are.
    """
    if values.dtype.kind != "f":
        return
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(1)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise DataError(
            where=f"`{field}` of sample {first} in {split}",
            expected="finite numbers",
            got=f"NaN or infinity, in {int(bad.sum())} of {len(values)} samples",
            cure="Fill in or leave out these samples: values[~np.isfinite(values).all(axis=…)].",
        )


def digest(parts: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """SHA-256 over named arrays: name, dtype, shape and bytes of each."""
    running = hashlib.sha256()
    for name, array in parts:
        running.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        running.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return running.hexdigest()
