"""Where samples come from: tensors in memory, items read one by one, or a person's own loader."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from netwright import preprocess
from netwright.data.decoded import Decoded
from netwright.data.order import item_seed
from netwright.data.picture_kernels import kernels_among
from netwright.data.tensor_rows import tensor_rows
from netwright.data.threads import cores, in_threads
from netwright.errors import DataError, NetwrightError
from netwright.preprocess import Preprocess
from netwright.records import Choice, Unreadable

Targets = Tensor | dict[str, Tensor]  # a dict where there are several answers
TARGET_KEYS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True, slots=True)
class RawSplit:
    """What a reader found for one split: pixels, or paths to decode.

    Attributes:
        images: uint8 (N, C, H, W), or None where ``paths`` are to be decoded.
        targets: int64 (N,).
        names: What to call each sample.
    """

    images: NDArray[np.uint8] | None
    paths: tuple[Path, ...] | None
    targets: NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RawData:
    """What a reader found. ``val`` and ``test`` are None where they are still to be split off."""

    name: str
    source: str
    classes: tuple[str, ...]
    train: RawSplit
    val: RawSplit | None = None
    test: RawSplit | None = None
    mode: Literal["L", "RGB"] = "RGB"
    size: tuple[int, int] | None = None
    choices: tuple[Choice, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    groups: tuple[str, ...] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """Samples of one split."""

    def __len__(self) -> int:
        """Number of samples."""

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Targets]:
        """Inputs by name and targets, as stored, for the samples at ``indices``."""

    def name(self, index: int) -> str:
        """What to call a sample."""

    @property
    def targets(self) -> NDArray[Any]:
        """All targets, (N, ...); where samples have several positions, those of all of them, (M, ...)."""

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """Length of each sample, int64 (N,), by which batches are made; None where all are alike."""


@dataclass(frozen=True, slots=True)
class TensorSource:
    """Samples that lie in memory; several answers have their targets by name."""

    inputs: dict[str, Tensor]
    all_targets: Targets
    names: Sequence[str] | None = None
    split: str = "train"

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Targets]:
        """One gather a field."""
        where = torch.from_numpy(indices)
        inputs = {name: value.index_select(0, where) for name, value in self.inputs.items()}
        return inputs, at(self.all_targets, where)

    def name(self, index: int) -> str:
        """Its file, or its place in the split."""
        return self.names[index] if self.names is not None else f"{self.split}[{index}]"

    @property
    def targets(self) -> NDArray[Any]:
        """All targets; of several answers those of the first."""
        return first_of(self.all_targets)

    @property
    def lengths(self) -> None:
        """All samples have one shape, or a collate function of their own."""
        return None


def at(targets: Targets, where: Tensor) -> Targets:
    """Some of the targets, those of each answer."""
    if isinstance(targets, dict):
        return {name: value.index_select(0, where) for name, value in targets.items()}
    return targets.index_select(0, where)


def first_of(targets: Targets) -> NDArray[Any]:
    """The targets; of several answers those of the first."""
    return (next(iter(targets.values())) if isinstance(targets, dict) else targets).numpy()


@dataclass(frozen=True, slots=True)
class PathSource:
    """Images too many for memory, decoded when they are asked for, or once into the cache.

    Attributes:
        decoded: The cache; None where there is none.
        rows: Place of each image in it, int64 (N,).
    """

    paths: tuple[Path, ...]
    all_targets: Tensor
    names: tuple[str, ...]
    preprocess: Preprocess
    field: str = "image"
    decoded: Decoded | None = None
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def item(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        """One decoded sample, without a batch dimension."""
        return {self.field: torch.from_numpy(self._pixels(index))}, self.all_targets[index]

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        if self.decoded is not None and self.rows is not None:
            found = self.decoded.picture(int(self.rows[index]))
            if found is not None:
                return found
        return preprocess.decode(self.preprocess, self.paths[index], kernels_among(len(self.paths)).resize)

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
        """Decode each and stack them."""
        if self.decoded is None:
            return stack(in_threads(self.item, indices.tolist(), cores()))
        images = np.empty((len(indices), *self.decoded.pixels.shape[1:]), dtype=np.uint8)
        for row, index in zip(images, indices.tolist(), strict=True):
            row[:] = self._pixels(index)
        return {self.field: torch.from_numpy(images)}, self.all_targets.index_select(0, torch.from_numpy(indices))

    def take(self, where: NDArray[np.int64]) -> PathSource:
        """Some of them."""
        return replace(
            self,
            paths=tuple(self.paths[index] for index in where),
            all_targets=self.all_targets[torch.from_numpy(where)],
            names=tuple(self.names[index] for index in where),
            rows=None if self.rows is None else self.rows[where],
        )

    def name(self, index: int) -> str:
        """Its file."""
        return self.names[index]

    @property
    def targets(self) -> NDArray[Any]:
        """All targets."""
        return self.all_targets.numpy()

    @property
    def lengths(self) -> None:
        """All samples have one shape, or a collate function of their own."""
        return None


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """A person's own torch data set, read item by item, as it is."""

    dataset: Any  # any object with __len__ and __getitem__
    all_targets: NDArray[Any]
    fields: tuple[str, ...]
    split: str = "train"

    def __len__(self) -> int:
        return len(self.all_targets)

    def item(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        """One sample, as tensors without a batch dimension."""
        return unpack(self.dataset[index], self.fields)

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
        """Read each and stack them."""
        rows = tensor_rows(self.dataset, indices)
        return unpack(rows, self.fields) if rows else stack([self.item(int(index)) for index in indices])

    def name(self, index: int) -> str:
        """Its place in the split."""
        return f"{self.split}[{index}]"

    @property
    def targets(self) -> NDArray[Any]:
        """All targets, as they were when the data were loaded."""
        return self.all_targets

    @property
    def lengths(self) -> None:
        """All samples have one shape, or a collate function of their own."""
        return None


@dataclass(frozen=True, slots=True)
class LoaderSource:
    """A person's own loader, respected as it is: sampler, collate function, generator, batch size."""

    loader: DataLoader[Any]
    all_targets: NDArray[Any]
    fields: tuple[str, ...]
    split: str = "train"

    def __len__(self) -> int:
        return len(self.all_targets)

    def batches(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """One pass, in the loader's own order."""
        yield from self._pass(self.loader)

    def in_order(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Each item once, in the data set's own order, through the loader's collate function.

        For evaluation: a sample then has one number, whatever the loader's sampler does; no generator is drawn from.
        """
        plain: DataLoader[Any] = DataLoader(
            self.loader.dataset,
            batch_size=self.loader.batch_size or 64,
            collate_fn=self.loader.collate_fn,
            num_workers=self.loader.num_workers,
            generator=torch.Generator(),
        )
        yield from self._pass(plain)

    def _pass(self, loader: DataLoader[Any]) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        try:
            for item in loader:
                yield unpack(item, self.fields)
        except (TypeError, AttributeError, KeyError, RuntimeError) as error:
            if loader.collate_fn is default_collate and "DataLoader worker (pid" not in str(error):  # not a killed one
                first = unpack(loader.dataset[0], self.fields)
                for index in range(len(self)):  # torch does not say which item it could not collate: these do
                    stack([first, unpack(loader.dataset[index], self.fields)])
            raise

    def generators(self) -> list[torch.Generator]:
        """The random generators that belong to the loader."""
        samplers = (self.loader.sampler, self.loader.batch_sampler, getattr(self.loader.batch_sampler, "sampler", None))
        held = (self.loader.generator, *(getattr(sampler, "generator", None) for sampler in samplers))
        return list({id(one): one for one in held if one is not None}.values())

    def gather(self, indices: NDArray[np.int64]) -> tuple[dict[str, Tensor], Tensor]:
        """Samples by their place in the loader's data set, for looking at; the loader's order is not used."""
        pairs = [unpack(self.loader.dataset[int(index)], self.fields) for index in indices]
        return stack(pairs)

    def name(self, index: int) -> str:
        """Its place in the split."""
        return f"{self.split}[{index}]"

    @property
    def targets(self) -> NDArray[Any]:
        """All targets, as they were when the data were loaded."""
        return self.all_targets

    @property
    def lengths(self) -> None:
        """All samples have one shape, or a collate function of their own."""
        return None


@dataclass(frozen=True, slots=True)
class SeededItems:
    """Items for worker processes: each is read with random generators seeded by its own index."""

    source: PathSource | DatasetSource
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor] | NetwrightError:
        seeded(item_seed(self.seed, self.epoch, index))
        try:
            return self.source.item(index)
        except NetwrightError as error:  # a worker process would make another error of it
            return error


def seeded(seed: int) -> None:
    """Seed all three global generators, for one item; not CUDA's, which belong to the module."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed also writes down a traceback: 0.2 ms
    np.random.seed(seed)
    random.seed(seed)


def stack_or_error(
    items: Iterable[tuple[dict[str, Tensor], Tensor] | NetwrightError],
) -> tuple[dict[str, Tensor], Tensor] | NetwrightError:
    """As ``stack``, but an error is returned, to be raised where it is seen."""
    good = []
    for item in items:
        if isinstance(item, NetwrightError):
            return item
        good.append(item)
    try:
        return stack(good)
    except DataError as error:
        return error


def stack(items: Iterable[tuple[dict[str, Tensor], Tensor]]) -> tuple[dict[str, Tensor], Tensor]:
    """Single samples as a batch.

    Raises:
        DataError: They have different shapes or fields.
    """
    pairs = list(items)
    try:
        inputs = {name: torch.stack([pair[0][name] for pair in pairs]) for name in pairs[0][0]}
        return inputs, torch.stack([pair[1] for pair in pairs])
    except (RuntimeError, KeyError) as error:
        forms = [{**pair[0], "target": pair[1]} for pair in pairs]
        shapes = sorted({", ".join(f"{name} {tuple(value.shape)}" for name, value in form.items()) for form in forms})
        raise DataError(
            where="a batch",
            expected="samples of one shape, with the same fields",
            got="; ".join(shapes[:4]),
            cure="Resize or pad them in the data set, or give a DataLoader with a collate function.",
        ) from error


def unpack(item: Any, fields: tuple[str, ...]) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs by name and the target, from (x, y), (x1, x2, y) or a mapping with a key for the target.

    Raises:
        DataError: It is none of these.
    """
    if isinstance(item, dict):
        key = next((key for key in TARGET_KEYS if key in item), None)
        if key is not None:
            inputs = {name: _field(name, value) for name, value in item.items() if name != key}
            return inputs, _field(key, item[key])
    elif isinstance(item, tuple | list) and len(item) >= 2:
        names = fields if len(fields) == len(item) - 1 else tuple(f"input_{i}" for i in range(len(item) - 1))
        return {name: _field(name, value) for name, value in zip(names, item, strict=False)}, _field("y", item[-1])
    found = f"keys {', '.join(map(str, item))}" if isinstance(item, dict) else type(item).__name__
    raise DataError(
        where="the data set",
        expected=f"(inputs, target), or a mapping with one of {', '.join(TARGET_KEYS)}",
        got=found,
        cure="Return (x, y) from __getitem__, or from the collate function.",
    )


def _field(name: str, value: Any) -> Tensor:
    try:
        return as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            where=f"`{name}` in an item of the data set",
            expected="a number, an array or a tensor",
            got=f"{type(value).__name__} {str(value)[:40]!r}",
            cure="Leave it out of what __getitem__ returns, or turn it into numbers there.",
        ) from error


def as_tensor(value: Any) -> Tensor:
    """A value as a tensor; Python floats and float64 arrays as float32, as modules have their weights."""
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
    return tensor.float() if tensor.dtype == torch.float64 and not isinstance(value, Tensor) else tensor
