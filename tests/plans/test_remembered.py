"""It is remembered which updates were compiled here before, so that shorter runs take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netwright as nw
from netwright.batch import Batch
from netwright.data.batches import train_batches
from netwright.given import Given
from netwright.plans.choosing import AGAIN_S, COMPILE_S, candidates
from netwright.plans.remembered import made_before, remember
from netwright.records import Settings
from netwright.session import prepare
from netwright.step import TrainState


def made(width: int = 8, **options: Any) -> tuple[TrainState, list[Batch]]:
    """A state on the CPU, and its first batches."""
    inputs = np.random.default_rng(0).normal(size=(160, 8)).astype(np.float32)
    data = nw.load((inputs, inputs[:, :3].argmax(1)))
    net = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
    session = prepare(net, data, Settings(device="cpu", **({"batch_size": 16} | options)), Given())
    found = train_batches(data, batch_size=session.batch_size, seed=0, epoch=0, augment=(), workers=0)
    return session.state, [batch for _, batch in zip(range(2), found, strict=False)]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def test_a_like_update_is_expected_to_cost_less_the_second_time() -> None:
    """Whatever the weights, the rate and the length of the run are."""
    state, batches = made()
    assert candidates(state, batches)["compiled"].cost == COMPILE_S
    remember("compiled", state, batches[0])
    torch.manual_seed(7)
    again, others = made(epochs=50, lr=0.2)
    assert candidates(again, others)["compiled"].cost == AGAIN_S
    assert not made_before("another", again, others[0])


@pytest.mark.parametrize(
    "options", [{"batch_size": 8}, {"width": 9}, {"optimizer": "SGD"}, {"max_grad_norm": 1.0}, {"dtype": "bfloat16"}]
)
def test_another_update_is_not(options: dict[str, Any]) -> None:
    """Of another batch, module or recipe."""
    state, batches = made()
    remember("compiled", state, batches[0])
    assert made_before("compiled", state, batches[0])
    other, few = made(**options)
    assert not made_before("compiled", other, few[0])


def test_a_cache_that_cannot_be_written_is_no_fault(empty_cache: Path) -> None:
    """As of a full disk; here a file stands where the folder should."""
    (empty_cache / "cache").write_text("")
    state, batches = made()
    remember("compiled", state, batches[0])
    assert not made_before("compiled", state, batches[0])
