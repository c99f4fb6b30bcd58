"""What is begun before a run is made ready, and what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import netwright as nw
from netwright import native
from netwright.data.dataset import Data
from netwright.given import Given
from netwright.plans import ahead, compiled, recurrent_kernels
from netwright.records import Settings

ROWS, CLASSES = torch.zeros(200, 8), torch.arange(200) % 3


def table() -> Data:
    return nw.load((ROWS.numpy(), CLASSES.numpy()), val_fraction=0, test_fraction=0)


def loader() -> Data:
    return nw.load(DataLoader(TensorDataset(ROWS, CLASSES), batch_size=1))


@pytest.fixture(autouse=True)
def anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing compiled yet; what is begun here is waited for."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    native.MADE.clear()
    yield
    for made in native.MADE.values():
        made.result()
    native.MADE.clear()


@pytest.mark.parametrize(
    ("make", "source"),
    [(lambda: nn.Linear(8, 3), compiled.DENSE), (lambda: nn.LSTM(8, 3), recurrent_kernels.SOURCE)],
)
def test_kernels_are_begun_and_waited_for(make: Callable[[], nn.Module], source: Path) -> None:
    if native.is_built(source):
        pytest.skip("no C++ compiler is here")
    model = make()
    ahead.begin(model, table(), Settings(device="cpu", batch_size=1), Given())
    assert list(native.MADE) == [(source,)]
    ahead.wait(model)
    assert native.is_built(source)


@pytest.mark.parametrize(
    ("options", "given", "data"),
    [
        ({"plan": "eager"}, {}, table),
        ({"plan": "recorded"}, {}, table),
        ({"device": "cuda"}, {}, table),
        ({"epochs": 1, "batch_size": 64}, {}, table),  # four updates
        ({}, {"step": lambda model, batch: model(batch.inputs["x"]).sum()}, table),
        ({}, {}, loader),
    ],
    ids=["eager", "recorded", "a GPU", "short", "a step of one's own", "a loader of one's own"],
)
def test_nothing_is_begun_that_is_not_used(
    options: dict[str, Any], given: dict[str, Any], data: Callable[[], Data]
) -> None:
    settings = Settings(**{"device": "cpu", "batch_size": 1} | options)
    ahead.begin(nn.Linear(8, 3), data(), settings, Given(**given))
    assert not native.MADE


def test_a_module_whose_shapes_are_not_known_yet_waits() -> None:
    ahead.begin(nn.LazyLinear(3), table(), Settings(device="cpu", batch_size=1), Given())
    assert not native.MADE
