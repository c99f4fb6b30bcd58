"""What the loaders give: in which order (D05), of which split (D08), with which draws (D11), with which class numbers (D12)."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler, Subset, TensorDataset
from torch.utils.data._utils import worker as worker_of_torch

from netwright.checks.catalogue import finding
from netwright.checks.sourcecode import Place
from netwright.checks.subject import NotCheckedError, Subject
from netwright.records import Finding
from netwright.watch.capture import dataset_of
from netwright.watch.rules.datasets import (
    is_map_style,
    pairs,
    places,
    private_copy,
    read,
    same,
    same_source,
    seed_all,
)
from netwright.watch.rules.replays import OF_CLASSES, by_site, classes_of, evaluation_of, loss_names, private, replay, target_of
from netwright.watch.trace import LoaderSeen, ModelSeen, Trace

HELD_OUT = re.compile(r"val|dev|test|eval|hold", re.IGNORECASE)
TRAINING = re.compile(r"tr(ai)?n", re.IGNORECASE)
ALL = re.compile(r"all|full|whole|pred|infer|embed|total", re.IGNORECASE)
FEWEST = 64  # labels from which on an order can be told from chance
READ = 4  # samples that are read again
MOST_CLASSES = 1_000


def unshuffled(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """D05: training goes through one class after another, or a tail of sorted classes was split off."""
    orders = [(one.labels, one.sizes, one.place, one) for one in trace.loaders if one.used and _same_order(one)]
    orders += [(labels, sizes, None, None) for labels, sizes in _by_hand(trace)]
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


def _by_hand(trace: Trace) -> Iterator[tuple[list[int], list[int]]]:
    """Labels in the order in which training saw them, of loops without a loader."""
    for model in trace.trained():
        batches = [one for one in model.batches if one.used and one.loader < 0]
        labels: list[int] = []
        sizes: list[int] = []
        for seen in batches:
            target = target_of(seen)
            if target is None or target.is_floating_point() or target.ndim != 1:
                break
            labels += target.tolist()
            sizes.append(len(target))
        if labels and len({tuple(labels[: sizes[0]])}) == 1:
            yield labels, sizes


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
    passes = 1 if loader is None else max(1, loader.passes)
    # One run of each class, or nearly; by chance there are many more. States that take turns in time are not so.
    if runs > 2 * len(classes) * (1 if loader is not None else passes) or chance < 4 * runs or _is_a_series(trace, loader):
        return None
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    alone = sum(
        len(set(labels[start : start + size])) == 1 for start, size in zip(starts, sizes, strict=True) if start + size <= count
    )
    return finding(
        "D05",
        evidence=(
            f"the {count} labels come in {runs} runs, where shuffled ones would make about {chance:.0f}; {alone} of {len(sizes)} batches "
            f"hold one class only, and each pass has the same order"
        ),
        cure="DataLoader(dataset, batch_size=..., shuffle=True)",
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
            if first is not None and len(first) > 2 and first.shape[1] > 2 and torch.equal(first[1:, :-1], first[:-1, 1:]):
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
                f"{unseen:.0%} of the {len(seen.labels)} held-out samples are of classes that training never saw: it has "
                f"{min(trained)} to {max(trained)}, they have {min(labels)} to {max(labels)}, as a tail of rows sorted by class has"
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
        text = f"{round(share * count)} of the {count} samples that {what} evaluates are also given by the loader that trains, made at {last.place}"
    return finding(
        "D08",
        evidence=f"{text}: the score is that of samples which the model has learned",
        cure="DataLoader(val_set, ...), with the part that the split made for it, and not `.dataset` or the training set",
        place=seen.place,
        where=None if seen.place else "the loaders",
    )


def _changes_both(trace: Trace, seen_pairs: list[tuple[LoaderSeen, LoaderSeen]]) -> Finding | None:
    """``val_set.dataset.transform = …`` where the training part has the same data set."""
    for seen, last in seen_pairs:
        both = (getattr(seen.loader, "dataset", None), getattr(last.loader, "dataset", None))
        if seen is last or not all(isinstance(one, Subset) for one in both):
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
            if not _had_another(trace, type(first).__name__, name, value, before) and len({one[3] for one in through if one[2] == name}) < 2:
                continue  # one transform for both, in a roundabout way
            return finding(
                "D08",
                title="Both parts of a split share one data set",
                evidence=(
                    f"`{owner}.dataset.{name} = {value}` changes it for training too: both parts hold the same {type(first).__name__} "
                    f"({len(both[1])} and {len(both[0])} samples), and the loader that trains now reads with `{value}` as well"  # type: ignore[arg-type]
                ),
                cure="Give each part a data set of its own: Subset(Data(..., transform=a), rows), Subset(Data(..., transform=b), others)",
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
                through = isinstance(target, ast.Attribute) and isinstance(target.value, ast.Attribute) and target.value.attr == "dataset"
                if through and not _in_a_loop(node):
                    yield Place(file, node.lineno), ast.unparse(target.value.value), target.attr, ast.unparse(node.value)  # type: ignore[attr-defined]


def _in_a_loop(node: ast.AST) -> bool:
    above = getattr(node, "parent", None)
    while above is not None:
        if isinstance(above, (ast.For, ast.While)):
            return True
        above = getattr(above, "parent", None)
    return False


# ------------------------------------------------------------------------------------------------- D11


def equal_workers(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """D11: random samples that come out the same in each worker, or in each epoch."""
    for seen in trace.loaders:
        workers, dataset = getattr(seen.loader, "num_workers", 0), getattr(seen.loader, "dataset", None)
        if not workers or not is_map_style(dataset) or isinstance(dataset_of(seen.loader)[0], TensorDataset):
            continue
        found = _draws(seen, dataset, workers)
        if found is not None:
            yield found
            return


def _draws(seen: LoaderSeen, dataset: Any, workers: int) -> Finding | None:
    """Read the same samples as two workers would, and as one would in the next epoch."""
    first, second = _as_worker(seen, dataset, 0, 1_000), _as_worker(seen, dataset, min(1, workers - 1), 1_000)
    later = _as_worker(seen, dataset, 0, 2_000)
    if first is None or second is None or later is None:
        return None
    if all(same(once, again) for once, again in zip(first[0], first[1], strict=True)):
        return None  # nothing is drawn
    alike = workers > 1 and all(same(one, other) for one, other in zip(first[0], second[0], strict=True))
    persistent = bool(getattr(seen.loader, "persistent_workers", False))
    repeated = not persistent and all(same(one, other) for one, other in zip(first[0], later[0], strict=True))
    if not alike and not repeated:
        return None
    init = getattr(seen.loader, "worker_init_fn", None)
    what = [f"workers 0 and 1 of {workers} return exactly the same for {len(first[0])} samples, though each draws anew at every reading"] if alike else []
    what += ["each epoch begins with the draws of the epoch before"] if repeated else []
    where = f"; worker_init_fn is `{getattr(init, '__name__', init)}`" if init is not None else ""
    return finding(
        "D11",
        title=None if alike else "Each epoch draws the same random numbers",
        evidence=f"read as {'two workers do' if alike else 'a worker does in two epochs'}, on copies: {', and '.join(what)}{where}",
        cure=(
            "def seed_worker(worker_id): dataset = torch.utils.data.get_worker_info().dataset; "
            "dataset.rng = np.random.default_rng(torch.initial_seed())\nOr draw from torch's generator, which is seeded for each worker."
        ),
        place=seen.place,
        where=None if seen.place else "the workers",
    )


def _as_worker(seen: LoaderSeen, dataset: Any, worker: int, base: int) -> tuple[list[list[Tensor]], list[list[Tensor]]] | None:
    """The first samples as a worker reads them that has just begun, and read once more."""
    own = private_copy(dataset)
    if own is None:
        return None
    seed_all(base + worker)
    before = worker_of_torch._worker_info
    init = getattr(seen.loader, "worker_init_fn", None)
    try:
        worker_of_torch._worker_info = worker_of_torch.WorkerInfo(
            id=worker, num_workers=seen.loader.num_workers, seed=base + worker, dataset=own
        )  # type: ignore[assignment]
        if init is not None:
            with contextlib.suppress(Exception):
                init(worker)
        once = [read(own, at) for at in range(min(READ, len(own)))]
        again = [read(own, at) for at in range(min(READ, len(own)))]
    except Exception:
        return None
    finally:
        worker_of_torch._worker_info = before
    if not once or any(one is None for one in (*once, *again)):
        return None
    return [one for one in once if one is not None], [one for one in again if one is not None]


# ------------------------------------------------------------------------------------------------- D12


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
            f"{len(other)} of {len(common)} classes have another number in evaluation than in training, as {name!r}: {mine[name]} and "
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
        if isinstance(value, dict) and re.search(r"class|label|cat|idx|2id|to_id", name, re.I) and len(value) <= MOST_CLASSES:
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
        known = [(one, target) for one in batches if isinstance(one.output, Tensor) and (target := target_of(one)) is not None]
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
    better = float(torch.tensor([mapping.get(one, -1) == want for one, want in zip(given.tolist(), wanted.tolist(), strict=True)]).float().mean())
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
            f"{plain:.3f} of {len(given)} answers agree with the labels of the evaluation, but {better:.3f} do once classes are renumbered "
            f"({named}); on samples of training {learned:.3f} are right as they are"
        ),
        cure="Number the classes once, from training, and use that for every split: encoder.fit(train), encoder.transform(test)",
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


RULES = (unshuffled, shared_samples, equal_workers, other_numbers)
