"""The same weights, bit for bit: as the hand-written loop, run after run, and at any worker count."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import netwright as nw
from netwright.checkpoints import digest_of
from netwright.data.batches import train_batches
from netwright.progress import Silent

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples" / "tutorial"))
import loop  # noqa: E402 - the example beside the network
from net import Net  # noqa: E402

ORIGINAL = {
    "loss": "CrossEntropyLoss",
    "optimizer": "SGD",
    "optimizer_args": {"momentum": 0.9},
    "lr": 0.001,
    "schedule": "constant",
    "batch_size": 64,
    "plan": "eager",
    "keep": "last",
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """One thread count for both sides: sums are then made in one order."""
    torch.set_num_threads(1)


class Order:
    """netwright's order of samples, as batches for the hand-written loop."""

    def __init__(self, data: object, batch_size: int) -> None:
        self.data, self.batch_size, self.epoch = data, batch_size, 0

    def __len__(self) -> int:
        return -(-len(self.data.train) // self.batch_size)

    def __iter__(self):
        for batch in train_batches(
            self.data, batch_size=self.batch_size, seed=0, epoch=self.epoch, augment=(), workers=0
        ):
            (inputs,) = batch.inputs.values()
            yield inputs, batch.targets
        self.epoch += 1


def small_net() -> nn.Module:
    """A network with all that draws random numbers or keeps state: dropout and batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, 10)
    )


def small_digits() -> object:
    return nw.load("digits")


def test_plain_plan_ends_with_the_weights_of_the_hand_written_loop(tmp_path: Path) -> None:
    """The tutorial network in its original recipe, with netwright's order of samples in both."""
    data = nw.load("digits", options=nw.LoadOptions(image_size=(28, 28)))
    torch.manual_seed(0)
    by_hand = loop.train(Net(), Order(data, 64), epochs=1)
    torch.manual_seed(0)
    net = Net()
    nw.train(net, data, run=tmp_path / "run", epochs=1, progress=Silent(), report=False, **ORIGINAL)
    assert digest_of(net.state_dict()) == digest_of(by_hand.state_dict())


def test_the_persons_own_loader_gives_the_weights_of_the_hand_written_loop(tmp_path: Path) -> None:
    """A DataLoader that shuffles by its generator is drawn from exactly as a plain loop draws from it."""
    generator = torch.Generator().manual_seed(5)
    images, labels = torch.randn(200, 1, 8, 8, generator=generator), torch.randint(0, 10, (200,), generator=generator)

    def loader() -> DataLoader:
        return DataLoader(
            TensorDataset(images, labels), batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(1)
        )

    torch.manual_seed(0)
    by_hand = loop.train(small_net(), loader(), epochs=3)
    torch.manual_seed(0)
    net = small_net()
    options = {name: value for name, value in ORIGINAL.items() if name != "batch_size"}
    nw.train(net, loader(), run=tmp_path / "run", epochs=3, progress=Silent(), report=False, **options)
    assert digest_of(net.state_dict()) == digest_of(by_hand.state_dict())


def trained_digest(folder: Path, data: object, **options: object) -> str:
    torch.manual_seed(3)
    net = small_net()
    nw.train(net, data, run=folder, epochs=2, progress=Silent(), report=False, **options)
    return digest_of(net.state_dict())


def test_the_same_seed_gives_the_same_weights_twice(tmp_path: Path) -> None:
    """Two runs with one seed end alike, augmentation on; another seed ends otherwise."""
    data = small_digits()
    first = trained_digest(tmp_path / "a", data, seed=1)
    assert trained_digest(tmp_path / "b", data, seed=1) == first
    assert trained_digest(tmp_path / "c", data, seed=2) != first


class Noisy(Dataset):
    """A person's data set that draws from all three global generators for each item."""

    def __init__(self, size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(size, 1, 8, 8, generator=generator)
        self.labels = torch.randint(0, 10, (size,), generator=generator)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        noise = torch.randn(1, 8, 8) + float(np.random.rand())
        return self.images[index] + 0.1 * noise, int(self.labels[index])


def test_the_number_of_workers_changes_no_bit(tmp_path: Path) -> None:
    """0, 2 and 4 workers end with the same weights, though each item draws random numbers."""
    data = nw.load(Noisy(96))
    digests = {trained_digest(tmp_path / str(n), data, workers=n, batch_size=16) for n in (0, 2, 4)}
    assert len(digests) == 1


def plain_net() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_accumulated_micro_batches_equal_the_whole_batch(tmp_path: Path, weights: str) -> None:
    """A batch of 64 and 4 x 16 end with weights equal to 1e-5, class weights and the uneven last batch included."""
    data = small_digits()
    ends = []
    for parts in (1, 4):
        net = plain_net()
        nw.train(
            net, data, run=tmp_path / str(parts), epochs=2, batch_size=64, gradient_accumulation_steps=parts,
            class_weights=weights, progress=Silent(), report=False, keep="last",
        )  # fmt: skip
        ends.append(net.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=1e-5, atol=1e-5)


def test_accumulation_counts_only_targets_that_are_not_ignored() -> None:
    """Micro-batches with very different numbers of ignored targets still add up to the whole batch's gradient."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(64, 64, generator=generator), torch.randint(0, 10, (64,), generator=generator)
    targets[5:40] = -100
    gradients = []
    for parts in (1, 4):
        net = plain_net()
        loader = DataLoader(TensorDataset(inputs, targets), batch_size=64)
        for _ in nw.training_steps(
            net, loader, epochs=1, optimizer="SGD", lr=1.0, schedule="constant", gradient_accumulation_steps=parts
        ):
            gradients.append([parameter.grad.clone() for parameter in net.parameters()])
    for whole, parts_sum in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts_sum, rtol=1e-5, atol=1e-6)
