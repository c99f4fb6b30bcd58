"""Augmentations keep shape and dtype, and depend on seed, epoch and sample alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import netwright.data as nd
from netwright.data.augment import AUGMENTATIONS, augment
from netwright.data.batches import eval_batches, train_batches
from netwright.errors import UnknownNameError

NAMES = tuple(AUGMENTATIONS)


def pictures(count: int, channels: int = 1, height: int = 28, width: int = 28) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (3, 3, 32, 20), (2, 4, 1, 1), (1, 3, 7, 3)])
def test_shape_and_dtype_stay(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Any size, down to one pixel, comes back in its shape, dtype and range; the given batch is not written to."""
    images = pictures(*shape).to(dtype)
    before = images.clone()
    result = augment(images, (name,), np.arange(len(images)), seed=0, epoch=0)
    assert (result.shape, result.dtype) == (images.shape, dtype)
    assert result.min() >= before.min() and result.max() <= before.max()
    assert torch.equal(images, before)


@settings(max_examples=20, deadline=None)
@given(
    ids=st.lists(st.integers(0, 10_000), min_size=2, max_size=12),
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True),
    epoch=st.integers(0, 100),
)
def test_a_sample_does_not_depend_on_its_batch(ids: list[int], names: list[str], epoch: int) -> None:
    """Each sample comes out alone as it does among others, bit for bit."""
    images = pictures(len(ids), channels=3, height=12, width=10)
    together = augment(images, tuple(names), np.asarray(ids), seed=3, epoch=epoch)
    for index, sample_id in enumerate(ids):
        alone = augment(images[index : index + 1], tuple(names), np.asarray([sample_id]), seed=3, epoch=epoch)
        assert torch.equal(alone[0], together[index])


@pytest.mark.parametrize("name", NAMES)
def test_epochs_and_seeds_differ(name: str) -> None:
    """The same samples come out otherwise in the next epoch, and under another seed; the same twice under the same."""
    images = pictures(32)
    ids = np.arange(32)
    first = augment(images, (name,), ids, seed=0, epoch=0)
    assert torch.equal(first, augment(images, (name,), ids, seed=0, epoch=0))
    assert not torch.equal(first, augment(images, (name,), ids, seed=0, epoch=1))
    assert not torch.equal(first, augment(images, (name,), ids, seed=1, epoch=0))


def test_half_of_the_images_are_flipped() -> None:
    """Each image is itself or its mirror image; half are mirrored, to four deviations of a fair coin."""
    images = pictures(4000, height=4, width=6)
    result = augment(images, ("flip",), np.arange(4000), seed=0, epoch=0)
    same = (result == images).flatten(1).all(1)
    mirrored = (result == images.flip(-1)).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    assert abs(int(mirrored.sum()) - 2000) < 4 * np.sqrt(4000) / 2


@pytest.mark.parametrize(("name", "size", "reach"), [("shift", 28, 2), ("crop", 32, 4), ("shift", 8, 1)])
def test_moves_stay_within_bounds_and_reach_all_of_them(name: str, size: int, reach: int) -> None:
    """A bright pixel in the middle comes to each place within reach, to no other, and never vanishes."""
    images = torch.zeros(3000, 1, size, size, dtype=torch.uint8)
    middle = size // 2
    images[:, :, middle, middle] = 255
    result = augment(images, (name,), np.arange(3000), seed=0, epoch=0)
    places = (result[:, 0] == 255).nonzero()
    assert len(places) == 3000
    moves = {(int(row) - middle, int(column) - middle) for _, row, column in places}
    span = range(-reach, reach + 1)
    assert moves == {(row, column) for row in span for column in span}


def test_what_comes_in_repeats_the_edge() -> None:
    """An image of equal rows, each of one brightness, holds no new values after a shift."""
    rows = torch.arange(28, dtype=torch.uint8)[:, None].expand(28, 28)
    result = augment(rows[None, None].repeat(50, 1, 1, 1), ("shift",), np.arange(50), seed=0, epoch=0)
    steps = result[:, 0, 1:, 0].int() - result[:, 0, :-1, 0].int()
    assert set(steps.flatten().tolist()) == {0, 1}


def test_a_turn_moves_no_pixel_further_than_twelve_degrees() -> None:
    """A bright spot near the edge stays within the arc of 12 degrees, and the middle stays where it is."""
    images = torch.zeros(500, 1, 41, 41)
    images[:, :, 20, 20] = 1
    images[:, :, 20, 36] = 1  # 16 pixels right of the middle
    result = augment(images, ("rotate",), np.arange(500), seed=0, epoch=0)
    assert torch.allclose(result[:, 0, 20, 20], torch.ones(500), atol=1e-4)
    column = result[:, 0, :, 33:39].sum(2)
    angles = torch.rad2deg(torch.asin((column * (torch.arange(41) - 20)).sum(1) / column.sum(1) / 16))
    assert 10 < angles.abs().max() < 12.5
    assert abs(float(angles.mean())) < 4 * 7 / np.sqrt(500)  # deviation of a uniform angle in ±12 is 7


def test_a_quarter_is_cut_out() -> None:
    """At most a square of a quarter of each side is covered, with the image's own mean."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((300, 2, 32, 32), generator=generator)
    result = augment(images, ("cutout",), np.arange(300), seed=0, epoch=0)
    changed = (result != images).any(1).flatten(1).sum(1)
    assert int(changed.max()) == 64
    assert int(changed.min()) >= 16  # a quarter of the square where its middle lies in a corner
    first = (result[0] != images[0]).any(0)
    assert torch.allclose(result[0][:, first], images[0].mean((1, 2))[:, None], atol=1e-6)


def test_only_training_is_augmented() -> None:
    """Evaluation gives the stored images, preprocessed and nothing else; training with augmentation does not."""
    rng = np.random.default_rng(0)
    data = nd.load((rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), np.arange(60) % 2))
    plain = [batch.inputs["image"] for batch in eval_batches(data, "train", batch_size=16, workers=0)]
    again = [batch.inputs["image"] for batch in eval_batches(data, "train", batch_size=16, workers=0)]
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))
    stored = torch.cat(plain)
    loops = {
        names: list(train_batches(data, batch_size=16, seed=0, epoch=0, augment=names, workers=0))
        for names in ((), NAMES)
    }
    for names, batches in loops.items():
        same = all(torch.equal(batch.inputs["image"], stored[batch.sample_ids]) for batch in batches)
        assert same is (names == ())


def test_a_misspelt_name_gets_the_nearest() -> None:
    """An unknown augmentation is refused with the known ones."""
    with pytest.raises(UnknownNameError, match='Did you mean "flip"'):
        augment(pictures(1), ("flipp",), np.arange(1), seed=0, epoch=0)
