"""Data from a person's own torch data set or loader, respected as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Subset

from netwright.data.batches import undisturbed
from netwright.data.dataset import Data
from netwright.data.facts import choose_splits, digest, find_classes, split_specs
from netwright.data.sources import DatasetSource, LoaderSource, as_tensor, seeded, unpack
from netwright.errors import DataError
from netwright.preprocess import Preprocess
from netwright.records import Choice, DataSpec, FieldSpec, LoadOptions

AS_IT_IS = Choice(name="preprocess", value="none of ours", reason="a person's own data set prepares its items itself")
LOOKED_AT = 16  # items that are read to see whether their targets are those of `dataset.targets`


def load_dataset(source: Any, options: LoadOptions, *, val: Any = None, test: Any = None) -> Data:
    """Data from a torch ``Dataset`` of ``(x, y)``, ``(x1, x2, y)`` or mappings.

    Whole-number targets are classes, real numbers values to regress on. Splits that are not given are split off.

    Raises:
        DataError: An item is none of these, or a target is no class.
    """
    given = {name: one for name, one in (("train", source), ("val", val), ("test", test)) if one is not None}
    targets = {name: _all_targets(one) for name, one in given.items()}
    fields, first = _first(source)
    targets, classes, choices = _classes(targets)
    parts, split_choices = choose_splits(
        targets["train"], options, classes=classes, has_val=val is not None, has_test=test is not None
    )
    sources = {name: DatasetSource(one, targets[name], fields, name) for name, one in given.items()}
    if len(parts) > 1:
        for name, where in parts.items():
            subset = Subset(source, where.tolist())
            sources[name] = DatasetSource(subset, targets["train"][where], fields, name)
        sources["train"] = DatasetSource(
            Subset(source, parts["train"].tolist()), targets["train"][parts["train"]], fields, "train"
        )
    spec = _spec(
        "python:dataset", type(source).__name__, first, {name: one.targets for name, one in sources.items()}, classes,
        (AS_IT_IS, *choices, *split_choices), options,
    )  # fmt: skip
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def load_loader(source: DataLoader[Any], options: LoadOptions, *, val: Any = None, test: Any = None) -> Data:
    """Data from a ``DataLoader``: its sampler, collate function, generator and batch size are the run's.

    Raises:
        DataError: It has no length, or its batches are not ``(x, y)`` or mappings.
    """
    loaders = {name: one for name, one in (("train", source), ("val", val), ("test", test)) if one is not None}
    for name, loader in loaders.items():
        if not isinstance(loader, DataLoader) or isinstance(loader.dataset, torch.utils.data.IterableDataset):
            raise DataError(
                where=f"{name} loader",
                expected="a DataLoader over a data set with a length",
                got=type(getattr(loader, "dataset", loader)).__name__,
                cure="Use a map-style Dataset, with __len__ and __getitem__.",
            )
    targets = {name: _all_targets(loader.dataset) for name, loader in loaders.items()}
    fields, first = _first(source.dataset)
    targets, classes, choices = _classes(targets)
    sources = {name: LoaderSource(loader, targets[name], fields, name) for name, loader in loaders.items()}
    own = Choice(
        name="batches", value=f"the loader's own, of {source.batch_size}", reason="a person's loader is used as it is"
    )
    spec = _spec("python:loader", "loader", first, targets, classes, (AS_IT_IS, own, *choices), options)
    return Data(spec, sources["train"], sources.get("val"), sources.get("test"))


def _all_targets(dataset: Any) -> NDArray[Any]:
    """Targets of all items: from an attribute where there is one, else by reading each item once."""
    size = len(dataset)
    if not size:
        raise DataError(
            where="the data set", expected="at least one item", got="none", cure="Give a data set with items."
        )

    def read(indices: Iterable[int]) -> NDArray[Any]:
        found = []
        for index in indices:
            seeded(0)
            found.append(unpack(dataset[index], ())[1].detach().cpu().numpy())
        shapes = sorted({value.shape for value in found})
        if len(shapes) > 1:
            raise DataError(
                where="targets of the data set",
                expected="one shape",
                got=", ".join(map(str, shapes[:4])),
                cure="Pad them to one shape in __getitem__.",
            )
        return np.stack(found)

    some = np.unique(np.linspace(0, size - 1, LOOKED_AT).astype(int)).tolist()
    held_ones = (getattr(dataset, "targets", None), (getattr(dataset, "tensors", None) or [None])[-1])
    for value in held_ones if getattr(dataset, "target_transform", None) is None else ():
        if value is not None and hasattr(value, "__len__") and len(value) == size:
            with contextlib.suppress(TypeError, ValueError):  # no one array; an item that cannot be read is told below
                held = np.asarray(value)
                if np.array_equal(held[some], undisturbed(partial(read, some))):  # items may change them yet
                    return held
    return np.asarray(undisturbed(partial(read, range(size))))


def _first(dataset: Any) -> tuple[tuple[str, ...], dict[str, torch.Tensor]]:
    """Names of the inputs, and the first item's."""

    def read() -> Any:
        seeded(0)  # an item that draws would give another digest each time
        return dataset[0]

    item = undisturbed(read)
    if isinstance(item, dict):
        inputs, _ = unpack(item, ())
        return tuple(inputs), inputs
    if isinstance(item, tuple | list) and len(item) == 2:
        name = "image" if as_tensor(item[0]).ndim == 3 else "inputs"
        return (name,), unpack(item, (name,))[0]
    inputs, _ = unpack(item, ())
    return tuple(inputs), inputs


def _classes(
    targets: dict[str, NDArray[Any]],
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...] | None, tuple[Choice, ...]]:
    """Classes of whole-number targets. A person's own data set hands out its own numbers: they must be from 0."""
    if targets["train"].dtype.kind == "f":
        return {name: value.astype(np.float32) for name, value in targets.items()}, None, ()
    codes, classes, choice = find_classes(np.concatenate(list(targets.values())))
    if choice is not None:
        raise DataError(
            where="targets of the data set",
            expected="classes as whole numbers 0, 1, 2 …",
            got=choice.reason,
            cure="Number the classes from 0 in __getitem__.",
        )
    lengths = [len(value) for value in targets.values()]
    return dict(zip(targets, np.split(codes, np.cumsum(lengths)[:-1]), strict=True)), classes, ()


def _spec(
    source: str,
    name: str,
    first: dict[str, torch.Tensor],
    targets: dict[str, NDArray[Any]],
    classes: tuple[str, ...] | None,
    choices: tuple[Choice, ...],
    options: LoadOptions,
) -> DataSpec:
    task = "classification" if classes is not None else "regression"
    items = [(f"first/{field}", value.detach().cpu().numpy()) for field, value in first.items()]
    image = len(first) == 1 and next(iter(first.values())).ndim == 3
    return DataSpec(
        name=name,
        source=source,
        kind="image" if image else "tensor",
        task=task,
        inputs=tuple(
            FieldSpec(name=field, shape=tuple(value.shape), dtype=str(value.dtype).removeprefix("torch."))
            for field, value in first.items()
        ),
        target=FieldSpec(
            name="label" if classes is not None else "target",
            shape=targets["train"].shape[1:],
            dtype="int64" if classes is not None else "float32",
        ),
        classes=classes,
        splits=split_specs(targets, classes),
        preprocess=Preprocess(),
        options=options,
        choices=choices,
        digest=digest([*((f"{split}/y", value) for split, value in targets.items()), *items]),
    )
