"""Batches do not depend on workers, and leave the random generators of the module alone."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

import netwright.data as nd
from netwright.batch import Batch
from netwright.data import pictures
from netwright.data.batches import eval_batches, steps_per_epoch, train_batches
from netwright.data.dataset import Data
from netwright.errors import UsageError
from netwright.records import LoadOptions

WHOLE = LoadOptions(val_fraction=0, test_fraction=0)


class Noisy(Dataset[Any]):
    """Draws from all three generators, as a person's own transforms do."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return torch.tensor([index, *drawn]), index % 2


def train(data: Data, **options: Any) -> list[Batch]:
    return list(train_batches(data, **{"batch_size": 8, "seed": 0, "epoch": 0, "augment": (), "workers": 0, **options}))


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one.sample_ids, other.sample_ids)
        and one.targets is not None
        and other.targets is not None
        and torch.equal(one.targets, other.targets)
        and one.inputs.keys() == other.inputs.keys()
        and all(torch.equal(value, other.inputs[name]) for name, value in one.inputs.items())
        for one, other in zip(first, second, strict=True)
    )


def states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), pickle.dumps(np.random.get_state()), random.getstate()


@pytest.fixture(scope="module")
def noisy() -> Data:
    return nd.load(Noisy(), options=WHOLE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folder")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for index in range(15):
            Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(root / name / f"{index:02}.png")
    return root


@pytest.fixture
def on_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """The folder, read item by item as one that is too large for the memory."""
    monkeypatch.setattr(pictures, "MEMORY_LIMIT_BYTES", 0)
    return nd.load(folder, options=WHOLE)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_change_nothing_of_a_dataset_that_draws(noisy: Data, workers: int) -> None:
    """A data set that draws from random, numpy.random and torch gives the same batches with any number of workers."""
    assert same(train(noisy), train(noisy, workers=workers))


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_change_nothing_of_files(folder: Path, on_disk: Data, workers: int) -> None:
    """Images decoded by workers, in process, or held in memory are the same batches, augmented or not."""
    memory = nd.load(folder, options=WHOLE)
    options: dict[str, Any] = {"augment": ("shift", "flip"), "epoch": 3}
    assert same(train(memory, **options), train(on_disk, **options))
    assert same(train(memory, **options), train(on_disk, workers=workers, **options))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_modules_generators_are_left_alone(noisy: Data, on_disk: Data, workers: int) -> None:
    """Reading batches, for training or not, moves no global generator, so dropout draws what it would have drawn."""
    before = states()
    for data in (noisy, on_disk):
        for batch in train_batches(data, batch_size=8, seed=0, epoch=0, augment=(), workers=workers):
            assert len(batch)
            assert states() == before
        list(eval_batches(data, "train", batch_size=8, workers=workers))
    assert states() == before


def test_the_modules_draws_do_not_reach_the_data(noisy: Data) -> None:
    """Whatever the module draws between batches, the data stay the same."""
    plain = train(noisy)
    drawn = []
    for batch in train_batches(noisy, batch_size=8, seed=0, epoch=0, augment=(), workers=0):
        drawn.append(batch)
        torch.rand(7)
        np.random.rand(5)
        random.random()
    assert same(plain, drawn)


def test_items_are_drawn_anew_each_epoch(noisy: Data) -> None:
    """The same sample gets other numbers in the next epoch and under another seed."""

    def drawn(**options: int) -> list[float]:
        rows = torch.cat([batch.inputs["inputs"] for batch in train(noisy, **options)])
        return rows[rows[:, 0].argsort()][:, 1:].flatten().tolist()

    first = drawn()
    assert drawn() == first
    for other in (drawn(epoch=1), drawn(seed=1)):
        assert not set(first) & set(other)


@pytest.mark.parametrize("skip", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_skipping_gives_the_tail(noisy: Data, skip: int, workers: int) -> None:
    """Going on in the middle of an epoch gives the batches that were still to come; after the last there are none."""
    assert same(train(noisy)[skip:], train(noisy, skip=skip, workers=workers))


def test_skipped_items_are_not_read() -> None:
    """Passing over two batches reads the third alone."""
    read = []

    class Counted(Noisy):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            read.append(index)
            return super().__getitem__(index)

    data = nd.load(Counted(), options=WHOLE)
    read.clear()
    (batch,) = train(data, skip=2)
    assert read == batch.sample_ids.tolist()


def test_the_last_batch_is_kept() -> None:
    """23 samples in batches of 8: 8, 8 and 7, each sample once."""
    data = nd.load((np.arange(46.0).reshape(23, 2), np.arange(23) % 2), options=WHOLE)
    batches = train(data)
    assert [len(batch) for batch in batches] == [8, 8, 7]
    assert steps_per_epoch(data, 8) == 3
    assert steps_per_epoch(data, 23) == 1
    assert sorted(torch.cat([batch.sample_ids for batch in batches]).tolist()) == list(range(23))


def test_targets_and_inputs_belong_to_the_sample_id() -> None:
    """What is in row i is the sample that its id names."""
    inputs, targets = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32), np.arange(50) % 3
    data = nd.load((inputs, targets), options=WHOLE)
    stored = data.train.gather(np.arange(50))
    for batch in train(data):
        assert batch.targets is not None
        assert batch.targets.dtype == torch.int64
        assert torch.equal(batch.targets, stored[1][batch.sample_ids])
        mean, std = inputs.mean(0), inputs.std(0)
        expected = (inputs[batch.sample_ids.numpy()] - mean) / std
        assert torch.allclose(batch.inputs["inputs"], torch.from_numpy(expected), atol=1e-5)


def test_evaluation_is_in_order(noisy: Data) -> None:
    """Samples 0 to n - 1, whatever the batch size, and the same each time."""
    for batch_size in (1, 5, 23, 100):
        batches = list(eval_batches(noisy, "train", batch_size=batch_size, workers=0))
        assert torch.cat([batch.sample_ids for batch in batches]).tolist() == list(range(23))
        values = torch.cat([batch.inputs["inputs"] for batch in batches])
        assert values[:, 0].tolist() == list(range(23))
    again = list(eval_batches(noisy, "train", batch_size=100, workers=2))
    assert same(batches, again)


def test_a_split_that_is_not_there_is_named(noisy: Data) -> None:
    """Asking for the test split of data without one lists those there are."""
    with pytest.raises(UsageError, match="one of train"):
        list(eval_batches(noisy, "test", batch_size=8, workers=0))


def test_a_loaders_own_order_is_kept() -> None:
    """A person's loader with its sampler, batch size and generator is used as it is, and skipping draws and drops."""

    class Plain(Noisy):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.tensor([float(index)]), index % 2

    def loader() -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(5)
        sampler = WeightedRandomSampler([1.0] * 22 + [50.0], 20, generator=generator)
        return DataLoader(Plain(), batch_size=6, sampler=sampler)

    data = nd.load(loader())
    assert steps_per_epoch(data, 999) == 4
    expected = [inputs for inputs, _ in loader()]
    found = [batch.inputs["inputs"] for batch in train(nd.load(loader()))]
    assert [len(batch) for batch in found] == [6, 6, 6, 2]
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    tail = [batch.inputs["inputs"] for batch in train(nd.load(loader()), skip=3)]
    assert len(tail) == 1
    assert torch.equal(tail[0], expected[3])


def test_regression_targets_are_floats() -> None:
    """Real targets stay real numbers, float32."""
    data = nd.load((np.zeros((10, 2)), np.linspace(0, 1, 10)), options=WHOLE)
    (batch,) = train(data, batch_size=10)
    assert batch.targets is not None
    assert batch.targets.dtype == torch.float32
