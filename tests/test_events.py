"""Rows of scores as TensorBoard reads them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from netwright.events import Events


def read(folder: Path) -> EventAccumulator:
    board = EventAccumulator(str(folder))
    board.Reload()
    return board


def test_tensorboard_reads_each_score_at_its_step(tmp_path: Path) -> None:
    """Large steps and numbers, what is no number, and names in any language."""
    events = Events(tmp_path)
    steps = (0, 1, 127, 128, 40_000_000_000)
    for step in steps:
        events.add(step, {"train/loss": 0.5 * step, "val/准确率": -1e300, "lr": math.nan})
    events.close()
    board = read(tmp_path)
    assert sorted(board.Tags()["scalars"]) == ["lr", "train/loss", "val/准确率"]
    assert [(event.step, event.value) for event in board.Scalars("train/loss")] == [(at, 0.5 * at) for at in steps]
    assert board.Scalars("val/准确率")[0].value == -math.inf
    assert math.isnan(board.Scalars("lr")[0].value)


def test_a_resumed_run_takes_the_place_of_what_came_later(tmp_path: Path) -> None:
    """Rows after the checkpoint are shown once, as they were the second time."""
    for value, steps, purge in ((1.0, (10, 20, 30), None), (2.0, (20, 30, 40), 11)):
        events = Events(tmp_path, purge_step=purge)
        for step in steps:
            events.add(step, {"loss": value})
        events.close()
    held = [(event.step, event.value) for event in read(tmp_path).Scalars("loss")]
    assert held == [(10, 1.0), (20, 2.0), (30, 2.0), (40, 2.0)]


def test_a_row_is_there_at_once_and_no_row_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's thread writes them: where it waited for the disk, the threads of an update would wait for it."""
    waited: list[int] = []
    monkeypatch.setattr(os, "fsync", waited.append)
    events = Events(tmp_path)
    for step in (1, 2):
        events.add(step, {"loss": 0.5 * step})
        assert [event.value for event in read(tmp_path).Scalars("loss")] == [0.5, 1.0][:step]
    events.close()
    assert waited == []
