"""What rules on data need: samples read again from private copies of data sets, and which loaders share which samples.

Reading draws random numbers and may change what a data set keeps; so copies are read, that share its large arrays and
hold their own generators and counters.
"""

from __future__ import annotations

import contextlib
import copy
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)

from netwright.checks.optrace import tensors_in
from netwright.watch.capture import dataset_of
from netwright.watch.trace import Event, LoaderSeen, Trace

LARGE = 64  # entries from which on a list is shared and not copied
SLOW_S = 0.1  # a sample that takes longer to read is not read again and again
READING_S = 1.0  # that one reading of several samples may take


def private_copy(dataset: Any) -> Any:
    """A copy of a data set to read from; None where it cannot be had, or where samples come as a stream."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        return None
    memo: dict[int, Any] = {}
    _share(dataset, memo, 0)
    try:
        return copy.deepcopy(dataset, memo)
    except Exception:
        return None


def _share(value: Any, memo: dict[int, Any], depth: int) -> None:
    """Put into the memo of ``deepcopy`` what is large, so that it stays the same object, and generators of torch."""
    if isinstance(value, torch.Generator):
        twin = torch.Generator(device=value.device)
        twin.set_state(value.get_state())
        memo[id(value)] = twin
    elif _is_large(value):
        memo[id(value)] = value
    elif depth < 5:
        own = value if isinstance(value, dict) else getattr(value, "__dict__", None)
        inner = list(own.values()) if isinstance(own, dict) else list(value) if isinstance(value, (list, tuple)) else []
        for one in inner:
            _share(one, memo, depth + 1)


def _is_large(value: Any) -> bool:
    if isinstance(value, (Tensor, np.ndarray)) or type(value).__module__.startswith("pandas"):
        return True
    return isinstance(value, (list, tuple, dict)) and len(value) > LARGE


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def read(dataset: Any, index: int) -> list[Tensor] | None:
    """The tensors of one sample, numbers and arrays among them; None where it cannot be read, or not quickly."""
    began = time.perf_counter()
    try:
        item = dataset[index]
    except Exception:
        return None
    if time.perf_counter() - began > SLOW_S:
        return None
    return flat(item)


def readings(dataset: Any, count: int, *, seconds: float = READING_S) -> list[list[Tensor]] | None:
    """The first samples, as many as can be read in time; None where one cannot be read."""
    began = time.perf_counter()
    found: list[list[Tensor]] = []
    for at in range(min(count, len(dataset))):
        one = read(dataset, at)
        if one is None:
            return None
        found.append(one)
        if time.perf_counter() - began > seconds:
            break
    return found


def flat(item: Any) -> list[Tensor]:
    """Tensors, arrays and numbers of a sample, in order."""
    if isinstance(item, Tensor):
        return [item]
    if isinstance(item, np.ndarray) and item.dtype.kind in "iufb":
        return [torch.as_tensor(item.copy())]
    if isinstance(item, (bool, int, float, np.generic)):
        return [torch.tensor(item.item() if isinstance(item, np.generic) else item)]
    values = item.values() if isinstance(item, dict) else item if isinstance(item, (tuple, list)) else ()
    found = [one for value in values for one in flat(value)]
    return found or tensors_in(item)


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    """Whether two readings are equal."""
    return len(one) == len(other) and all(
        a.shape == b.shape and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
        for a, b in zip(one, other, strict=True)
    )


def places(loader: Any) -> tuple[Any, frozenset[int] | None]:
    """The innermost data set of a loader and which of its samples it gives; None for these where that is not known."""
    dataset, indices = dataset_of(loader)
    sampler, batches = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
    if (
        dataset is None
        or isinstance(dataset, IterableDataset)
        or (batches is not None and type(batches) is not BatchSampler)
    ):
        return dataset, None
    if indices is None:
        with contextlib.suppress(Exception):
            indices = range(len(dataset))
    if indices is None:
        return dataset, None
    if isinstance(sampler, SubsetRandomSampler):
        chosen = [indices[int(at)] for at in sampler.indices]
    elif isinstance(sampler, (SequentialSampler, RandomSampler)):
        chosen = list(indices)
    else:
        own = getattr(sampler, "indices", None)
        if own is None:
            return dataset, None
        chosen = [indices[int(at)] for at in own]
    return dataset, frozenset(int(one) for one in chosen)


def same_source(one: Any, other: Any) -> bool:
    """Whether two data sets hold the very same samples at the same places."""
    if one is other:
        return one is not None
    mine, theirs = _held(one), _held(other)
    return bool(mine) and len(mine) == len(theirs) and type(one) is type(other) and all(
        a.shape == b.shape and a.data_ptr() == b.data_ptr() for a, b in zip(mine, theirs, strict=True)
    )  # fmt: skip


def _held(dataset: Any) -> list[Tensor]:
    own = getattr(dataset, "__dict__", {})
    held = [value for value in own.values() if isinstance(value, Tensor)] or tensors_in(list(own.values()))
    return [one for one in held if one.ndim and one.numel()]


def pairs(trace: Trace) -> Iterator[tuple[LoaderSeen, LoaderSeen]]:
    """Loaders that were evaluated, each with the one that had last trained the model before."""
    trained: dict[int, int] = {}
    told: set[tuple[int, int]] = set()
    used = _of_training(trace)
    for at, event in enumerate(trace.events):
        if event.kind != "forward" or event.facts.get("loader", -1) < 0:
            continue
        loader = event.facts["loader"]
        if at in used:
            trained[event.who] = loader
            continue
        last = trained.get(event.who)
        if last is not None and _evaluates(trace, event) and (loader, last) not in told:
            told.add((loader, last))
            yield trace.loaders[loader], trace.loaders[last]


def _of_training(trace: Trace) -> set[int]:
    """The forward passes that a backward pass followed."""
    return {at for event in trace.of("backward") for at in event.facts.get("forwards", ())}


def _evaluates(trace: Trace, event: Event) -> bool:
    return not event.facts.get("grad") or not event.facts.get("train") or not trace.loaders[event.facts["loader"]].used


def is_map_style(dataset: Any) -> bool:
    """Whether samples can be read by their number."""
    return isinstance(dataset, Dataset) and not isinstance(dataset, IterableDataset)
