"""D06, D07, D17: what the splits share: samples, groups, statistics; and classes that one of them lacks."""

from __future__ import annotations

import ast
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from netwright.checks.catalogue import finding
from netwright.checks.data_order import fits_before_split
from netwright.checks.data_rows import bits, classes_in, matrix, named_inputs, share, table_of
from netwright.checks.data_texts import text_keys, twins_of_texts
from netwright.checks.facts import Samples
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding

FEWEST = 3  # twins
MANY = 0.01  # share of a split that must have twins in training for more than a note
# Two equal rows are no chance where a row says so much more than it takes to tell all pairs of rows apart.
MARGIN_BITS = 10.0
GROUPED = 0.5  # of the test samples must lie in a small cluster of training samples
APART = 1.25  # ratio of the distance to the next one outside of it
MOST_IN_GROUP = 24
Pair = tuple[int, list[int]]  # a sample of another split, and its twins in training
WORDS = re.compile(
    r"(?:^|_)(speakers?|patients?|subjects?|persons?|users?|authors?|participants?|sessions?|customers?|donors?|groups?|"
    r"drivers?|writers?|households?|sites?|scenes?|videos?)(?:_?ids?)?(?:$|_)",
    re.IGNORECASE,
)


def shared(subject: Subject) -> Iterator[Finding]:
    """D06, and D07 where rows of one class were copied before the split: test samples that are in training."""
    train = subject.splits.get("train")
    if train is None:
        raise NotCheckedError("no training samples are known")
    if subject.task == "next_token":
        return  # samples are windows of one text, cut by position: what is said again in it is said again
    for split in ("test", "val"):
        other = subject.splits.get(split)
        if other is None or len(other) < 8:
            continue
        told = list(_twins(subject, train, other, split)) or list(_groups(subject, train, other, split))
        yield from told
        if told:
            return


def _keys(subject: Subject, samples: Samples) -> list[bytes]:
    if samples.texts is not None:
        return text_keys(samples.texts)
    arrays = [np.ascontiguousarray(value) for value in named_inputs(subject, samples).values()]
    if samples.lengths is not None:  # padding differs from split to split
        most = int(samples.lengths.max(initial=0))
        arrays = [one[:, :most] if one.ndim > 1 else one for one in arrays]
        return [b"".join(one[at][: int(size)].tobytes() for one in arrays) for at, size in enumerate(samples.lengths)]
    return [b"".join(one[at].tobytes() for one in arrays) for at in range(len(samples))]


def _twins(subject: Subject, train: Samples, other: Samples, split: str) -> Iterator[Finding]:
    places: dict[bytes, list[int]] = defaultdict(list)
    for at, key in enumerate(_keys(subject, train)):
        places[key].append(at)
    pairs = [(at, places[key]) for at, key in enumerate(_keys(subject, other)) if key in places]
    pairs = _no_chance(subject, train, len(other), pairs)
    if len(pairs) >= FEWEST:
        yield _told(subject, train, other, split, pairs, "the same, number for number,", list(places.values()))
        return
    near = twins_of_texts(train.texts, other.texts) if train.texts and other.texts else _near_pictures(train, other)
    if len(near) >= max(FEWEST, MANY * len(other)):
        pairs = [(at, [one]) for at, one in near]
        yield _told(subject, train, other, split, pairs, "nearly the same", [])


def _no_chance(subject: Subject, train: Samples, others: int, pairs: list[Pair]) -> list[Pair]:
    """The pairs whose rows say so much that they cannot be equal by chance."""
    if train.texts is not None or not pairs:
        return pairs  # only texts of some length have keys of their own
    try:
        rows = matrix(subject, train)
    except NotCheckedError:
        arrays = list(named_inputs(subject, train).values())
        rows = np.concatenate([one.reshape(len(one), -1).astype(np.float64) for one in arrays], axis=1)
    wanted = math.log2(max(2, len(train) * others)) + MARGIN_BITS
    twins = [places[0] for _, places in pairs[:2_000]]
    says = bits(np.concatenate([rows[twins], rows[:2_000]]))
    kept = [pair for pair, bit in zip(pairs, says, strict=False) if bit > wanted]
    return kept + (pairs[2_000:] if len(kept) > 1_000 else [])


def _told(
    subject: Subject,
    train: Samples,
    other: Samples,
    split: str,
    pairs: list[Pair],
    how: str,
    inside: list[list[int]],
) -> Finding:
    labels, wanted = classes_in(subject, train), classes_in(subject, other)
    agree = ""
    if labels is not None and wanted is not None:
        same = sum(any(labels[one] == wanted[at] for one in twins) for at, twins in pairs)
        agree = f"; {same} of them with the same label"
    at, twins = pairs[0]
    counted = share(len(pairs), len(other))
    example = f"{split}[{other.ids[at]}] is train[{train.ids[twins[0]]}]"
    copied = _copied_class(labels, pairs, inside)
    if copied is not None:
        place = next((one.place for one in fits_before_split(subject.sources)), None)
        return finding(
            "D07",
            where=None if place is not None else split,
            place=place,
            title="Rows were copied before the split",
            evidence=f"{counted} samples of {split} are {how} in training; {copied}: {example}. So rows of a rare "
            f"class were multiplied first and split afterwards.",
            cure="Split first, then copy or weight rows of the training part alone.",
        )
    return finding(
        "D06",
        where=split,
        severity="error" if len(pairs) >= MANY * len(other) else "note",
        evidence=f"{counted} samples of {split} are {how} in training{agree}. {example}.",
        cure="order = torch.randperm(n), then cut it once; remove copies (drop_duplicates) before the split.",
    )


def _copied_class(labels: NDArray[np.int64] | None, pairs: list[Pair], inside: list[list[int]]) -> str | None:
    """That nearly all twins, also within training, are of one class of several, in words."""
    if labels is None or len(np.unique(labels)) < 2 or len(pairs) < 8:
        return None
    of_pairs = np.asarray([labels[twins[0]] for _, twins in pairs])
    repeated = np.asarray([labels[one[0]] for one in inside if len(one) > 1])
    if len(repeated) < 8:
        return None
    kind = np.bincount(of_pairs).argmax()
    both = np.concatenate([of_pairs, repeated])
    if float((both == kind).mean()) < 0.98 or float((labels == kind).mean()) > 0.8:
        return None
    alone = len({one[0] for one in inside if labels[one[0]] == kind})
    rest = int((both != kind).sum())
    return f"all but {rest} of these are of class {kind}, whose training rows hold {alone} different ones"


def _near_pictures(train: Samples, other: Samples) -> list[tuple[int, int]]:
    """Pictures of the same 8x8 differences (dHash) and nearly the same pixels."""
    pictures = (one for one in train.inputs.values() if one.ndim == 4 and one.dtype.kind in "fu")
    first = next((one for one in pictures if min(one.shape[2:]) >= 16), None)
    second = next((v for v in other.inputs.values() if v.ndim == 4), None)
    if first is None or second is None or first.shape[1:] != second.shape[1:]:
        return []
    known: dict[bytes, list[int]] = defaultdict(list)
    for at, key in enumerate(_dhash(first)):
        known[key].append(at)
    found = []
    scale = float(first.astype(np.float64).std()) or 1.0
    for at, key in enumerate(_dhash(second)):
        for twin in known.get(key, [])[:4]:
            difference = np.abs(first[twin].astype(np.float64) - second[at].astype(np.float64)).mean()
            if difference < 0.05 * scale:
                found.append((at, twin))
                break
    return found


def _dhash(pictures: NDArray[Any]) -> list[bytes]:
    grey = pictures.astype(np.float32).mean(1)
    rows = np.linspace(0, grey.shape[1], 9).astype(int)
    columns = np.linspace(0, grey.shape[2], 10).astype(int)
    cells = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=1), columns[:-1], axis=2)
    return [np.packbits(one).tobytes() for one in cells[:, :, 1:] > cells[:, :, :-1]]


def _groups(subject: Subject, train: Samples, other: Samples, split: str) -> Iterator[Finding]:
    """D06: each test sample lies in a small tight cluster of training samples: of one speaker, patient, recording."""
    try:
        rows, rest = matrix(subject, train), matrix(subject, other)
    except NotCheckedError:
        return
    if rows.shape[1] != rest.shape[1] or not 4 <= rows.shape[1] <= 1_000 or len(rows) < 100 or len(rest) < 20:
        return
    if not (np.isfinite(rows).all() and np.isfinite(rest).all()):
        return
    scale = np.where(rows.std(0) > 0, rows.std(0), 1.0)
    distance, twins = cKDTree(rows[:4_000] / scale).query(rest[:200] / scale, k=min(MOST_IN_GROUP + 2, len(rows) - 1))
    ratio = distance[:, 1:] / np.maximum(distance[:, :-1], 1e-12)
    inside = ratio[:, :MOST_IN_GROUP].argmax(1) + 1
    grouped = (ratio.max(1) > APART) & (inside < MOST_IN_GROUP) & (distance[:, 0] > 0)
    name, place = _group_name(subject)
    if float(grouped.mean()) < GROUPED or float(np.median(inside[grouped])) < 3 or name is None:
        return
    labels, wanted = classes_in(subject, train), classes_in(subject, other)
    agree = ""
    if labels is not None and wanted is not None:
        same = np.mean([labels[twins[at, 0]] == wanted[at] for at in np.flatnonzero(grouped)])
        agree = f" with the same label in {same:.0%} of the cases"
    yield finding(
        "D06",
        severity="warning",
        place=place,
        where=None if place is not None else split,
        title="Samples of the test have companions of their own group in training",
        evidence=f"{share(int(grouped.sum()), len(grouped))} samples of {split} that were looked at lie in a tight "
        f"cluster of about {int(np.median(inside[grouped]))} training samples{agree}; the next ones are "
        f"{np.median(ratio.max(1)):.2g} times as far. There is a variable `{name}`, and no split by it.",
        cure=f"GroupShuffleSplit(test_size=0.25).split(x, y, groups={name})",
    )


def _group_name(subject: Subject) -> tuple[str | None, Place | None]:
    """A variable of the script that names groups, where nothing splits by groups."""
    found: tuple[str, Place] | None = None
    for file, tree in subject.sources.trees():
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else None
            word = getattr(called, "attr", getattr(called, "id", ""))
            if "Group" in word or (isinstance(node, ast.keyword) and node.arg == "groups"):
                return None, None
            stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            if found is None and isinstance(node, ast.Name) and stored and WORDS.search(node.id):
                found = node.id, Place(file, node.lineno)
    if found is None:
        return None, None
    splits = list(_split_lines(subject))
    return found[0], splits[0] if splits else found[1]


def _split_lines(subject: Subject) -> Iterator[Place]:
    for file, tree in subject.sources.trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                word = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if word in ("train_test_split", "random_split", "ShuffleSplit", "permutation", "randperm"):
                    yield Place(file, node.lineno)


def fitted(subject: Subject) -> Iterator[Finding]:
    """D07: what was fitted before the split, read from the source and from the columns' statistics."""
    told = False
    for one in fits_before_split(subject.sources):
        proof = _scaled_together(subject) if one.kind == "scaling" else ""
        told = True
        yield finding(
            "D07",
            severity="note" if one.kind in ("scaling", "projection") else "warning",
            place=one.place,
            evidence=f"{one.what} is fitted here on all rows; `{one.name}` is split into training and test on line "
            f"{one.split_line} only afterwards.{proof}",
            cure=f"Split first: {one.what}.fit on the training part, then transform both."
            if one.kind != "sampling"
            else "Split first, then resample the training part alone.",
        )
    if not told and (proof := _scaled_together(subject)):
        yield finding(
            "D07",
            severity="note",
            where="the splits",
            evidence=proof.strip(),
            cure="scaler.fit(x_train), then transform both; the effect of plain scaling is usually small.",
        )


def _scaled_together(subject: Subject) -> str:
    """That each column has mean 0 and deviation 1 over all splits, and not over training alone, in words."""
    known = subject.cache.get("whole", set())
    parts = [subject.splits[name] for name in subject.splits if name in known]
    train = subject.splits.get("train")
    if train is None or "train" not in known or len(parts) < 2:
        return ""
    tables = [table for one in parts if (table := table_of(subject, one)) is not None]
    own = table_of(subject, train)
    if own is None or len(tables) != len(parts) or len({table.shape[1] for _, table in tables}) != 1:
        return ""
    both = np.concatenate([table for _, table in tables])
    varied = both.std(0) > 0
    off = np.abs(both.mean(0)).max(), np.abs(both.std(0)[varied] - 1).max() if varied.any() else 1.0
    alone = np.abs(own[1].mean(0)).max()
    unbiased = np.abs(both.std(0, ddof=1)[varied] - 1).max() if varied.any() else 1.0
    if off[0] > 1e-4 or min(off[1], unbiased) > 1e-4 or alone < 10 * max(off[0], 1e-4):
        return ""
    return (
        f" Over all {len(both):,} rows of {len(parts)} splits every column has mean 0 (to {off[0]:.0e}) and deviation "
        f"1; over the training rows alone means differ from 0 by up to {alone:.2g}."
    )


def absent(subject: Subject) -> Iterator[Finding]:
    """D17: a class that a split lacks although it has enough samples for some of it."""
    known = subject.cache.get("whole", set())
    train = subject.splits.get("train")
    labels = classes_in(subject, train) if train is not None else None
    if train is None or labels is None or "train" not in known or len(train) != train.count:
        return
    counts = dict(zip(*(one.tolist() for one in np.unique(labels, return_counts=True)), strict=True))
    for split, other in subject.splits.items():
        wanted = classes_in(subject, other) if split != "train" else None
        if wanted is None or len(np.unique(labels)) > 200:
            continue
        has = dict(zip(*(one.tolist() for one in np.unique(wanted, return_counts=True)), strict=True))
        if set(has) == {0}:
            continue  # a place holder of what is only asked for answers
        new = [one for one in has if one not in counts]
        a_sample = len(wanted) / len(labels)  # so many are expected below that none at all is no chance (e^-12)
        lost = [one for one in counts if one not in has and counts[one] * a_sample > 12]
        for missing, where, there in ((new, "train", has), (lost if split in known else [], split, counts)):
            if missing:
                listed = ", ".join(f"{_name(subject, one)} ({there[one]})" for one in missing[:5])
                yield finding(
                    "D17",
                    where=where,
                    severity="warning" if where == "train" else "note",  # what is only tested is merely not scored
                    evidence=f"{where} has no sample of {len(missing)} of {len(counts | has)} classes "
                    f"that {split if where == 'train' else 'train'} has: {listed}.",
                    cure="train_test_split(x, y, stratify=y), or shuffle before the cut.",
                )
                return


def _name(subject: Subject, label: int) -> str:
    names = subject.class_names
    return f"{names[label]}" if names is not None and 0 <= label < len(names) else f"class {label}"


CHECKS: tuple[Check, ...] = (
    Check("samples in several splits", ("D06", "D07"), shared, 2.0),
    Check("what was fitted before the split", ("D07",), fitted, 1.0),
    Check("classes that a split lacks", ("D17",), absent, 0.5),
)
