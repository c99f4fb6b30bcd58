"""What the loaders give: in which order (D05), and of which split (D08)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler, Subset

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.capture import dataset_of
from netwright.watch.rules.datasets import (
    pairs,
    places,
    same_source,
)
from netwright.watch.rules.replays import (
    OF_CLASSES,
    loss_names,
    target_of,
)
from netwright.watch.scene import place_of
from netwright.watch.trace import BatchSeen, LoaderSeen, Trace

HELD_OUT = re.compile(r"val|dev|test|eval|hold", re.IGNORECASE)
TRAINING = re.compile(r"tr(ai)?n", re.IGNORECASE)
ALL = re.compile(r"all|full|whole|pred|infer|embed|total", re.IGNORECASE)
FEWEST = 64  # labels from which on an order can be told from chance
READ = 4  # samples that are read again
MOST_CLASSES = 1_000


def unshuffled(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """D05: training goes through one class after another, or a tail of sorted classes was split off."""
    orders: list[tuple[list[int], list[int], Any, Any]] = [
        (one.labels, one.sizes, one.place, one) for one in trace.loaders if one.used and _same_order(one)
    ]
    orders += [(labels, sizes, place, None) for labels, sizes, place in _by_hand(trace)]
    for labels, sizes, place, loader in orders:
        found = _one_by_one(trace, labels, sizes, place, loader)
        if found is not None:
            yield found
            return
    found = _sorted_tail(trace)
    if found is not None:
        yield found


def _same_order(seen: LoaderSeen) -> bool:
    """Whether each pass gives the same order, which is the data set's own."""
    if seen.passes > 1:
        return len(set(seen.heads)) == 1
    return isinstance(getattr(seen.loader, "sampler", None), SequentialSampler)


def _by_hand(trace: Trace) -> Iterator[tuple[list[int], list[int], Place | None]]:
    """Labels in the order in which training saw them, of loops without a loader."""
    for model in trace.trained():
        batches = [one for one in model.batches if one.used and one.loader < 0]
        labels: list[int] = []
        sizes: list[int] = []
        for at, seen in enumerate(batches):
            target = target_of(seen)
            if (
                target is None
                or target.is_floating_point()
                or target.ndim != 1
                or (at and _equal_inputs(seen, batches[0]))
            ):
                break  # where the first batch comes again, the next epoch begins
            labels += target.tolist()
            sizes.append(len(target))
        if labels:
            yield labels, sizes, place_of(trace, batches[0])


def _equal_inputs(one: BatchSeen, other: BatchSeen) -> bool:
    mine, theirs = (next((value for value in seen.args if isinstance(value, Tensor)), None) for seen in (one, other))
    return mine is not None and theirs is not None and mine.shape == theirs.shape and bool(torch.equal(mine, theirs))


def _one_by_one(
    trace: Trace, labels: list[int], sizes: list[int], place: Place | None, loader: LoaderSeen | None
) -> Finding | None:
    classes = sorted(set(labels))
    count = len(labels)
    if count < FEWEST or len(classes) < 2 or len(sizes) < 4 or len(classes) > MOST_CLASSES:
        return None
    runs = 1 + sum(a != b for a, b in zip(labels, labels[1:], strict=False))
    shares = [labels.count(one) / count for one in classes]
    chance = 1 + (count - 1) * (1 - sum(share**2 for share in shares))
    # One run of each class, or nearly; by chance there are many more. States that take turns in time are not so.
    if runs > 2 * len(classes) or chance < 4 * runs or _is_a_series(trace, loader):
        return None
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    alone = sum(
        len(set(labels[start : start + size])) == 1
        for start, size in zip(starts, sizes, strict=True)
        if start + size <= count
    )
    return finding(
        "D05",
        evidence=(
            f"the {count} labels come in {runs} runs, where shuffled ones would make about {chance:.0f}; {alone} of "
            f"{len(sizes)} batches hold one class only{'' if loader is None else ', and each pass has the same order'}"
        ),
        cure="DataLoader(dataset, batch_size=..., shuffle=True), or a torch.randperm of the rows in each epoch",
        place=place,
        where=None if place else "the order of training",
    )


def _is_a_series(trace: Trace, loader: LoaderSeen | None) -> bool:
    """Whether neighbouring samples are windows of one series, or a state is carried from batch to batch."""
    for model in trace.trained():
        for seen in model.batches[:2]:
            if loader is not None and seen.loader != loader.number:
                continue
            if trace.events[seen.event].facts.get("carried"):
                return True
            first = next((one for one in seen.args if isinstance(one, Tensor) and one.ndim >= 2), None)
            if (
                first is not None
                and len(first) > 2
                and first.shape[1] > 2
                and torch.equal(first[1:, :-1], first[:-1, 1:])
            ):
                return True
    return False


def _sorted_tail(trace: Trace) -> Finding | None:
    """Held-out samples of classes that all come after those of training: the rows were sorted before the split."""
    trained = {label for one in trace.loaders if one.used for label in one.labels}
    if len(trained) < 2:
        return None
    for seen, last in pairs(trace):
        labels = set(seen.labels)
        if seen.used or len(seen.labels) < 20 or not labels or not last.labels:
            continue
        unseen = sum(label not in trained for label in seen.labels) / len(seen.labels)
        ordered = min(labels) >= max(trained) or max(labels) <= min(trained)
        if unseen < 0.3 or not ordered or not _counts_classes(trace, seen, labels):
            continue
        return finding(
            "D05",
            title="The split cuts sorted classes",
            evidence=(
                f"{unseen:.0%} of the {len(seen.labels)} held-out samples are of classes that training never saw: it "
                "has "
                f"{min(trained)} to {max(trained)}, they have {min(labels)} to {max(labels)}, as a tail of rows "
                "sorted by class has"
            ),
            cure="Shuffle before the split: random_split, or train_test_split(..., stratify=labels)",
            place=seen.place,
            where=None if seen.place else "the split",
        )
    return None


def _counts_classes(trace: Trace, seen: LoaderSeen, labels: set[int]) -> bool:
    """Whether the model has an output for these classes, so that it is meant to know them."""
    for model in trace.trained():
        for batch in [*model.first_eval, *model.eval_batches]:
            if batch.loader == seen.number and isinstance(batch.output, Tensor) and batch.output.ndim > 1:
                return batch.output.shape[1] > max(labels) and bool(loss_names(model) & OF_CLASSES)
    return False


# ------------------------------------------------------------------------------------------------- D08


def shared_samples(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """D08: the loader that evaluates gives samples of training, or both parts share what one of them changes."""
    seen_pairs = list(pairs(trace))
    clean = {seen.number for seen, _ in seen_pairs} - {seen.number for seen, last in seen_pairs if _overlap(seen, last)}
    for seen, last in seen_pairs:
        share = _overlap(seen, last)
        if share and _is_meant_apart(trace, seen, share, bool(clean - {seen.number})):
            yield _overlapping(seen, last, share)
            return
    found = _changes_both(trace, seen_pairs)
    if found is not None:
        yield found


def _overlap(seen: LoaderSeen, last: LoaderSeen) -> float:
    """The share of a loader's samples that another one gives too."""
    if seen is last:
        return 1.0
    first, mine = places(seen.loader)
    second, theirs = places(last.loader)
    if not mine or theirs is None or not same_source(first, second):
        return 0.0
    return len(mine & theirs) / len(mine)


def _is_meant_apart(trace: Trace, seen: LoaderSeen, share: float, clean: bool) -> bool:
    """Whether samples are meant to be held out: by the names of what holds them, or since a part lies unused."""
    held_out = [one for one in seen.names if HELD_OUT.search(one) and not TRAINING.search(one)]
    training = [one for one in seen.names if TRAINING.search(one)]
    if seen.used:  # one loader for both
        return bool(held_out) and bool(training)
    if held_out:
        return True
    if training or clean or any(ALL.search(one) for one in seen.names):
        return False
    return share < 1 or _unused_part(trace)


def _unused_part(trace: Trace) -> bool:
    given = {id(getattr(one.loader, "dataset", None)) for one in trace.loaders}
    return any(id(part) not in given for _, _, parts, *_ in trace.splits for part in parts)


def _overlapping(seen: LoaderSeen, last: LoaderSeen, share: float) -> Finding:
    _, mine = places(seen.loader)
    count = len(mine) if mine else sum(seen.sizes)
    named = next((one for one in seen.names if HELD_OUT.search(one)), None)
    what = f"`{named}`" if named else f"the loader made at {seen.place}"
    if seen is last:
        text = f"{what} is the very loader that the model is trained with"
    else:
        text = (
            f"{round(share * count)} of the {count} samples that {what} evaluates are also given by the loader that "
            f"trains, made at {last.place}"
        )
    return finding(
        "D08",
        evidence=f"{text}: the score is that of samples which the model has learned",
        cure="DataLoader(val_set, ...), with the part that the split made, not its `.dataset` nor the training set",
        place=seen.place,
        where=None if seen.place else "the loaders",
    )


def _changes_both(trace: Trace, seen_pairs: list[tuple[LoaderSeen, LoaderSeen]]) -> Finding | None:
    """``val_set.dataset.transform = …`` where the training part has the same data set."""
    for seen, last in seen_pairs:
        both = [getattr(one.loader, "dataset", None) for one in (last, seen)]
        parts = [one for one in both if isinstance(one, Subset)]
        if seen is last or len(parts) != 2:
            continue
        first, second = dataset_of(seen.loader)[0], dataset_of(last.loader)[0]
        if first is not second or not seen.transforms or not last.transforms:
            continue
        through = list(_set_through(trace))
        for place, owner, name, value in through:
            now, then = last.transforms[-1].get(name, _NONE), seen.transforms[-1].get(name, _NONE)
            before = next((made.get(name, _NONE) for _, dataset, _, made in trace.splits if dataset is first), _NONE)
            if now is _NONE or now is not then or now is before:
                continue
            if (
                not _had_another(trace, type(first).__name__, name, value, before)
                and len({one[3] for one in through if one[2] == name}) < 2
            ):
                continue  # one transform for both, in a roundabout way
            return finding(
                "D08",
                title="Both parts of a split share one data set",
                evidence=(
                    f"`{owner}.dataset.{name} = {value}` changes it for training too: both parts hold the same "
                    f"{type(first).__name__} "
                    f"({len(parts[0].indices)} and {len(parts[1].indices)} samples), and the loader that trains now "
                    "reads with "
                    f"`{value}` as well"
                ),
                cure=(
                    "Give each part a data set of its own: Subset(Data(..., transform=a), rows), "
                    "Subset(Data(..., transform=b), others)"
                ),
                place=place,
            )
    return None


_NONE = object()


def _had_another(trace: Trace, kind: str, name: str, value: str, before: Any) -> bool:
    """Whether the data set was made with something else, as the split or the source says."""
    if before is not _NONE and before is not None:
        return True
    for _, tree in trace.sources.trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == kind:
                given = [ast.unparse(one.value) for one in node.keywords if one.arg == name]
                if given and given[0] not in (value, "None"):
                    return True
    return False


def _set_through(trace: Trace) -> Iterator[tuple[Place, str, str, str]]:
    """Assignments to an attribute of a part's data set, outside of loops: place, the part, the attribute, the value."""
    for file, tree in trace.sources.trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Assign):
                continue
            for target in node.targets:
                if (
                    isinstance(target, ast.Attribute)
                    and isinstance(target.value, ast.Attribute)
                    and target.value.attr == "dataset"
                    and not _in_a_loop(node)
                ):
                    yield (
                        Place(file, node.lineno),
                        ast.unparse(target.value.value),
                        target.attr,
                        ast.unparse(node.value),
                    )  # type: ignore[attr-defined]


def _in_a_loop(node: ast.AST) -> bool:
    above = getattr(node, "parent", None)
    while above is not None:
        if isinstance(above, (ast.For, ast.While)):
            return True
        above = getattr(above, "parent", None)
    return False


RULES = (unshuffled, shared_samples)
