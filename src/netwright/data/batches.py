"""Batches in a stated order: shuffled and augmented for training, plain for everything else.

Never touches the global random generators, which belong to the module (dropout); only a person's own loader may.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from netwright.batch import Batch, Strip
from netwright.data import tensors
from netwright.data.augment import augment as augment_images
from netwright.data.augment_sound import augment_sounds
from netwright.data.chunks import each_by_itself, gathers_rows, row_batches, row_strips
from netwright.data.dataset import Data
from netwright.data.order import permutation
from netwright.data.ragged import by_length
from netwright.data.resident import lies_on, resident_batches
from netwright.data.sound_source import SoundSource, spectra_of
from netwright.data.sources import (
    DatasetSource,
    LoaderSource,
    PathSource,
    SeededItems,
    Source,
    Targets,
    stack,
    stack_or_error,
)
from netwright.data.streams import StreamSource
from netwright.data.threads import lists_ahead
from netwright.errors import NetwrightError


def steps_per_epoch(data: Data, batch_size: int) -> int:
    """Updates in a pass; the last batch may be smaller."""
    if isinstance(data.train, LoaderSource):
        return len(data.train.loader)
    return -(-len(data.train) // batch_size)


def train_strips(
    data: Data,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    augment: tuple[str, ...],
    workers: int,
    skip: int = 0,
    device: torch.device | None = None,
) -> Generator[Strip | Batch, None, None]:
    """One pass over the training split, shuffled by (seed, epoch); samples of different lengths beside similar ones.

    Args:
        augment: Names of augmentations for images.
        workers: Processes that read items; changes nothing but speed.
        skip: Whole batches to pass over without reading them.
        device: Where rows may lie whole, so that their batches are taken there.
    """
    source = data.train.at_epoch(seed, epoch) if isinstance(data.train, StreamSource) else data.train
    order = permutation(len(source), seed=seed, epoch=epoch)
    lengths = source.lengths
    if lengths is not None:
        parts = by_length(lengths, order, batch_size, seed=seed, epoch=epoch)[skip:]
    else:
        parts = [order[start : start + batch_size] for start in range(skip * batch_size, len(order), batch_size)]
    if not augment and gathers_rows(source):
        gather = _gatherer(data, source)
        if device is not None and source is data.train and lies_on(source, gather, device):
            yield from resident_batches(parts)
        else:
            yield from row_strips(gather, parts)
        return
    if augment and isinstance(source, SoundSource):
        source = source.of_samples()
    ready = tensors.applying(data.spec.preprocess)
    for batch in _read(data, source, parts, skip=skip, workers=workers, seed=seed, epoch=epoch):
        changed = _augmented(data, batch, augment, seed=seed, epoch=epoch) if augment else batch.inputs
        yield Batch(ready(changed), batch.targets, batch.sample_ids)


train_batches = each_by_itself(train_strips)


def eval_batches(data: Data, split: str, *, batch_size: int, workers: int) -> Generator[Batch, None, None]:
    """A split in its own order, without augmentation."""
    source = data.split(split)
    source = source.once() if isinstance(source, StreamSource) else source
    order = np.arange(len(source))
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if gathers_rows(source):
        yield from row_batches(_gatherer(data, source), parts)
        return
    ready = tensors.applying(data.spec.preprocess)
    for batch in _read(data, source, parts, skip=0, workers=workers, seed=0, epoch=0, in_order=True):
        yield Batch(ready(batch.inputs), batch.targets, batch.sample_ids)


def _gatherer(data: Data, source: Source) -> Callable[[NDArray[np.int64]], tuple[dict[str, Tensor], Targets]]:
    """What takes samples out of a source and makes them ready for the module, without augmentation."""
    ready = tensors.applying(data.spec.preprocess)

    def gather(indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Targets]:
        inputs, targets = source.gather(indices)
        return ready(inputs), _typed(targets, data)

    return gather


def _read(
    data: Data,
    source: Source,
    parts: list[NDArray[np.int64]],
    *,
    skip: int,
    workers: int,
    seed: int,
    epoch: int,
    in_order: bool = False,
) -> Iterator[Batch]:
    if isinstance(source, LoaderSource):
        seen = 0
        for index, (inputs, targets) in enumerate(source.in_order() if in_order else source.batches()):
            ids = torch.arange(seen, seen + _size(targets))
            seen += len(ids)
            if index >= skip:
                yield Batch(inputs, _typed(targets, data), ids)
        return
    read = _reader(source, parts, workers=workers, seed=seed, epoch=epoch)
    for part, (fields, wanted) in zip(parts, read, strict=True):
        yield Batch(fields, _typed(wanted, data), torch.from_numpy(part))


def _reader(
    source: Source, parts: list[NDArray[np.int64]], *, workers: int, seed: int, epoch: int
) -> Iterator[tuple[dict[str, Tensor], Targets]]:
    cached = isinstance(source, PathSource) and source.decoded is not None  # no file is read, so no worker is needed
    if cached or (isinstance(source, SoundSource) and source.values is None):
        for batch in lists_ahead(source.gather, ([part] for part in parts)):
            yield from batch
        return
    if isinstance(source, PathSource) and not workers:
        yield from map(stack, lists_ahead(source.item, (part.tolist() for part in parts)))
        return
    if isinstance(source, PathSource | DatasetSource) and workers:
        items: Any = SeededItems(source, seed, epoch)  # torch asks for its own base class; it needs only the methods
        loader: DataLoader[Any] = DataLoader(
            items,
            batch_sampler=[part.tolist() for part in parts],
            num_workers=workers,
            collate_fn=stack_or_error,
            generator=torch.Generator(),  # else a number is drawn from the module's own generator
            worker_init_fn=_one_thread,
        )
        yield from map(_good, loader)
        return
    own = SeededItems(source, seed, epoch) if isinstance(source, DatasetSource) else None
    for part in parts:
        yield source.gather(part) if own is None else undisturbed(partial(_gather_seeded, own, part))


def _gather_seeded(items: SeededItems, part: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
    return _good(stack_or_error([items[int(index)] for index in part]))


def _good(batch: tuple[dict[str, Tensor], Tensor] | NetwrightError) -> tuple[dict[str, Tensor], Tensor]:
    """A batch; an error that came in its place is raised here."""
    if isinstance(batch, NetwrightError):
        raise batch
    return batch


def _one_thread(worker: int) -> None:
    del worker
    torch.set_num_threads(1)


def undisturbed(call: Callable[[], Any]) -> Any:
    """Call, with the global random generators as before after."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        return call()
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def _size(targets: Targets) -> int:
    return len(next(iter(targets.values())) if isinstance(targets, dict) else targets)


def _typed(targets: Targets, data: Data) -> Targets:
    """Targets in the dtype that losses want: int64 classes, float32 values."""
    if isinstance(targets, dict):
        return targets
    return targets.long() if data.spec.target.dtype == "int64" else targets.float()


def _augmented(data: Data, batch: Batch, names: tuple[str, ...], *, seed: int, epoch: int) -> dict[str, Tensor]:
    """Augmented sounds; or pictures, as they are stored and before they are scaled: each sees whole pixel values."""
    ids, sound = batch.sample_ids.numpy(), data.spec.preprocess.sound
    if sound is not None:
        changed = augment_sounds(batch.inputs, names, ids, rate=sound.sample_rate, seed=seed, epoch=epoch)
        spectrum = data.spec.preprocess.log_mel
        return changed if spectrum is None else spectra_of(spectrum, changed)
    field = data.spec.inputs[0].name
    return {**batch.inputs, field: augment_images(batch.inputs[field], names, ids, seed=seed, epoch=epoch)}
