"""Recordings in class folders: read as long as they are, and told apart."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netwright as nw
import netwright.data as nd
from netwright.blocks import mean_pool
from netwright.cli import main
from netwright.errors import DataError
from netwright.preprocess import sample
from netwright.records import DataSpec

NET = """
import torch
from torch import nn
from netwright.blocks import Recurrent, mean_pool

class Net(nn.Module):
    def __init__(self, num_classes: int = 2):
        super().__init__()
        self.read = Recurrent(2, 8)
        self.out = nn.Linear(8, num_classes)

    def forward(self, series, lengths, mask):
        return self.out(mean_pool(self.read(series, lengths)[0], mask))
"""


def write(path: Path, values: np.ndarray, *, gaps: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["time", "x", "y"])
        for at, (x, y) in enumerate(values):
            rows.writerow([f"2026-01-01 00:{at // 60:02}:{at % 60:02}", "" if gaps and at % 5 == 2 else x, y])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two gestures, of 6 to 40 steps; some with gaps."""
    generator = np.random.default_rng(0)
    for label, speed in (("wave", 2.0), ("shake", 0.4)):
        for index in range(40):
            steps = np.arange(generator.integers(6, 41))
            values = np.stack([100 + 5 * np.sin(steps / speed), generator.normal(size=len(steps))], axis=1)
            write(tmp_path / "gestures" / label / f"{index:02}.csv", values.round(4), gaps=index % 4 == 0)
    return tmp_path / "gestures"


def test_a_folder_of_class_folders_is_told_apart_from_the_command_line(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, scored beside baselines, and new files answered."""
    (tmp_path / "net.py").write_text(NET)
    run = str(tmp_path / "run")
    net = f"{tmp_path / 'net.py'}:Net"
    command = [
        "train",
        net,
        "--data",
        str(root),
        "--run",
        run,
        "--epochs",
        "12",
        "--lr",
        "0.02",
        "--optimizer",
        "adamw",
    ]
    assert main(command) == 0
    assert "time left out" in capsys.readouterr().err
    baselines = {one.name: one for one in nw.evaluate(run).baselines}
    assert "the length" in baselines["logistic_regression"].detail
    assert baselines["logistic_regression"].score.value > baselines["most_frequent"].score.value
    assert main(["predict", run, str(root / "wave" / "03.csv"), str(root / "shake" / "05.csv"), "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["label"] for answer in answers] == ["wave", "shake"]
    assert answers[0]["name"].endswith("03.csv")


def test_each_is_as_long_as_it_is(root: Path) -> None:
    """Padded in batches, with lengths and mask; a gap takes the value before it."""
    data = nd.load(root)
    assert data.spec.kind == "series"
    assert data.spec.task == "classification"
    inputs, _ = data.train.gather(np.arange(len(data.train)))
    assert inputs["series"].shape[2] == 2
    assert (inputs["mask"].sum(1) == inputs["lengths"]).all()
    assert inputs["lengths"].min() < inputs["lengths"].max()
    assert (inputs["series"][~inputs["mask"]] == 0).all()
    real = inputs["series"][inputs["mask"]]
    torch.testing.assert_close(real.mean(0), torch.zeros(2), atol=0.2, rtol=0)
    place = next(at for at in range(len(data.train)) if int(data.train.name(at)[-6:-4]) % 4 == 0)
    row = inputs["series"][place, :, 0]
    assert row[2] == row[1]


def test_serving_sees_recordings_as_training_does(tmp_path: Path) -> None:
    """From the record on disk, given as columns of text and as numbers: the same to the last bit."""
    generator = np.random.default_rng(1)
    made = {}
    for index in range(200):
        values = generator.normal(3, 2, (generator.integers(1, 9), 2)).round(4)
        write(tmp_path / "all" / "ab"[index % 2] / f"{index}.csv", values, gaps=index % 3 == 0)
        made[f"{'ab'[index % 2]}/{index}.csv"] = values
    data = nd.load(tmp_path / "all")
    served = DataSpec.model_validate_json(data.spec.model_dump_json()).preprocess
    compared = 0
    for split in data.spec.splits:
        source = data.split(split)
        inputs, _ = source.gather(np.arange(len(source)))
        for at in range(len(source)):
            values, length = made[source.name(at)], int(inputs["lengths"][at])
            gaps = int(Path(source.name(at)).stem) % 3 == 0
            x: list[Any] = ["" if gaps and step % 5 == 2 else str(value) for step, value in enumerate(values[:, 0])]
            again = sample(served, {"x": x, "y": list(map(str, values[:, 1])), "unused": x})["series"]
            assert np.array_equal(inputs["series"][at, :length].numpy(), again)
            if not gaps:
                assert np.array_equal(sample(served, values)["series"], again)
            compared += 1
    assert compared == 200


class Net(nn.Module):
    """Means of the columns to two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(2, 2)

    def forward(self, series: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.out(mean_pool(series, mask))


def test_bad_recordings_are_named(root: Path, tmp_path: Path) -> None:
    """Of files the unreadable ones, with the reason; of served ones each by itself."""
    (root / "wave" / "07.csv").write_text("time,x,y\n1,two,3\n")
    with pytest.raises(DataError, match=r"07\.csv") as caught:
        nd.load(root, max_unreadable=0)
    assert "column x" in caught.value.got
    data = nd.load(root, max_unreadable=0.05)
    assert [Path(one.name).name for one in data.spec.unreadable] == ["07.csv"]
    run = nw.train(Net(), data, run=tmp_path / "run", epochs=1, report=False)
    served = nw.predict(run, [{"x": [1.0], "y": [2.0]}, {"x": [1.0]}, np.zeros((4, 3)), np.zeros((0, 2))], model=Net())
    good, *bad = served
    assert good.error is None
    assert all(answer.error is not None for answer in bad)


def test_columns_can_be_named(root: Path) -> None:
    """And one that is not there is told."""
    assert nd.load(root, input="y").spec.inputs[0].shape == (-1, 1)
    with pytest.raises(DataError, match="--input"):
        nd.load(root, input="z")
