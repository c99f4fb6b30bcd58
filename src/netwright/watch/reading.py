"""Samples of the splits as a script's loaders and calls showed them: whole data sets where reading is harmless."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, Subset, TensorDataset

from netwright.checks.facts import Samples
from netwright.checks.sizes import MOST_BYTES, MOST_DATA, is_small
from netwright.checks.subject import Inputs
from netwright.watch.looks import nbytes
from netwright.watch.trace import BatchSeen, ModelSeen, Trace

MOST_READ = 2_000  # items of a data set of the person's own
MOST_READ_S = 1.0
MOST_ROWS = 20_000  # of tensors in memory, which cost nothing to read
MOST_NUMBERS = 30_000_000
IN_TRAINING = 0.99  # share of an evaluation's rows that are in training: then it is the training score that was taken
FEW_ROWS = 8


def dataset_of(loader: Any) -> Any:
    """The innermost data set of a loader, past subsets, with the indices into it (None where it is whole)."""
    dataset, indices = getattr(loader, "dataset", None), None
    while isinstance(dataset, Subset):
        own = [int(index) for index in dataset.indices]
        indices = own if indices is None else [own[index] for index in indices]
        dataset = dataset.dataset
    return dataset, indices


def columns_of(dataset: Any, indices: Sequence[int] | None) -> tuple[list[Tensor], NDArray[Any], int] | None:
    """The columns of a data set's items, their indices and how many there are; None where they cannot be read."""
    try:
        size = len(dataset) if indices is None else len(indices)
    except Exception:
        return None
    ids = np.arange(size) if indices is None else np.sort(np.asarray(indices, dtype=np.int64))
    if isinstance(dataset, TensorDataset):
        numbers = sum(int(np.prod(one.shape[1:])) for one in dataset.tensors)
        ids = ids[: max(2, min(MOST_ROWS, MOST_NUMBERS // max(1, numbers)))]
        where = torch.from_numpy(ids)
        return [one.detach().cpu()[where] for one in dataset.tensors], ids, size
    if dataset is None or isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        return None
    return _read(dataset, ids, size)


def _read(dataset: Any, ids: NDArray[Any], size: int) -> tuple[list[Tensor], NDArray[Any], int] | None:
    """Items of a copy, so that what reading changes is not the script's."""
    began = time.perf_counter()
    rows: list[list[Tensor]] = []
    read = 0
    if not is_small(dataset, MOST_DATA):  # a copy would need as much memory again
        return None
    try:
        own = copy.deepcopy(dataset)
        for index in ids[:MOST_READ]:
            row = _row(own[int(index)])
            if row is None or (rows and [one.shape for one in row] != [one.shape for one in rows[0]]):
                return None
            rows.append([one.clone() for one in row])
            read += nbytes(row)
            if time.perf_counter() - began > MOST_READ_S or read > MOST_BYTES:
                break
        if len(rows) < 2:
            return None
        return [torch.stack(column) for column in zip(*rows, strict=True)], ids[: len(rows)], size
    except Exception:
        return None


def _row(item: Any) -> list[Tensor] | None:
    """The tensors and numbers of one item."""
    parts = list(item.values()) if isinstance(item, dict) else list(item) if isinstance(item, (tuple, list)) else [item]
    found: list[Tensor] = []
    for part in parts:
        if isinstance(part, Tensor):
            found.append(part.detach().cpu())
        elif isinstance(part, (np.ndarray, np.generic, int, float, bool)) and not isinstance(part, np.str_):
            found.append(torch.as_tensor(part))
    return found or None


def whole(loader: Any, inputs: Inputs, targets: Any) -> Samples | None:
    """All samples of a loader as the module gets them; None where its items are changed on their way to the module.

    Args:
        inputs: Of one batch that the module got from it.
        targets: Of that batch; None where they are not known.
    """
    read = columns_of(*dataset_of(loader))
    if read is None or not inputs:
        return None
    columns, ids, size = read
    found: dict[str, NDArray[Any]] = {}
    taken: set[int] = set()
    row = -1
    for name, value in inputs.items():
        places = ((at, _row_of(column, value[0])) for at, column in enumerate(columns) if at not in taken)
        at, place = next(((at, place) for at, place in places if place >= 0), (-1, -1))
        if at < 0:
            return None
        taken.add(at)
        row = place
        found[name] = columns[at].reshape(len(ids), *value.shape[1:]).numpy()
    wanted = None
    if isinstance(targets, Tensor):
        rest = [column for at, column in enumerate(columns) if at not in taken]
        rest = [column for column in rest if column[0].numel() == targets[0].numel()]
        same = [one for one in rest if torch.equal(one[row].double().reshape(-1), targets[0].double().reshape(-1))]
        if same:
            wanted = same[0].reshape(len(ids), *targets.shape[1:]).to(targets.dtype).numpy()
    return Samples(inputs=found, targets=wanted, count=size, ids=ids)


def _row_of(column: Tensor, value: Tensor) -> int:
    """Where a value stands in a column; -1 where it does not."""
    if column[0].numel() != value.numel() or column.is_floating_point() != value.is_floating_point():
        return -1
    flat, own = column.reshape(len(column), -1), value.detach().cpu().reshape(-1).to(column.dtype)
    same = ((flat == own) | ((flat != flat) & (own != own))).all(1).nonzero()
    return int(same[0]) if len(same) else -1


Together = Callable[[list[BatchSeen]], Samples | None]


def add_splits(
    splits: dict[str, Samples],
    cache: dict[str, Any],
    trace: Trace,
    model: ModelSeen,
    together: Together,
    tensors: Callable[[BatchSeen], Inputs],
    targets: Callable[[BatchSeen], Any],
) -> None:
    """Fill ``splits``; ``cache["datasets"]`` gets the data sets and ``cache["whole"]`` names the splits known wholly.

    Args:
        together: Of batches their samples.
        tensors, targets: Of a batch.
    """
    cache["datasets"], cache["whole"] = {}, set()
    trained = model.learned_from()
    first = next(iter(trained), None)
    if first is None:
        return
    loader = trace.loaders[first.loader].loader if first.loader >= 0 else None
    train = None
    if loader is not None:
        cache["datasets"]["train"] = dataset_of(loader)[0]
        train = whole(loader, tensors(first), targets(first))
    if train is not None:
        cache["whole"].add("train")
    else:
        train = together([one for one in trained if one.epoch <= 0])
        if train is not None and first.loader < 0:
            train = distinct(train)
    if train is None:
        return
    splits["train"] = train
    known = set(digests(train))
    own = {one.loader for one in trained if one.loader >= 0}
    tasks = {id(dataset_of(one.loader)[0]) for one in trace.loaders if one.used}
    found: list[tuple[Samples, bool, Any]] = []
    for group in _groups(model.eval_batches, own):
        number = group[0].loader
        evaluated = trace.loaders[number].loader if number >= 0 else None
        samples = whole(evaluated, tensors(group[0]), targets(group[0])) if evaluated is not None else None
        complete = samples is not None
        samples = samples if samples is not None else together(group)
        if samples is None:
            continue
        if len(tasks) > 1:  # trained on several data sets: whose labels these are is not known
            samples = replace(samples, targets=None)
        keys = digests(samples)
        if np.mean([key in known for key in keys]) < IN_TRAINING:
            found.append((samples, complete or number < 0, evaluated))
    _name(splits, cache, found)


def _name(splits: dict[str, Samples], cache: dict[str, Any], found: list[tuple[Samples, bool, Any]]) -> None:
    """The last that was evaluated is the test, one before it the validation split."""
    for name, (samples, complete, loader) in zip(("test", "val"), reversed(found), strict=False):
        splits[name] = samples
        if complete:
            cache["whole"].add(name)
        if loader is not None:
            cache["datasets"][name] = dataset_of(loader)[0]


def _groups(batches: list[BatchSeen], own: set[int]) -> list[list[BatchSeen]]:
    """Passes of evaluation: of one loader each, and calls without one by their size."""
    found: dict[Any, list[BatchSeen]] = {}
    for one in batches:
        if one.loader in own or not (one.args or one.kwargs):
            continue
        key = one.loader if one.loader >= 0 else ("call", one.event if one.rows >= FEW_ROWS else -1)
        found.setdefault(key, []).append(one)
    return list(found.values())


def digests(samples: Samples) -> list[bytes]:
    """The bytes of each row's inputs."""
    size = len(samples)
    arrays = [np.ascontiguousarray(one).reshape(size, -1) for one in samples.inputs.values()]
    return [b"".join(one[at].tobytes() for one in arrays) for at in range(size)]


def distinct(samples: Samples) -> Samples:
    """Each input once: a script that cuts its own batches shows the same rows in each epoch."""
    keep: dict[bytes, int] = {}
    labels = samples.targets
    for at, key in enumerate(digests(samples)):
        keep.setdefault(key + (labels[at].tobytes() if labels is not None else b""), at)
    where = np.asarray(list(keep.values()))
    return Samples(
        inputs={name: value[where] for name, value in samples.inputs.items()},
        targets=None if labels is None else labels[where],
        count=len(where),
        ids=np.arange(len(where)),
    )
