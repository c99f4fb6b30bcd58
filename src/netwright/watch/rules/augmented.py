"""Random changes of samples: in evaluation, or turns and mirrors of what stands upright (D09)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset, Subset, TensorDataset

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place, class_place
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding
from netwright.watch.capture import dataset_of
from netwright.watch.rules.datasets import READING_S, pairs, private_copy, readings, same, seed_all
from netwright.watch.rules.replays import private
from netwright.watch.scene import transforms_of
from netwright.watch.trace import LoaderSeen, Trace

READ = 24  # samples that are read twice
VOTES = 3  # passes over a random loader from which on their answers are meant to be put together
MOST_TURNED = 240  # pictures that are looked at for turns
FEWEST_TURNED = 60
TOLD_MIRRORED = 0.9  # mirrored is often harmless, as of clothes and shoes
TOLD_APART = (
    0.85  # of turned and plain pictures; half are told by chance, and nearly none of cells or of the ground from above
)


def random_evaluation(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """D09: a loader that only evaluates gives another picture at each reading."""
    done: set[int] = set()
    steady = False
    unsteady: list[tuple[LoaderSeen, str]] = []
    for seen, _ in pairs(trace):
        if seen.number in done or seen.used:
            continue
        done.add(seen.number)
        text = _changes(trace, seen)
        if text is None:
            steady = steady or _is_labelled(seen)
        elif text and not _votes(trace, seen):
            unsteady.append((seen, text))
    for seen, text in unsteady:
        if not steady:  # else its answers are put beside those of plain readings
            yield finding(
                "D09",
                evidence=text,
                cure="Give the evaluation a data set of its own, with a transform that draws nothing.",
                place=seen.place,
                where=None if seen.place else "the evaluation's data",
            )
            return


def _is_labelled(seen: LoaderSeen) -> bool:
    return bool(seen.labels)


def _votes(trace: Trace, seen: LoaderSeen) -> bool:
    """Whether the loader is gone through again and again after training."""
    last = max((at for at, event in enumerate(trace.events) if event.kind == "backward"), default=-1)
    return sum(event.kind == "pass_begin" and event.who == seen.number for event in trace.events[last + 1 :]) >= VOTES


def _changes(trace: Trace, seen: LoaderSeen) -> str | None:
    """How samples differ between two readings; None where they do not, "" where that is no fault."""
    dataset = getattr(seen.loader, "dataset", None)
    inner, _ = dataset_of(seen.loader)
    if inner is None or isinstance(inner, (TensorDataset, IterableDataset)):
        return None
    own = private_copy(dataset)
    if own is None:
        return None
    seed_all(1)
    first = readings(own, READ)
    seed_all(2)
    second = readings(own, len(first or ()), seconds=2 * READING_S)
    if not first or not second or len(first) != len(second) or any(len(one) < 2 for one in (*first, *second)):
        return None
    count = len(first)
    if all(same(a, b) for a, b in zip(first, second, strict=True)):
        return None
    if not all(_is_label(a[-1], b[-1]) and a[0].is_floating_point() for a, b in zip(first, second, strict=True)):
        return ""  # the task itself may be to take a noise away, or to find what was masked
    gaps = [
        float((a[0] - b[0]).abs().max()) if a[0].shape == b[0].shape else float("inf")
        for a, b in zip(first, second, strict=True)
    ]
    if not _kept_alike(first, second):
        return ""  # samples are made up anew at each reading
    changed = sum(gap > 0 for gap in gaps)
    return (
        f"{changed} of {count} samples of the evaluation differ between two readings, by up to {max(gaps):.2g}, "
        "though their labels are the "
        f"same{_other_answers(trace, seen, first, second)}"
    )


def _is_label(one: Tensor, other: Tensor) -> bool:
    return one.numel() == 1 and not one.is_floating_point() and bool(torch.equal(one, other))


def _kept_alike(first: list[list[Tensor]], second: list[list[Tensor]]) -> bool:
    """Whether two readings of a sample are nearer to each other than to other samples of its class."""
    own, others = [], []
    for at, (one, two) in enumerate(zip(first, second, strict=True)):
        if one[0].shape != two[0].shape:
            continue
        own.append(float((one[0] - two[0]).double().norm()))
        others += [
            float((one[0] - more[0]).double().norm())
            for there, more in enumerate(second)
            if there != at and more[0].shape == one[0].shape and torch.equal(more[-1], one[-1])
        ]
    if not own or not others:
        return bool(own)
    return sum(own) / len(own) < 0.9 * sum(others) / len(others)


def _other_answers(trace: Trace, seen: LoaderSeen, first: list[list[Tensor]], second: list[list[Tensor]]) -> str:
    """How many answers of the trained model change with the reading."""
    for model in trace.trained():
        if not any(batch.loader == seen.number for batch in (*model.eval_batches, *model.first_eval)):
            continue
        try:
            copy = private(model.module)
            with torch.no_grad():
                was, now = (copy(torch.stack([one[0] for one in each])).argmax(dim=1) for each in (first, second))
        except (NotCheckedError, RuntimeError, TypeError, ValueError, AttributeError, IndexError):
            continue
        return f"; the trained model gives another answer for {int((was != now).sum())} of them"
    return ""


# ------------------------------------------------------------------------------------------------- turned


def turned(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """D09: training pictures that are turned or mirrored though all pictures stand upright."""
    for seen, last in pairs(trace):
        if seen is last or not seen.labels or not last.labels:
            continue
        read_both = _plain_and_changed(seen, last)
        if read_both is None:
            continue
        found = _upright(*read_both, last)
        if found is not None:
            yield found
            return


def _plain_and_changed(seen: LoaderSeen, last: LoaderSeen) -> tuple[Tensor, Tensor] | None:
    """The same training pictures as evaluation would read them, and as training does, (N, ..., H, W)."""
    inner, other = dataset_of(last.loader)[0], dataset_of(seen.loader)[0]
    if (
        inner is None
        or other is None
        or isinstance(inner, (TensorDataset, IterableDataset))
        or type(inner) is not type(other)
    ):
        return None
    own, theirs = transforms_of(inner), transforms_of(other)
    unlike = [name for name in own if name in theirs and own[name] is not theirs[name]]
    changed, plain = (private_copy(getattr(last.loader, "dataset", None)) for _ in range(2))
    if not unlike or changed is None or plain is None:
        return None
    innermost = plain
    while isinstance(innermost, Subset):
        innermost = innermost.dataset
    for name in unlike:
        setattr(innermost, name, theirs[name])
    seed_all(1)
    upright = readings(plain, MOST_TURNED) or []
    drawn = readings(changed, len(upright), seconds=2 * READING_S) or []
    kept = [
        (_small(one[0]), _small(two[0]))
        for one, two in zip(upright, drawn, strict=False)
        if one and two and one[0].ndim >= 2 and one[0].shape == two[0].shape and one[0].shape[-1] > 4  # not HWC
    ]
    if len(kept) < FEWEST_TURNED or any(one.shape != kept[0][0].shape for one, _ in kept):
        return None
    return torch.stack([one for one, _ in kept]), torch.stack([two for _, two in kept])


def _small(picture: Tensor) -> Tensor:
    """A picture of at most 16 pixels each way: enough to see how it stands."""
    *_, height, width = picture.shape
    if max(height, width) <= 16:
        return picture.float()
    longest = max(height, width)
    size = (max(1, 16 * height // longest), max(1, 16 * width // longest))
    return nn.functional.adaptive_avg_pool2d(picture.float().reshape(1, -1, height, width), size)[0]


def _turns(pictures: Tensor) -> dict[str, Tensor]:
    """Pictures turned and mirrored in each way that keeps their shape."""
    ways = {"mirrored": pictures.flip(-1), "upside down": pictures.rot90(2, (-2, -1)), "flipped": pictures.flip(-2)}
    if pictures.shape[-1] == pictures.shape[-2]:
        ways |= {
            "turned left": pictures.rot90(1, (-2, -1)), "turned right": pictures.rot90(-1, (-2, -1)),
            "mirrored and turned left": pictures.flip(-1).rot90(1, (-2, -1)),
            "mirrored and turned right": pictures.flip(-1).rot90(-1, (-2, -1)),
        }  # fmt: skip
    return ways


def _alike(one: Tensor, other: Tensor) -> Tensor:
    """The correlation of each picture with another, (N,)."""
    a, b = (
        one.flatten(1) - one.flatten(1).mean(1, keepdim=True),
        other.flatten(1) - other.flatten(1).mean(1, keepdim=True),
    )
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)


def _upright(plain: Tensor, changed: Tensor, last: LoaderSeen) -> Finding | None:
    ways = _turns(plain)
    names = list(ways)
    scores = torch.stack([_alike(one, changed) for one in ways.values()])
    best, which = scores.max(0)
    moved = (best > 0.8) & (best > _alike(plain, changed) + 0.2)
    share = float(moved.float().mean())
    if share < 0.1:
        return None
    used = {names[at] for at in which[moved].unique().tolist()}
    told = {name: _told_apart(plain, ways[name]) for name in used}
    name, right = max(told.items(), key=lambda one: one[1])
    if right < (TOLD_MIRRORED if name == "mirrored" else TOLD_APART):
        return None  # these pictures have no up and down, or no left and right
    place: Place | None = class_place(type(dataset_of(last.loader)[0]), "__getitem__") or last.place
    return finding(
        "D09",
        title="Augmentation turns pictures that stand upright",
        evidence=(
            f"{share:.0%} of {len(plain)} training pictures are turned or mirrored ({', '.join(sorted(used)[:3])}); "
            "from plain samples alone a "
            f"small classifier tells '{name}' from plain in {right:.0%} of cases, so they do have a direction, and "
            "what evaluation gets has it too"
        ),
        cure="Leave out turns and mirrors where they make something else of a picture, as of digits and letters.",
        place=place,
        where=None if place else "the augmentation",
    )


def _told_apart(plain: Tensor, other: Tensor) -> float:
    """How often a kernel classifier tells two kinds of pictures apart, fitted on one half and tried on the other."""
    x = torch.cat([plain.flatten(1), other.flatten(1)]).double()
    y = torch.cat([torch.ones(len(plain)), -torch.ones(len(other))]).double()
    half = torch.arange(len(plain)) % 2 == 0
    fit = torch.cat([half, half])
    gaps = torch.cdist(x, x) ** 2
    kernel = (-gaps / gaps.median().clamp_min(1e-12)).exp()
    inside = kernel[fit][:, fit]
    weights = torch.linalg.solve(inside + 1e-2 * torch.eye(len(inside), dtype=inside.dtype), y[fit])
    return float(((kernel[~fit][:, fit] @ weights).sign() == y[~fit]).double().mean())


RULES = (random_evaluation, turned)
