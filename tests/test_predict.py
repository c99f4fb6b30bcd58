"""Answers to inputs that a run has never seen, given as a person has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import netwright as nw
from netwright.errors import NetwrightError, UsageError
from netwright.progress import Silent

QUIET = {"progress": Silent(), "report": False, "epochs": 1}


def table() -> tuple[np.ndarray, np.ndarray]:
    inputs = np.random.default_rng(0).normal(size=(120, 3)).astype("float32")
    return inputs, (inputs.sum(1) > 0).astype(np.int64)


@pytest.mark.parametrize(
    "convert", [np.float64, np.float16, list, torch.tensor], ids=["float64", "float16", "list", "tensor"]
)
def test_numbers_of_another_kind_are_cast(tmp_path: Path, convert: object) -> None:
    """Doubles, lists and tensors answer as the training dtype does."""
    inputs, labels = table()
    model = nn.Linear(3, 2)
    run = nw.train(model, (inputs, labels), run=tmp_path / "run", **QUIET)
    row = np.round(inputs[0], 1)
    (expected,) = nw.predict(run, [row.astype("float32")], model=model)
    given = row.astype(convert) if convert in (np.float64, np.float16) else convert(row.tolist())
    (found,) = nw.predict(run, [given], model=model)
    assert found.error is None
    assert found.confidence == pytest.approx(expected.confidence, abs=1e-3)


def test_what_is_no_number_is_told(tmp_path: Path) -> None:
    """The others are answered."""
    inputs, labels = table()
    model = nn.Linear(3, 2)
    run = nw.train(model, (inputs, labels), run=tmp_path / "run", **QUIET)
    bad, short, good = nw.predict(run, [np.array(["a", "b", "c"]), inputs[0][:2], inputs[0]], model=model)
    assert "float32 numbers" in bad.error
    assert "(3,)" in short.error
    assert good.error is None


def test_pictures_with_their_channels_last_are_taken_as_in_training(tmp_path: Path) -> None:
    """Float arrays (H, W, C), which loading turned round."""
    images = np.random.default_rng(0).random((60, 6, 7, 3)).astype("float32")
    model = nn.Sequential(nn.Flatten(), nn.Linear(126, 2))
    run = nw.train(model, (images, np.arange(60) % 2), run=tmp_path / "run", **QUIET)
    last, first = nw.predict(run, [images[0], images[0].transpose(2, 0, 1)], model=model)
    assert last.error is first.error is None
    assert last.confidence == first.confidence


class Pairs(Dataset):
    """Items with two inputs."""

    def __init__(self) -> None:
        self.a, self.b = torch.randn(80, 3), torch.randn(80, 2)

    def __len__(self) -> int:
        return 80

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"a": self.a[index], "b": self.b[index], "label": index % 2}


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 2)

    def forward(self, b: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.cat((a, b), 1))


def test_several_inputs_are_given_by_name_or_in_order(tmp_path: Path) -> None:
    """And a field that is missing is named."""
    data, model = Pairs(), TwoInputs()
    run = nw.train(model, data, run=tmp_path / "run", **QUIET)
    a, b = data.a[3].numpy(), data.b[3].numpy()
    named, ordered, short = nw.predict(run, [{"b": b, "a": a}, (a, b), {"a": a}], model=model)
    with torch.no_grad():
        expected = model(data.b[3:4], data.a[3:4]).softmax(1).max()
    assert named.confidence == ordered.confidence == pytest.approx(float(expected))
    assert "a, b" in short.error


class Faulty(Pairs):
    """Its eleventh item has another shape."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        item = super().__getitem__(index)
        return item | {"a": torch.randn(4)} if index == 10 else item


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_process_is_told_as_it_is(workers: int) -> None:
    """Where, expected, got and cure come through."""
    with pytest.raises(NetwrightError) as caught:
        for _ in nw.training_steps(TwoInputs(), Faulty(), epochs=1, workers=workers):
            pass
    assert "one shape" in caught.value.expected
    assert caught.value.cure


def test_pixels_of_another_kind_are_cast(tmp_path: Path) -> None:
    """Lists, tensors, mappings and other dtypes where no number changes; the rest is told."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 9), dtype=np.uint8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 2))
    run = nw.train(model, (pixels, np.arange(60) % 2), run=tmp_path / "run", **QUIET)
    one = pixels[0]
    alike = [one.tolist(), one.astype("int64"), one.astype("float64"), torch.tensor(one), {"image": one}]
    expected, *found = nw.predict(run, [one, *alike], model=model)
    assert [(each.error, each.confidence) for each in found] == [(None, expected.confidence)] * len(alike)
    wrong = [one / 255, (one > 99).astype("float32"), one.astype(int) + 200, None, 5]
    for refused in nw.predict(run, wrong, model=model):
        assert refused.error
        assert refused.label is None


def test_numbers_that_would_change_are_told(tmp_path: Path) -> None:
    """Token ids do not wrap round, and are not rounded; whole numbers of another dtype are the same ids."""
    tokens = np.random.default_rng(0).integers(0, 50, (60, 3)).astype("int32")
    model = nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(12, 2))
    run = nw.train(model, (tokens, np.arange(60) % 2), run=tmp_path / "run", **QUIET)
    given = [[2**32 + 1, 2, 3], [1.5, 2, 3], [1.0, 2.0, 3.0], np.array([1, 2, 3], dtype="uint8")]
    wrapped, rounded, *whole = nw.predict(run, given, model=model)
    assert "int32 numbers, got int64 that it cannot hold" in wrapped.error
    assert "got float64 that it cannot hold" in rounded.error
    assert all(one.error is None for one in whole)


def test_odd_inputs_fail_alone(tmp_path: Path) -> None:
    """Whatever they are, those beside them are answered; NaN is no answer."""
    inputs, labels = table()
    model = nn.Linear(3, 2)
    run = nw.train(model, (inputs, labels), run=tmp_path / "run", **QUIET)
    odd = [None, 5, b"abc", object(), [[1], [1, 2]], torch.ones(3, dtype=torch.bfloat16), [1e300, 0, 0], [np.nan, 0, 0]]
    *refused, good, grad = nw.predict(run, [*odd, inputs[0], torch.ones(3, requires_grad=True)], model=model)
    assert all(one.error and one.label is None for one in refused)
    assert good.error is grad.error is None


@pytest.mark.parametrize("one", ["a.png", b"png", {"inputs": [1, 2, 3]}])
def test_one_input_that_is_no_list_is_told(tmp_path: Path, one: object) -> None:
    """Its letters or keys are not taken for inputs."""
    with pytest.raises(UsageError, match="a list of inputs"):
        nw.predict(tmp_path, one)


def test_several_inputs_given_otherwise_are_told(tmp_path: Path) -> None:
    """With the names that are wanted."""
    model = TwoInputs()
    run = nw.train(model, Pairs(), run=tmp_path / "run", **QUIET)
    wrong = [5, None, np.ones(2), ([1, 2, 3],), {"a": [1, 2, 3], "c": [1, 2]}]
    for refused in nw.predict(run, wrong, model=model):
        assert "a, b" in refused.error


def test_axes_are_moved_in_pictures_alone(tmp_path: Path) -> None:
    """Of other arrays (12, 5, 6) it cannot be told whether (5, 6, 12) is meant so."""
    inputs = np.random.default_rng(0).random((60, 12, 5, 6)).astype("float32")
    model = nn.Sequential(nn.Flatten(), nn.Linear(360, 2))
    run = nw.train(model, (inputs, np.arange(60) % 2), run=tmp_path / "run", **QUIET)
    (refused,) = nw.predict(run, [inputs[0].transpose(1, 2, 0)], model=model)
    assert "expected shape (12, 5, 6), got (5, 6, 12)" in refused.error
