"""Data from arrays and tensors: task, fields, classes and statistics are worked out and told."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch

import netwright.data as nd
from netwright.data.batches import eval_batches
from netwright.data.dataset import Data
from netwright.errors import DataError
from netwright.preprocess import DecodeImage, Normalise, Scale
from netwright.records import LoadOptions

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3


def load(inputs: Any, targets: Any = LABELS, **options: Any) -> Data:
    return nd.load((inputs, targets), **options)


def everything(data: Data) -> torch.Tensor:
    """All training inputs as the model gets them."""
    return torch.cat([next(iter(b.inputs.values())) for b in eval_batches(data, "train", batch_size=7, workers=0)])


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((60, 8, 9), (1, 8, 9)),
        ((60, 1, 8, 9), (1, 8, 9)),
        ((60, 8, 9, 1), (1, 8, 9)),
        ((60, 3, 8, 9), (3, 8, 9)),
        ((60, 8, 9, 3), (3, 8, 9)),
        ((60, 8, 9, 4), (4, 8, 9)),
    ],
)
def test_pixels_become_images_with_channels_first(shape: tuple[int, ...], found: tuple[int, ...]) -> None:
    """uint8 arrays, grey or colour, channels first or last, are images called ``image``, scaled and normalised."""
    data = load(RNG.integers(0, 256, shape, dtype=np.uint8))
    assert data.spec.kind == "image"
    assert data.spec.task == "classification"
    (field,) = data.spec.inputs
    assert (field.name, field.shape, field.dtype) == ("image", found, "float32")
    assert [type(one) for one in data.spec.preprocess.tensor] == [Scale, Normalise]
    batch = everything(data)
    assert batch.dtype == torch.float32
    assert torch.allclose(batch.mean((0, 2, 3)), torch.zeros(found[0]), atol=1e-5)
    assert torch.allclose(batch.std((0, 2, 3), correction=0), torch.ones(found[0]), atol=1e-5)


def test_moved_channels_keep_their_pixels() -> None:
    """Pixel (row 2, column 3, channel 1) is where it belongs, and the move is a choice with its reason."""
    pixels = RNG.integers(0, 256, (60, 8, 9, 3), dtype=np.uint8)
    data = load(pixels, options=LoadOptions(val_fraction=0, test_fraction=0))
    stored = data.train.gather(np.arange(60))[0]["image"]
    assert np.array_equal(stored.numpy(), pixels.transpose(0, 3, 1, 2))
    assert "channels" in {choice.name for choice in data.spec.choices}


def test_grey_and_colour_pixels_can_be_served_from_files() -> None:
    """A model trained on pixels gets its images decoded in the same colours when it is served."""
    modes: dict[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}
    for channels, mode in modes.items():
        data = load(RNG.integers(0, 256, (60, channels, 8, 8), dtype=np.uint8))
        assert data.spec.preprocess.decode == (DecodeImage(mode=mode),)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_are_normalised_each(dtype: Any) -> None:
    """Columns of any scale come to mean 0, deviation 1; a constant one is left at 0, never divided by 0."""
    values = RNG.normal(size=(60, 4)).astype(dtype) * [1e-3, 1, 1e3, 0] + [5, 0, -1e4, 7]
    data = load(values)
    assert data.spec.kind == "tensor"
    assert data.spec.inputs[0].name == "inputs"
    batch = everything(data)
    assert batch.dtype == torch.float32
    assert torch.allclose(batch.mean(0), torch.zeros(4), atol=1e-3)
    assert torch.allclose(batch.std(0, correction=0), torch.tensor([1.0, 1, 1, 0]), atol=1e-3)


def test_sequences_stay_as_they_are() -> None:
    """Float arrays (N, T, D) are not touched, and a choice says so."""
    values = RNG.normal(size=(60, 5, 4)).astype(np.float32)
    data = load(values)
    assert data.spec.preprocess.operations == ()
    assert {choice.name: choice.value for choice in data.spec.choices}["normalise"] == "no"


def test_token_ids_stay_whole() -> None:
    """int64 (N, T) goes to an embedding: neither normalised nor made float."""
    data = load(RNG.integers(0, 100, (60, 7)))
    assert everything(data).dtype == torch.int64
    assert data.spec.inputs[0].dtype == "int64"


@pytest.mark.parametrize(
    "targets", [np.linspace(0, 1, 60), torch.linspace(0, 1, 60), np.linspace(0, 1, 120).reshape(60, 2)]
)
def test_real_targets_are_regression(targets: Any) -> None:
    """Real numbers are values, of any shape, called ``target``."""
    data = load(RNG.normal(size=(60, 2)), targets)
    assert data.spec.task == "regression"
    assert data.spec.classes is None
    assert (data.spec.target.name, data.spec.target.shape) == ("target", tuple(targets.shape[1:]))
    assert data.spec.splits["train"].class_counts is None


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.int8])
def test_whole_targets_are_classes(dtype: Any) -> None:
    """Whole numbers of any width are classes 0 … C - 1."""
    data = load(RNG.normal(size=(60, 2)), LABELS.astype(dtype))
    assert data.spec.classes == ("0", "1", "2")
    assert data.spec.target.dtype == "int64"
    assert data.spec.splits["train"].class_counts == (14, 14, 14)


def test_truth_values_are_two_classes() -> None:
    """False and True are classes 0 and 1."""
    assert load(RNG.normal(size=(60, 2)), LABELS == 0).spec.classes == ("0", "1")


def test_text_targets_are_sorted_classes() -> None:
    """Names become classes in sorted order, and a choice says so."""
    data = load(RNG.normal(size=(60, 2)), np.asarray(["狗", "cat", "ant"])[LABELS])
    assert data.spec.classes == ("ant", "cat", "狗")
    assert "text" in next(choice.reason for choice in data.spec.choices if choice.name == "classes")


def test_scattered_numbers_are_classes_of_their_own() -> None:
    """10, 2000 and 30000 are three classes, not 30,001."""
    data = load(RNG.normal(size=(60, 2)), np.asarray([10, 2000, 30000])[LABELS])
    assert data.spec.classes == ("10", "2000", "30000")


def test_given_splits_are_used() -> None:
    """With val and test given, nothing is split off, and classes are numbered over all of them alike."""
    names = np.asarray(["a", "b", "c"])
    data = nd.load(
        (RNG.normal(size=(60, 2)), names[LABELS]),
        val=(RNG.normal(size=(4, 2)), names[[2, 2, 1, 0]]),
        test=(RNG.normal(size=(2, 2)), names[[1, 1]]),
    )
    assert {name: split.count for name, split in data.spec.splits.items()} == {"train": 60, "val": 4, "test": 2}
    assert data.val is not None and data.test is not None
    assert data.val.targets.tolist() == [2, 2, 1, 0]
    assert data.test.targets.tolist() == [1, 1]


def test_tensors_and_arrays_are_alike() -> None:
    """A tensor, one that needs a gradient included, gives what its array gives."""
    values = RNG.normal(size=(60, 3)).astype(np.float32)
    tensor = torch.from_numpy(values).requires_grad_()
    assert load(tensor, torch.from_numpy(LABELS)).spec == load(values).spec


def test_lists_are_taken() -> None:
    """Nested lists of numbers do as well."""
    data = load([[float(i), 1.0] for i in range(60)], LABELS.tolist())
    assert data.spec.inputs[0].shape == (2,)


def test_the_given_arrays_are_not_shared() -> None:
    """Changing an array after loading changes nothing of the data."""
    values = RNG.normal(size=(60, 2)).astype(np.float32)
    data = load(values, options=LoadOptions(val_fraction=0, test_fraction=0))
    before = everything(data)
    values[:] = 0
    assert torch.equal(everything(data), before)


def test_the_digest_knows_every_number() -> None:
    """One pixel or one label more, and the digest is another."""
    pixels = RNG.integers(0, 255, (60, 8, 8), dtype=np.uint8)
    digests = {load(pixels).spec.digest}
    pixels[5, 3, 3] += 1
    digests.add(load(pixels).spec.digest)
    other = LABELS.copy()
    other[0] = 1
    digests.add(load(pixels, other).spec.digest)
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("inputs", "targets", "words"),
    [
        (np.zeros((60, 2)), np.zeros(59, dtype=int), "60 inputs and 59 targets"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "0 inputs"),
        (np.asarray([["a"]] * 60), LABELS, "dtype <U1"),
        (np.where(np.arange(60)[:, None] == 7, np.nan, 0.0), LABELS, "sample 7 in train"),
        (np.zeros((60, 2)), np.where(np.arange(60) == 9, np.inf, 0.0), "sample 9 in train"),
        (np.zeros((60, 2)), np.where(np.arange(60) == 11, -1, LABELS), "target of sample 11"),
    ],
)
def test_what_cannot_be_used_is_named(inputs: Any, targets: Any, words: str) -> None:
    """Lengths that differ, nothing at all, text, NaN, infinity and classes below 0."""
    with pytest.raises(DataError) as caught:
        load(inputs, targets)
    assert words in str(caught.value)
    assert caught.value.cure


def test_the_ignored_class_is_kept_out_of_counts() -> None:
    """-100 is what cross-entropy leaves out: it is no class and has no count."""
    targets = np.where(np.arange(60) < 12, -100, LABELS)
    data = load(RNG.normal(size=(60, 2)), targets, options=LoadOptions(val_fraction=0, test_fraction=0))
    assert data.spec.classes == ("0", "1", "2")
    assert data.spec.splits["train"].class_counts == (16, 16, 16)
    assert data.spec.splits["train"].count == 60


def test_something_else_is_refused_with_an_example() -> None:
    """A number is no data."""
    with pytest.raises(DataError, match="nw.load"):
        nd.load(42)
    with pytest.raises(DataError):
        nd.load((np.zeros(3),))


def test_loaded_data_are_handed_back() -> None:
    """Loading what is loaded changes nothing."""
    data = load(RNG.normal(size=(60, 2)))
    assert nd.load(data) is data


@pytest.mark.parametrize(
    ("shape", "value", "kind"),
    [
        ((60, 12, 16, 18), "none found, left as they are", "tensor"),
        ((60, 16, 18, 2), "none found, left as they are", "tensor"),
        ((60, 4, 5, 3), "first", "image"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_channels_that_cannot_be_told_are_a_choice(shape: tuple[int, ...], value: str, kind: str, dtype: str) -> None:
    """What was decided stands in the record: as they are where no axis has 1, 3 or 4, first where both have."""
    data = load(RNG.integers(0, 256, shape).astype(dtype))
    assert data.spec.kind == kind
    assert data.spec.inputs[0].shape == shape[1:]
    (choice,) = [choice for choice in data.spec.choices if choice.name == "channels"]
    assert choice.value == value
    assert str(shape) in choice.reason


@pytest.mark.parametrize(
    ("targets", "task", "shape"),
    [
        (np.arange(40) % 2 == 1, "classification", ()),
        ((np.arange(40) % 2)[:, None].astype(np.float64), "classification", ()),
        (np.eye(4)[np.arange(40) % 4], "classification", ()),
        (np.stack([np.arange(40) % 2, np.arange(40) % 3 == 0, np.ones(40)], 1), "multi_label", (3,)),
        ((np.arange(40) % 3 / 2).astype(np.float32), "regression", ()),
    ],
)
def test_real_zeros_and_ones_are_classes(targets: Any, task: str, shape: tuple[int, ...]) -> None:
    """As binary losses want them; one-hot rows are classes, several ones in a row are labels."""
    data = nd.load((np.random.default_rng(0).normal(size=(40, 3)), targets.astype(np.float32)))
    assert (data.spec.task, data.spec.target.shape) == (task, shape)


def test_one_hot_rows_are_the_classes_that_they_say() -> None:
    """With a validation split given, so that the order stays."""
    targets, inputs = np.eye(4, dtype=np.float32)[[2, 0, 3, 1]], np.zeros((4, 3), np.float32)
    data = nd.load((inputs, targets), val=(inputs, targets[::-1].copy()), test=(inputs, targets))
    assert data.train.gather(np.arange(4))[1].tolist() == [2, 0, 3, 1]
    assert data.split("val").gather(np.arange(4))[1].tolist() == [1, 3, 0, 2]


def test_zeros_and_ones_can_be_numbers() -> None:
    """Where that is asked for."""
    targets = (np.arange(40) % 2).astype(np.float32)
    assert nd.load((np.zeros((40, 3), np.float32), targets), task="regression").spec.task == "regression"
