"""Epochs that are shorter than some seconds are not all saved; what ends a run otherwise than by a kill loses none."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import netwright as nw
from netwright import checkpoints, saving
from netwright.checkpoints import digest_of
from netwright.data.dataset import Data
from netwright.progress import Silent

EPOCH = 5  # updates
WHOLE = 6  # epochs


@pytest.fixture(scope="module")
def digits() -> Data:
    return nw.load("digits")


@pytest.fixture(autouse=True)
def long_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all these epochs went by in no time, however slow the machine."""
    monkeypatch.setattr(saving, "LEAST_S", 3_600.0)
    monkeypatch.setattr(saving, "MOST_S", 3_600.0)
    torch.set_num_threads(1)


class Net(nn.Module):
    """Fails at one forward pass, as a person's module may."""

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10))
        self.left = fails_at

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.left -= 1
            if self.left == -1:
                raise ValueError("a fault of the module's own")
        return self.body(image)


class At(Silent):
    """Does something after an update."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.at, self.act = step, act

    def step(self, done: int) -> None:
        if done == self.at:
            self.act()


def train(digits: Data, run: Path, progress: Silent | None = None, model: nn.Module | None = None) -> nw.Run:
    return nw.train(
        model or Net(), digits, run=run, epochs=WHOLE, batch_size=256, lr=0.05, plan="eager", skip="all",
        progress=progress or Silent(), report=False,
    )  # fmt: skip


def generations(run: Path) -> list[str]:
    return sorted(entry.name for entry in (run / "checkpoints").iterdir())


def ended(run: Path) -> dict[str, object]:
    loaded = checkpoints.load(run / "checkpoints")
    return {
        "weights": digest_of(checkpoints.read_weights(run / "weights.safetensors")),
        "model": digest_of(loaded.state["train"]["model"]),
        "best": loaded.state["train"]["best"],
        "position": loaded.state["train"]["position"],
        "rows": [(row["step"], row["split"], row["loss"]) for row in nw.open_run(run).read_metrics()],
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits: Data) -> Path:
    """A run of which the end of each epoch was saved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "LEAST_S", 0.0)
        patch.setattr(saving, "MOST_S", 0.0)
        return train(digits, tmp_path_factory.mktemp("whole") / "run").path


def test_short_epochs_are_saved_seldom_and_the_last_always(tmp_path: Path, digits: Data, whole: Path) -> None:
    """The run ends as one of which each epoch was saved: its best weights too, whichever epoch had them."""
    run = train(digits, tmp_path / "run").path
    assert generations(whole) == ["step-00000025", "step-00000030"]
    assert generations(run) == ["step-00000000", "step-00000030"]
    assert ended(run) == ended(whole)


def test_an_error_loses_no_epoch_that_had_ended(tmp_path: Path, digits: Data, whole: Path) -> None:
    """What was held is written: the end of the epoch before the error, and the best weights so far."""
    run = tmp_path / "run"
    with pytest.raises(nw.NetwrightError):
        train(digits, run, model=Net(fails_at=EPOCH * 3 + 2))
    assert generations(run) == ["step-00000000", "step-00000015"]
    assert (run / "weights.safetensors").exists()
    nw.resume(run, model=Net(), data=digits, progress=Silent(), report=False)
    assert ended(run) == ended(whole)


def test_a_signal_loses_nothing(tmp_path: Path, digits: Data, whole: Path) -> None:
    """Ctrl-C in an epoch: its last update is saved, and the best weights of the epochs before."""
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(digits, run, At(EPOCH * 3 + 2, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert generations(run) == ["step-00000000", "step-00000017"]
    assert (run / "weights.safetensors").exists()
    nw.resume(run, model=Net(), data=digits, progress=Silent(), report=False)
    assert ended(run) == ended(whole)


def test_a_kill_loses_the_epochs_held_and_a_resumed_run_does_them_again(
    tmp_path: Path, digits: Data, whole: Path
) -> None:
    """What lies on the disk amid the fourth epoch, as SIGKILL leaves it, goes on to the same end."""
    run, killed = tmp_path / "run", tmp_path / "killed"
    train(digits, run, At(EPOCH * 3 + 2, lambda: shutil.copytree(run, killed)))
    assert generations(killed) == ["step-00000000"]
    nw.resume(killed, model=Net(), data=digits, progress=Silent(), report=False)
    assert ended(killed) == ended(whole)


def test_a_checkpoint_asked_for_is_not_held(tmp_path: Path, digits: Data) -> None:
    """``checkpoint_every_steps`` is kept to, whatever the time."""
    nw.train(
        Net(), digits, run=tmp_path / "run", epochs=2, batch_size=256, plan="eager", skip="all", report=False,
        checkpoint_every_steps=3, progress=Silent(),
    )  # fmt: skip
    assert generations(tmp_path / "run") == ["step-00000009", "step-00000010"]


def test_one_asked_for_at_an_epochs_end_is_not_held_either(tmp_path: Path, digits: Data) -> None:
    """Amid the fourth epoch that of the third is there."""
    seen: list[list[str]] = []
    run = tmp_path / "run"
    nw.train(
        Net(), digits, run=run, epochs=4, batch_size=256, plan="eager", skip="all", report=False,
        checkpoint_every_steps=EPOCH, progress=At(EPOCH * 3 + 2, lambda: seen.append(generations(run))),
    )  # fmt: skip
    assert seen[0][-1] in (f"step-{EPOCH * 2:08}", f"step-{EPOCH * 3:08}")  # the last may be under way


def test_what_cannot_be_saved_does_not_hide_the_error_itself(
    tmp_path: Path, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU that has failed for good, where a copy cannot be read any more."""

    def fail() -> None:
        def broken(*given: object, **more: object) -> None:
            raise ValueError("the device has failed")

        monkeypatch.setattr(checkpoints, "save", broken)
        raise KeyError("the person's own")

    with pytest.raises(KeyError, match="the person's own"):
        train(digits, tmp_path / "run", At(EPOCH * 3 + 2, fail))
