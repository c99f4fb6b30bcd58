"""Files that list pictures: alone, beside columns of numbers, and with numbers to answer."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

import netwright as nw
import netwright.data as nd
from netwright.cli import main
from netwright.errors import DataError
from netwright.progress import Silent
from netwright.records import LoadOptions

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_channels: int = 3, num_outputs: int = 2):
        super().__init__()
        look = nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        self.look = nn.Sequential(*look)
        self.out = nn.Sequential(nn.Linear(32 + 1, 32), nn.ReLU(), nn.Linear(32, num_outputs))

    def forward(self, photo, numbers):
        return self.out(torch.cat((self.look(photo), numbers), dim=1))
"""


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Bright and dark pictures of two sizes, with a number beside; the class needs both."""
    generator = np.random.default_rng(0)
    rows = []
    for index in range(160):
        bright, large = generator.integers(0, 2, 2)
        side = 8 + 2 * (index % 2)
        pixels = (generator.integers(0, 80, (side, side, 3)) + 150 * bright).astype(np.uint8)
        place = tmp_path / "shots" / f"{index}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(place)
        size = generator.normal(5 * large, 0.5)
        rows.append((f"shots/{index}.png", f"{size:.3f}", "yes" if bright == large else "no", f"{size + bright:.3f}"))
    write(tmp_path / "all.csv", rows)
    return tmp_path / "all.csv"


def write(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("photo", "size", "label", "price"), *rows])


def test_pictures_alone_are_pictures(listed: Path) -> None:
    """As from class folders; what is not used is said, with how to use it."""
    data = nd.load(listed)
    assert (data.spec.kind, data.spec.task, data.spec.classes) == ("image", "classification", ("no", "yes"))
    told = {choice.name: choice for choice in data.spec.choices}
    assert told["not used"].value == "size, price"
    assert "--input photo,size" in told["not used"].reason
    assert told["image_size"].value in ((8, 8), (9, 9), (10, 10))
    assert data.train.name(0).startswith("shots/")


def test_a_picture_and_its_row_are_learned_together(
    listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, scored beside baselines of the row, predicted from a file and from JSON, the picture found beside it."""
    (tmp_path / "net.py").write_text(NET)
    run = str(tmp_path / "run")
    command = ["train", f"{tmp_path / 'net.py'}:Net", "--data", str(listed), "--input", "photo,size", "--run", run]
    assert main([*command, "--target", "label", "--epochs", "30", "--lr", "0.02"]) == 0
    assert "in_channels=3" in capsys.readouterr().err
    evaluation = nw.evaluate(run)
    assert evaluation.scores[0].value >= 0.9
    assert all(baseline.score.value < evaluation.scores[0].value for baseline in evaluation.baselines)
    if evaluation.worst:
        assert evaluation.worst[0].picture is not None and evaluation.worst[0].row is not None
    few = listed.parent / "few.csv"
    few.write_text("\n".join(listed.read_text(encoding="utf-8").splitlines()[:9]) + "\n", encoding="utf-8")
    assert main(["predict", run, str(few), "--json"]) == 0
    labels = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    truth = [line.split(",")[2] for line in few.read_text().splitlines()[1:]]
    assert sum(one == other for one, other in zip(labels, truth, strict=True)) >= 7
    row = json.dumps({"photo": str(listed.parent / "shots" / "0.png"), "size": 0.1})
    assert main(["predict", run, row]) == 0
    assert main(["predict", run, '{"size": 1}', '{"photo": "absent.png", "size": 1}', "--json"]) == 1
    errors = [json.loads(line)["error"] for line in capsys.readouterr().out.splitlines()[-2:]]
    assert "photo" in errors[0] and "absent.png" in errors[1]


@pytest.mark.parametrize("limit", [2**30, 0], ids=["in memory", "from files"])
def test_serving_sees_the_pictures_of_training(listed: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """The same pixels and numbers to the last bit, in memory or not."""
    monkeypatch.setattr("netwright.data.pictures.MEMORY_LIMIT_BYTES", limit)
    data = nd.load(listed, options=LoadOptions(input="photo,size", target="label"))
    source = data.train
    assert (source.pictures[0].pixels is None) == (limit == 0)
    inputs, _ = source.gather(np.arange(12))
    for at, cells in enumerate(source.cells(range(12))):
        cells["photo"] = str(listed.parent / cells["photo"])
        served = nw.preprocess.sample(data.spec.preprocess, cells)
        assert np.array_equal(served["photo"], inputs["photo"][at].numpy())
        assert np.array_equal(served["numbers"], inputs["numbers"][at].numpy())


class Look(nn.Module):
    """A number out of a picture alone."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x.mean((2, 3)))


def test_numbers_are_answered_from_pictures(listed: Path, tmp_path: Path) -> None:
    """Regression from a picture, whatever the module calls it."""
    data = nd.load(listed, options=LoadOptions(target="price"))
    assert data.spec.task == "regression"
    assert [field.name for field in data.spec.inputs] == ["photo"]
    run = nw.train(Look(), data, run=tmp_path / "r", epochs=2, progress=Silent())
    (answer,) = nw.predict(run, [{"photo": str(listed.parent / "shots" / "3.png")}], model=Look())
    assert answer.error is None and answer.value is not None


@pytest.mark.parametrize("columns", ["photo", "photo,size"])
def test_missing_pictures_are_named_and_left_out_where_that_is_allowed(listed: Path, columns: str) -> None:
    """With their rows: targets stay with their own picture."""
    (listed.parent / "shots" / "5.png").unlink()
    (listed.parent / "shots" / "6.png").write_bytes(b"no picture")
    options = LoadOptions(input=columns, target="label", max_unreadable=0)
    with pytest.raises(DataError, match=r"5\.png"):
        nd.load(listed, options=options)
    data = nd.load(listed, options=options.model_copy(update={"max_unreadable": 0.05}))
    assert {Path(one.name).name for one in data.spec.unreadable} == {"5.png", "6.png"}
    truth = [line.split(",") for line in listed.read_text(encoding="utf-8").splitlines()[1:]]
    seen = 0
    for split in data.spec.splits:
        source = data.split(split)
        for at in range(len(source)):
            name = source.name(at)
            row = int(name.split("[")[1][:-1]) if "[" in name else int(Path(name).stem)
            assert data.spec.classes[int(source.targets[at])] == truth[row][2]
            seen += 1
    assert seen == 158
