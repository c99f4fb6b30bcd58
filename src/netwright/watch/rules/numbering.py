"""Classes that have one number in training and another in evaluation (D12)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding
from netwright.watch.capture import dataset_of
from netwright.watch.rules.datasets import pairs
from netwright.watch.rules.replays import (
    OF_CLASSES,
    by_site,
    classes_of,
    evaluation_of,
    loss_names,
    private,
    replay,
    target_of,
)
from netwright.watch.trace import LoaderSeen, ModelSeen, Trace

MOST_CLASSES = 1_000


def other_numbers(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """D12: the same class has one number in training and another in evaluation."""
    for seen, last in pairs(trace):
        found = _by_maps(seen, last)
        if found is not None:
            yield found
            return
    for model in trace.trained():
        found = _by_answers(trace, model)
        if found is not None:
            yield found
            return


def _by_maps(seen: LoaderSeen, last: LoaderSeen) -> Finding | None:
    mine, theirs = _class_map(dataset_of(seen.loader)[0]), _class_map(dataset_of(last.loader)[0])
    common = [name for name in mine if name in theirs]
    other = [name for name in common if mine[name] != theirs[name]]
    if len(common) < 2 or not other:
        return None
    name = other[0]
    return finding(
        "D12",
        evidence=(
            f"{len(other)} of {len(common)} classes have another number in evaluation than in training, as {name!r}: "
            f"{mine[name]} and "
            f"{theirs[name]}"
        ),
        cure="Make the map once, from sorted names of training, and give it to both data sets.",
        place=seen.place,
        where=None if seen.place else "the data sets",
    )


def _class_map(dataset: Any) -> dict[str, int]:
    """The numbers of the classes of a data set, as it keeps them."""
    own = getattr(dataset, "__dict__", {})
    for name, value in own.items():
        named = isinstance(value, dict) and re.search(r"class|label|cat|idx|2id|to_id", name, re.I)
        if not named or len(value) > MOST_CLASSES:
            continue
        if all(isinstance(key, str) and isinstance(one, int) for key, one in value.items()):
            return dict(value)
    names = own.get("classes")
    if isinstance(names, (list, tuple)) and all(isinstance(one, str) for one in names) and len(names) <= MOST_CLASSES:
        return {name: at for at, name in enumerate(names)}
    return {}


def _by_answers(trace: Trace, model: ModelSeen) -> Finding | None:
    """One renumbering of the labels makes the model's wrong answers right ones."""
    losses = loss_names(model)
    if not losses & OF_CLASSES:
        return None
    for place, batches in by_site(trace, evaluation_of(trace, model)).items():
        known = [
            (one, target)
            for one in batches
            if isinstance(one.output, Tensor) and (target := target_of(one)) is not None
        ]
        preds = [classes_of(one.output.cpu(), target, losses) for one, target in known]
        if not known or any(one is None or one.ndim != 1 for one in preds):
            continue
        given = torch.cat([one for one in preds if one is not None])
        wanted = torch.cat([target.reshape(-1).long() for _, target in known])
        found = _renumbered(trace, model, given, wanted, place)
        if found is not None:
            return found
    return None


def _renumbered(trace: Trace, model: ModelSeen, given: Tensor, wanted: Tensor, place: Place | None) -> Finding | None:
    if len(given) < 40 or len(given) != len(wanted):
        return None
    mapping: dict[int, int] = {}
    for answer in given.unique().tolist():
        mine = wanted[given == answer]
        if len(mine) >= 3:
            mapping[answer] = int(mine.mode().values)
    plain = float((given == wanted).float().mean())
    better = float(
        torch.tensor([mapping.get(one, -1) == want for one, want in zip(given.tolist(), wanted.tolist(), strict=True)])
        .float()
        .mean()
    )
    moved = {answer: label for answer, label in mapping.items() if answer != label}
    # One label for each answer; a model that is merely bad has no such renumbering, whatever its errors.
    if len(set(mapping.values())) != len(mapping) or not moved or better < 0.6 or better - plain < 0.3:
        return None
    try:
        learned = _learned(model)
    except NotCheckedError:
        return None
    if learned is None or learned < 0.6:
        return None
    named = ", ".join(f"{answer} to {label}" for answer, label in list(moved.items())[:4])
    seen = next((one for one in trace.loaders if not one.used and one.evaluated), None)
    at = seen.place if seen is not None and seen.place is not None else place
    return finding(
        "D12",
        evidence=(
            f"{plain:.3f} of {len(given)} answers agree with the labels of the evaluation, but {better:.3f} do once "
            "classes are renumbered "
            f"({named}); on samples of training {learned:.3f} are right as they are"
        ),
        cure="Number the classes once, from training, for every split: encoder.fit(train), encoder.transform(test)",
        place=at,
        where=None if at else "the labels",
    )


def _learned(model: ModelSeen) -> float | None:
    """The share of right answers on samples of training."""
    copy, hits, count = private(model.module), 0, 0
    losses = loss_names(model)
    for seen in [one for one in model.batches if one.used][:8]:
        target = target_of(seen)
        if target is None:
            continue
        preds = classes_of(replay(copy, seen), target, losses)
        if preds is not None:
            hits, count = hits + int((preds == target.long()).sum()), count + target.numel()
    return hits / count if count else None


RULES = (other_numbers,)
