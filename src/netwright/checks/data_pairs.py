"""D04, D16, D20: do inputs and targets belong together, and do equal or like inputs have equal targets?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.checks.catalogue import finding
from netwright.checks.data_near import Near, clustered, near_of
from netwright.checks.data_rows import bits, classes_in, data_of, named_inputs, share
from netwright.checks.runner import Check
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding

# Agreement of neighbours, in standard deviations of random orders: within NONE there is none, above CLEAR there is.
NONE = 3.0
CLEAR = 10.0
STRUCTURE = 0.85  # see `clustered`: parity of normal columns has 1.0, pictures and real tables with classes 0.5 to 0.8
CONFLICTS = 0.01  # share of samples in conflict for a warning
DOUBTED = 0.01  # share of labels that neighbours outvote for a note
MANY_DOUBTED = 0.1  # … and for D16 in its place
NEARLY_ALL = 9  # of 10 neighbours for one other class, and none for the sample's own, where few labels are doubted
VOTES = 6  # of 10 neighbours for one other class, and at most one for the sample's own


def pairing(subject: Subject) -> Iterator[Finding]:
    """D04: neighbours agree on targets no better than in a random order, and another pairing, or other pairs, do."""
    near = near_of(subject)
    own = near.agreement()
    if own > NONE:
        yield from _other_split(subject, own)
        return
    told = _offsets(near) or _alphabetical(subject, near) or _other_pairs(subject)
    severe = told is not None
    if told is None:
        told = _structure(subject, near)
    if told is None:
        return
    measure = f"The labels of {near.neighbours.shape[1]} nearest samples" if near.labels else "The nearest samples"
    yield finding(
        "D04",
        severity="warning",
        where="the pairs of train",
        evidence=f"{measure} agree no better than in random orders ({own:+.1f} deviations). {told}",
        cure="Shuffle, sort and filter inputs and targets by one index: x, y = x[order], y[order]."
        if severe
        else "Look at ten pairs. Shuffle, sort and filter by one index: x, y = x[order], y[order].",
    )


def _offsets(near: Near) -> str | None:
    place = {int(index): at for at, index in enumerate(near.ids)}
    for offset in (1, -1, 2, -2):
        twin = np.asarray([place.get(int(index) + offset, -1) for index in near.ids])
        reached = near.agreement(np.where(twin >= 0, near.targets[twin], 0.0), twin >= 0)
        if reached > CLEAR:
            word = "next" if offset == 1 else "previous" if offset == -1 else f"{offset:+d}"
            off = abs(offset)
            return f"Paired with the target of the {word} sample they do ({reached:+.0f}): targets are off by {off}."
    back = near.agreement(near.targets[::-1].copy()) if len(near.ids) and near.ids[-1] == len(near.ids) - 1 else 0.0
    return f"Paired in reverse order they do ({back:+.0f})." if back > CLEAR else None


def _alphabetical(subject: Subject, near: Near) -> str | None:
    """Files read as 0, 1, 10, 100 … beside targets in the order of numbers, or the other way round."""
    train = data_of(subject)
    after = sum(subject.splits[name].count for name in subject.splits if name != "train")
    for count in {train.count, train.count + after}:
        for start in (0, 1):
            order = np.asarray(sorted(range(count), key=lambda at, start=start: str(at + start)))  # type: ignore[misc]
            for one in (order, np.argsort(order)):
                twin = np.where(near.ids < count, one[np.minimum(near.ids, count - 1)], -1)
                known = (twin >= 0) & (twin < len(near.targets))
                reached = near.agreement(np.where(known, near.targets[np.where(known, twin, 0)], 0.0), known)
                if reached > CLEAR:
                    return (
                        f"Where one side is put from alphabetical order (0, 1, 10, 100 …) into that of numbers they do "
                        f"({reached:+.0f}): files were sorted by name and targets by number."
                    )
    return None


def _other_pairs(subject: Subject) -> str | None:
    for split in ("test", "val"):
        try:
            reached = near_of(subject, split).agreement()
        except NotCheckedError:
            continue
        if reached > CLEAR:
            return f"In {split} they do ({reached:+.0f}): inputs tell the target there, and not in training."
    return None


def _other_split(subject: Subject, own: float) -> Iterator[Finding]:
    """Pairs of an evaluation split that do not belong together, where those of training do."""
    if own < 2 * CLEAR:
        return
    for split in ("test", "val"):
        try:
            near = near_of(subject, split)
        except NotCheckedError:
            continue
        reached = near.agreement()
        if len(near.targets) >= 200 and reached < NONE:
            yield finding(
                "D04",
                where=f"the pairs of {split}",
                evidence=f"In training neighbours agree on targets ({own:+.0f} deviations above random orders); "
                f"in {split} they do not ({reached:+.1f}).",
                cure="Shuffle, sort and filter inputs and targets by one index: x, y = x[order], y[order].",
            )
            return


def _structure(subject: Subject, near: Near) -> str | None:
    """Inputs in clusters that say nothing of the labels, neither to a forest of trees nor to the trained module."""
    if not near.labels or len(near.targets) < 300 or near.agreement() > NONE - 1 or near.rows.shape[1] < 3:
        return None
    tight = clustered(near.rows)
    if tight > STRUCTURE:
        return None
    labels = near.targets.astype(int)
    usual = float(np.bincount(labels).max() / len(labels))
    with subject.budget.loading():
        from sklearn.ensemble import ExtraTreesClassifier
        from sklearn.model_selection import cross_val_score

    forest = ExtraTreesClassifier(60, random_state=0, n_jobs=1)
    found = float(cross_val_score(forest, near.rows, labels, cv=3).mean())
    noise = 3 * (usual * (1 - usual) / len(labels)) ** 0.5
    learnt = _module_beyond(subject, usual, noise)
    if found > usual + noise or learnt is None:
        return None
    return (
        f"The inputs do fall into clusters (near samples are {1 / tight:.1f} times as near as in a normal cloud), "
        f"yet a forest of trees is right for {found:.1%} of new samples, always answering one class for "
        f"{usual:.1%}{learnt}."
    )


def _module_beyond(subject: Subject, usual: float, noise: float) -> str | None:
    """Words where the module itself does not generalise either; None where it does."""
    for split in ("test", "val"):
        samples = subject.splits.get(split)
        wanted = classes_in(subject, samples) if samples is not None else None
        if samples is None or wanted is None or subject.trained is None:
            continue
        inputs = {name: torch.from_numpy(value[:500]) for name, value in samples.inputs.items() if name in subject.pool}
        try:
            answer = subject.answer(subject.trained.eval(), inputs)
        except NotCheckedError:
            return ""
        if answer.ndim != 2:
            return ""
        right = float((answer.argmax(1).numpy() == wanted[:500]).mean())
        return f"; the trained module is for {right:.1%}" if right <= usual + 2 * noise else None
    return ""


def conflicts(subject: Subject) -> Iterator[Finding]:
    """D16: the same input with different labels."""
    if subject.cache.get("beside_another") or subject.cache.get("fed"):
        return  # as a discriminator, which gets what another network made under one label and then the other
    samples = data_of(subject)
    labels = classes_in(subject, samples)
    if labels is None:
        return
    arrays = [np.ascontiguousarray(value) for value in named_inputs(subject, samples).values()]
    groups: dict[bytes, list[int]] = defaultdict(list)
    for at in range(len(samples)):
        groups[b"".join(one[at].tobytes() for one in arrays)].append(at)
    torn = [one for one in groups.values() if len(one) > 1 and len(set(labels[one].tolist())) > 1]
    count = sum(len(one) for one in torn)
    if len(torn) < 3:
        return
    rows = np.concatenate([one.reshape(len(one), -1) for one in arrays], axis=1)[:2_000]
    if np.median(bits(rows)) < 2 * np.log2(len(samples)) + 10:  # few different rows are possible, so equal ones natural
        return
    subject.cache["conflicts"] = count
    first = torn[0]
    listed = ", ".join(f"train[{samples.ids[at]}]: {labels[at]}" for at in first[:3])
    yield finding(
        "D16",
        severity="warning" if count >= CONFLICTS * len(samples) else "note",
        where="train",
        evidence=f"{share(count, len(samples))} samples of training stand there again with another label, "
        f"in {len(torn)} groups of equal inputs, as {listed}.",
        cure="Keep each input once, with the label that most agree on; or train on the share of each label.",
    )


def doubts(subject: Subject) -> Iterator[Finding]:
    """D20, D16: labels that the neighbours agree in outvoting, where neighbours are right as a rule."""
    near = near_of(subject)
    if not near.labels:
        return
    labels = near.targets.astype(int)
    classes = int(labels.max()) + 1
    if len(np.unique(labels)) < 3 or near.hits(near.targets) < 0.6 or near.agreement() < CLEAR:
        return
    if np.bincount(labels).max() > 0.5 * len(labels):
        return  # a common class outvotes rare ones wherever they overlap
    votes = np.stack([np.bincount(labels[one], minlength=classes) for one in near.neighbours])
    own = votes[np.arange(len(labels)), labels]
    doubted = np.flatnonzero((votes.max(1) >= VOTES) & (own <= 1))
    part = len(doubted) / len(labels)
    if part < MANY_DOUBTED:  # of a few, hard samples must not be taken for wrong labels
        doubted = np.flatnonzero((votes.max(1) >= NEARLY_ALL) & (own == 0))
        part = len(doubted) / len(labels)
    if part < DOUBTED or len(doubted) < 3 or subject.cache.get("conflicts"):
        return
    many = part >= MANY_DOUBTED
    least = VOTES if many else NEARLY_ALL
    listed = ", ".join(f"train[{near.ids[at]}] ({labels[at]}, neighbours {votes[at].argmax()})" for at in doubted[:4])
    yield finding(
        "D16" if many else "D20",
        severity="note",
        where="train",
        title="Many labels are probably wrong" if many else None,
        evidence=f"{share(len(doubted), len(labels))} labels are those of at most 1 of the 10 nearest samples, "
        f"of which {least} or more agree on another: {listed}. Else they are right for {_right(near, doubted):.1%}.",
        cure="Look at these first.",
    )


def _right(near: Near, doubted: NDArray[np.int64]) -> float:
    keep = np.setdiff1d(np.arange(len(near.targets)), doubted)
    votes = [np.bincount(near.targets[one].astype(int)).argmax() for one in near.neighbours[keep, :5]]
    return float(np.mean(np.asarray(votes) == near.targets[keep]))


CHECKS: tuple[Check, ...] = (
    Check("whether inputs and targets belong together", ("D04",), pairing, 3.0),
    Check("equal inputs with different labels", ("D16",), conflicts, 1.0),
    Check("labels that are probably wrong", ("D16", "D20"), doubts, 1.0),
)
