"""Rows gathered many batches at a time are the batches that gathering each by itself gives, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

import netwright.data as nd
from netwright.batch import Batch
from netwright.data import chunks, tensors
from netwright.data.batches import eval_batches, train_batches
from netwright.data.dataset import Data
from netwright.data.order import permutation
from netwright.data.streams import StreamSource
from netwright.data.tensor_rows import tensor_rows
from netwright.records import LoadOptions

WHOLE = LoadOptions(val_fraction=0, test_fraction=0)
RNG = np.random.default_rng(0)
ROWS = 203


def columns(_: Path) -> Data:
    return nd.load((RNG.normal(size=(ROWS, 5)), RNG.integers(0, 3, ROWS)), options=WHOLE)


def pictures(_: Path) -> Data:
    pixels = RNG.integers(0, 256, (ROWS, 3, 5, 4), dtype=np.uint8)
    return nd.load((pixels, np.arange(ROWS) % 4), options=WHOLE)


def as_they_are(_: Path) -> Data:
    return nd.load((RNG.integers(0, 9, (ROWS, 3)).astype(np.uint8), RNG.normal(size=(ROWS, 2))), options=WHOLE)


def several(_: Path) -> Data:
    inputs = {"a": RNG.normal(size=(ROWS, 3)), "b": RNG.integers(0, 256, (ROWS, 1, 4, 4), dtype=np.uint8)}
    return nd.load((inputs, {"kind": np.arange(ROWS) % 3, "size": RNG.normal(size=ROWS)}), options=WHOLE)


def table(folder: Path) -> Data:
    lines = [f"{RNG.normal():.4f},{'red' if row % 3 else 'blue'},{row % 2}" for row in range(ROWS)]
    (folder / "t.csv").write_text("\n".join(["length,colour,label", *lines]))
    return nd.load(folder / "t.csv", options=WHOLE)


def series(folder: Path) -> Data:
    days = np.datetime64("2020-01-01") + np.arange(400)
    lines = [f"{day},{RNG.normal():.3f}" for day in days]
    (folder / "s.csv").write_text("\n".join(["day,value", *lines]))
    return nd.load(folder / "s.csv", task="forecasting", horizon=3, context=9)


def stream(folder: Path) -> Data:
    (folder / "s.txt").write_text("".join(RNG.choice(list("abcd \n"), 4_000)))
    return nd.load(folder / "s.txt", max_length=16)


def dataset(_: Path) -> Data:
    held = TensorDataset(torch.from_numpy(RNG.normal(size=(300, 4))), torch.arange(300) % 3)
    return nd.load(Subset(held, RNG.permutation(300)[:ROWS].tolist()), val_fraction=0.2)


KINDS = (dataset, columns, pictures, as_they_are, several, table, series, stream)


def one_by_one(data: Data, indices: list[np.ndarray[Any, Any]], *, training: bool) -> list[Batch]:
    """Each batch gathered and preprocessed by itself."""
    source = data.train
    if isinstance(source, StreamSource):
        source = source.at_epoch(7, 2) if training else source.once()
    found = []
    for part in indices:
        inputs, targets = source.gather(part)
        if not isinstance(targets, dict):
            targets = targets.long() if data.spec.target.dtype == "int64" else targets.float()
        found.append(Batch(tensors.apply_to(data.spec.preprocess, inputs), targets, torch.from_numpy(part)))
    return found


def by_name(values: Any) -> dict[str, Tensor]:
    return values if isinstance(values, dict) else {"": values}


def same(first: list[Batch], second: list[Batch]) -> bool:
    def equal(one: Tensor, other: Tensor) -> bool:
        return one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one, other)

    return len(first) == len(second) and all(
        torch.equal(one.sample_ids, other.sample_ids)
        and all(
            a.keys() == b.keys() and list(a) == list(b) and all(equal(a[name], b[name]) for name in a)
            for a, b in ((one.inputs, other.inputs), (by_name(one.targets), by_name(other.targets)))
        )
        for one, other in zip(first, second, strict=True)
    )


def cut(order: np.ndarray[Any, Any], size: int) -> list[np.ndarray[Any, Any]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def train(data: Data, size: int, **options: Any) -> list[Batch]:
    return list(train_batches(data, batch_size=size, seed=7, epoch=2, augment=(), workers=0, **options))


@pytest.mark.parametrize("size", [1, 7, 16, 64, 1000])
@pytest.mark.parametrize("make", KINDS)
def test_batches_are_those_gathered_alone(
    make: Callable[[Path], Data], size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, dtypes, strides, names and their order, in training and out of it, whatever fits into a chunk."""
    data = make(tmp_path)
    assert chunks.gathers_rows(data.train)
    order = permutation(len(data.train), seed=7, epoch=2)
    rest = cut(np.arange(len(data.train.once() if isinstance(data.train, StreamSource) else data.train)), size)
    for chunk in (0, 1 << 12, 1 << 18):
        monkeypatch.setattr(chunks, "CHUNK_BYTES", chunk)
        assert same(train(data, size), one_by_one(data, cut(order, size), training=True))
        assert same(train(data, size, skip=2), one_by_one(data, cut(order, size)[2:], training=True))
        found = list(eval_batches(data, "train", batch_size=size, workers=0))
        assert same(found, one_by_one(data, rest, training=False))


def test_rows_are_gathered_many_batches_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Or all of this would only be slower: 51 batches take two gathers, and none is larger than a chunk."""
    source, asked = columns(tmp_path).train, []

    def gather(indices: np.ndarray[Any, Any]) -> Any:
        asked.append(len(indices))
        return source.gather(indices)

    order = np.arange(ROWS)
    assert len(list(chunks.row_batches(gather, cut(order, 4)))) == 51
    assert len(asked) == 2
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 28 * 64)  # 20 bytes of inputs and 8 of targets a row
    asked.clear()
    assert len(list(chunks.row_batches(gather, cut(order, 16)))) == 13
    assert max(asked) == 64


@pytest.mark.parametrize("size", [3, 10, 64])
def test_batches_begin_where_tensors_of_their_own_would(size: int, tmp_path: Path) -> None:
    """At whole 64 bytes, so that no kernel may sum in another order than for a batch gathered alone."""
    for batch in train(columns(tmp_path), size):
        assert [value.data_ptr() % 64 for value in (*batch.inputs.values(), batch.target)] == [0, 0]


@pytest.mark.parametrize("make", [columns, as_they_are])
def test_a_module_may_change_its_input_in_place(make: Callable[[Path], Data], tmp_path: Path) -> None:
    """No other batch, epoch or evaluation sees it, and gradients through it are not linked with those of others."""
    data = make(tmp_path)
    before = train(data, 8)
    weight = torch.ones((), requires_grad=True)
    for one, other in zip(train(data, 8), train(data, 8), strict=True):
        (kept,), (changed,) = one.inputs.values(), other.inputs.values()
        saved = (kept * weight if kept.is_floating_point() else kept.float() * weight).sum()
        changed.add_(1)
        if changed.is_floating_point():
            assert changed.mul_(weight).grad_fn is not None
        saved.backward()
    for batch in eval_batches(data, "train", batch_size=8, workers=0):
        for value in batch.inputs.values():
            value.zero_()
    assert same(train(data, 8), before)


def test_a_batch_that_is_there_already_is_not_made_again(tmp_path: Path) -> None:
    """Asking for the device it is on gives itself; for another one, a batch that is there."""
    for make in (columns, several):
        batch = train(make(tmp_path), 8)[0]
        assert batch.to(torch.device("cpu")) is batch
        away = batch.to(torch.device("meta"))
        assert {value.device.type for value in (*away.inputs.values(), *by_name(away.targets).values())} == {"meta"}


class Doubled(TensorDataset):
    """Does more than a TensorDataset."""

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        inputs, target = super().__getitem__(index)
        return 2 * inputs, target


def test_a_data_set_of_tensors_is_gathered_as_its_items_are(tmp_path: Path) -> None:
    """Those of a subclass are read one by one: its items may be something else."""
    inputs, targets = torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 3
    for kind, factor in ((TensorDataset, 1), (Doubled, 2)):
        held = kind(inputs, targets)
        data = nd.load(held, options=WHOLE)
        assert chunks.gathers_rows(data.train) == (kind is TensorDataset)
        for batch in train(data, 7):
            items = [held[int(index)] for index in batch.sample_ids]
            assert torch.equal(batch.inputs["inputs"], torch.stack([one for one, _ in items]))
            assert torch.equal(batch.inputs["inputs"], factor * inputs[batch.sample_ids])
            assert torch.equal(batch.target, torch.stack([one for _, one in items]))
    gradients = TensorDataset(inputs.clone().requires_grad_(), targets)
    assert tensor_rows(gradients, np.arange(3)) is None
    assert tensor_rows(TensorDataset(targets), np.arange(3)) is None
