"""Several inputs and several answers, bound by their names."""

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
from netwright.cli import main
from netwright.errors import DataError, LossError, ModelError, UsageError

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(in_features, 16), nn.ReLU())
        self.kind, self.price = nn.Linear(16, 3), nn.Linear(16, 1)

    def forward(self, features):
        x = self.body(features)
        return {"kind": self.kind(x), "price": self.price(x)}
"""


class Both(nn.Module):
    """A picture with a row of numbers, to a class and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.body = nn.Sequential(nn.Linear(16 + 3, 16), nn.ReLU())
        self.kind, self.price = nn.Linear(16, 2), nn.Linear(16, 1)

    def forward(self, image: torch.Tensor, row: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.body(torch.cat((self.look(image), row), dim=1))
        return {"kind": self.kind(x), "price": self.price(x)}


def pairs(count: int = 240, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    generator = np.random.default_rng(seed)
    bright = generator.integers(0, 2, count)
    image = (generator.integers(0, 60, (count, 8, 8, 1)) + 150 * bright[:, None, None, None]).astype(np.uint8)
    row = generator.normal(5, 3, (count, 3)).astype(np.float32)
    price = (row[:, 0] + 2 * bright).astype(np.float32)
    return {"image": image, "row": row}, {"kind": np.where(bright, "bright", "dark"), "price": price}


def test_a_picture_and_a_row_give_two_answers_with_two_losses(tmp_path: Path) -> None:
    """Each input prepared in its own way and bound by its name; each answer learned, shown and scored by itself."""
    data = nw.load(pairs())
    assert [field.name for field in data.spec.inputs] == ["image", "row"]
    assert [(one.name, one.task) for one in data.spec.answers] == [("kind", "classification"), ("price", "regression")]
    net = Both()
    run = nw.train(net, data, run=tmp_path / "run", epochs=25, report=True)
    loss = {choice.name: choice for choice in run.read_plan().choices}["loss"]
    assert loss.value == "CrossEntropyLoss of kind + MSELoss of price"
    evaluation = run.read_evaluation()
    assert evaluation.score("kind/accuracy").value > 0.9 and evaluation.score("price/r2").value > 0.5
    assert evaluation.score("kind/accuracy").low is not None and evaluation.answers["kind"].confusion
    rivals = {one.name: one.score.name for one in evaluation.baselines}
    assert rivals["kind/most_frequent"] == "kind/accuracy" and rivals["price/mean"] == "price/mae"
    last = [row for row in run.read_metrics() if row["split"] == "val"][-1]
    assert {"loss", "kind/accuracy", "price/mae"} <= last.keys()
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "kind: accuracy" in page and "price: mean absolute error" in page
    inputs, _ = pairs(5, seed=1)
    raw = [{"image": inputs["image"][i], "row": inputs["row"][i]} for i in range(5)]
    answers = nw.predict(run, raw, model=net)
    assert all(one.answers is not None and set(one.answers) == {"kind", "price"} for one in answers)
    seen, _ = data.test.gather(np.arange(3)) if data.test is not None else ({}, None)
    assert set(seen) == {"image", "row"}


def test_the_loss_is_the_sum_and_may_be_given_by_answer() -> None:
    """What torch computes by hand for one batch."""
    data = nw.load(pairs(64))
    torch.manual_seed(0)
    net = Both()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    huber = nn.HuberLoss()
    step = next(nw.training_steps(net, data, loss={"price": huber}, epochs=1, batch_size=16, optimizer="SGD", lr=0.1))
    net.load_state_dict(before)
    assert step.batch is not None and isinstance(step.batch.targets, dict) and step.loss is not None
    outputs = net(**step.batch.inputs)
    expected = nn.functional.cross_entropy(outputs["kind"], step.batch.targets["kind"])
    expected = expected + huber(outputs["price"][:, 0], step.batch.targets["price"])
    assert torch.allclose(step.loss, expected)


def test_answers_are_found_by_name_or_in_order() -> None:
    """A mapping, an object or a tuple; what is missing is told."""
    data = nw.load(pairs(80))

    class Tuple(Both):
        def forward(self, image: torch.Tensor, row: torch.Tensor) -> Any:
            found = super().forward(image, row)
            return found["kind"], found["price"]

    class Half(Both):
        def forward(self, image: torch.Tensor, row: torch.Tensor) -> Any:
            return {"kind": super().forward(image, row)["kind"]}

    assert nw.evaluate(Tuple(), data).answers.keys() == {"kind", "price"}
    with pytest.raises(ModelError, match="without price"):
        nw.evaluate(Half(), data)


def table(path: Path) -> Path:
    generator = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["area", "rooms", "kind", "price"])
        for _ in range(300):
            area, rooms = generator.uniform(20, 200), generator.integers(1, 7)
            kind = "house" if area > 120 else "flat" if rooms > 2 else "studio"
            writer.writerow([f"{area:.1f}", rooms, kind, f"{3_000 * area + generator.normal(0, 5_000):.0f}"])
    return path


def test_a_table_answers_two_questions_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A class and a number in its own unit; a stopped run goes on to the same weights."""
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    homes = table(tmp_path / "homes.csv")
    command = ["train", f"{tmp_path / 'net.py'}:Net", "--data", str(homes), "--target", "kind,price", "--epochs", "12"]
    assert main([*command, "--run", str(tmp_path / "run"), "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)["evaluation"]
    scores = {one["name"]: one["value"] for one in evaluation["scores"]}
    assert scores["kind/accuracy"] > 0.7 and scores["price/mae"] < 60_000
    assert main(["predict", str(tmp_path / "run"), '{"area": 150, "rooms": 3}']) == 0
    assert "kind: house" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"loss": "mse"}, LossError, "a loss for each answer"),
        ({"loss": {"cost": nn.MSELoss()}}, LossError, "one for cost"),
        ({"class_weights": "balanced"}, UsageError, "data with classes"),
    ],
)
def test_losses_that_do_not_fit_the_answers_are_refused(options: dict[str, Any], error: type, told: str) -> None:
    """Named, with what is wanted."""
    with pytest.raises(error, match=told):
        next(nw.training_steps(Both(), nw.load(pairs(80)), epochs=1, **options))


def test_a_mapping_of_losses_for_one_answer_is_refused() -> None:
    """The data have one."""
    images, targets = pairs(80)
    with pytest.raises(LossError, match="one loss"):
        next(nw.training_steps(nn.Linear(3, 2), nw.load((images["row"], targets["kind"])), loss={"a": nn.MSELoss()}))


def test_splits_must_have_the_same_names() -> None:
    """In the same order."""
    inputs, targets = pairs(40)
    with pytest.raises(DataError, match="as train has them"):
        nw.load((inputs, targets), test=({"row": inputs["row"]}, targets))
    with pytest.raises(DataError, match="as many targets"):
        nw.load((inputs, {"kind": targets["kind"][:-1]}))
