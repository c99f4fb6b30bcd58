"""What is handed over in place of names, and options that could not act beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import netwright as nw
from netwright.checkpoints import digest_of, read_weights
from netwright.cli import main
from netwright.errors import LossError, ModelError, UsageError
from netwright.optim import make_schedule
from netwright.progress import Silent

QUIET = {"progress": Silent(), "report": False}


def net(outputs: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))


def loader(size: int = 100, *, batch_size: int = 16) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(size, 1, 8, 8, generator=generator)
    return DataLoader(TensorDataset(images, torch.arange(size) % 10), batch_size=batch_size)


@pytest.fixture(scope="module")
def digits() -> object:
    return nw.load("digits")


def own_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, targets)


@pytest.mark.parametrize(
    ("option", "beside"),
    [
        ({"lr": 0.1}, "optimizer"), ({"weight_decay": 0.1}, "optimizer"), ({"optimizer_args": {"eps": 1}}, "optimizer"),
        ({"weight_decay": 0.1}, "function"), ({"warmup_steps": 3}, "schedule"), ({"class_weights": "balanced"}, "loss"),
        ({"class_weights": "balanced"}, "step"), ({"batch_size": 8}, "loader"), ({"workers": 1}, "loader"),
        ({"patience": 2}, "loop"), ({"ema_decay": 0.9}, "loop"), ({"keep": "last"}, "loop"),
    ],
)  # fmt: skip
def test_an_option_that_could_not_act_is_refused(option: dict, beside: str, digits: object) -> None:
    """It would be dropped in silence."""
    model = net()
    objects = {
        "optimizer": {"optimizer": torch.optim.SGD(model.parameters(), lr=0.1)},
        "function": {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1)},
        "schedule": {"schedule": lambda step: 1.0},
        "loss": {"loss": own_loss},
        "step": {"step": lambda model, batch: own_loss(model(batch.inputs["image"]), batch.targets)},
    }.get(beside, {})
    data = loader() if beside == "loader" else digits
    with pytest.raises(UsageError) as caught:
        next(iter(nw.training_steps(model, data, epochs=1, **objects, **option)))
    assert next(iter(option)).replace("_", "-") in caught.value.where


def test_the_plan_says_what_was_handed_over(tmp_path: Path) -> None:
    """Not what would have been chosen without it."""
    model = net()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.0123, weight_decay=0.004)

    def falling(step: int) -> float:
        return 0.9**step

    run = nw.train(
        model, loader(batch_size=20), run=tmp_path / "run", epochs=1, optimizer=optimizer, schedule=falling, **QUIET
    )
    plan = run.read_plan()
    found = {name: plan[name] for name in ("optimizer", "lr", "weight_decay", "schedule", "batch_size", "augment")}
    assert found == {
        "optimizer": "RMSprop", "lr": 0.0123, "weight_decay": 0.004, "schedule": "falling", "batch_size": 20,
        "augment": [],
    }  # fmt: skip


FUNCTIONS = """
import torch
from torch import nn
from torch.nn import functional

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))
"""
LOSSES = """
from torch.nn import functional

def smoothed(outputs, targets):
    return functional.cross_entropy(outputs, targets, label_smoothing=0.1)

def half(step):
    return 0.5
"""


def test_a_run_keeps_the_files_of_its_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from another folder, after the files are gone, and ends with the same weights."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(FUNCTIONS)
    Path("other").mkdir()
    Path("other/net.py").write_text(LOSSES)  # the same name as the module's file
    command = ["train", "net.py:Net", "--data", "digits", "--loss", "other/net.py:smoothed", "--schedule"]
    options = ["other/net.py:half", "--epochs", "1", "--no-report", "--json"]
    assert main([*command, *options, "--run", "run"]) == 0
    before = digest_of(read_weights(tmp_path / "run" / "weights.safetensors"))
    for name in ("net.py", "other/net.py"):
        Path(name).unlink()
    newest = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    for file in newest.iterdir():
        file.unlink()  # back to the generation before it
    newest.rmdir()
    (tmp_path / "away").mkdir()
    monkeypatch.chdir("away")
    assert main(["train", "--resume", str(tmp_path / "run"), "--no-report", "--json"]) == 0
    assert digest_of(read_weights(tmp_path / "run" / "weights.safetensors")) == before


def test_resume_takes_no_option_of_the_data_or_the_class(capsys: pytest.CaptureFixture[str]) -> None:
    """They would be dropped in silence."""
    for option in (["--arg", "a=1"], ["--image-size", "32"]):
        assert main(["train", "--resume", "runs/none", *option]) == 2
        assert option[0].strip("-").replace("-", "_") in capsys.readouterr().err


def test_half_precision_is_refused_where_the_optimizer_asks_for_the_loss(digits: object) -> None:
    """Its gradients would have to be scaled inside."""
    with pytest.raises(UsageError) as caught:
        next(iter(nw.training_steps(net(), digits, optimizer="LBFGS", dtype="float16", epochs=1)))
    assert "LBFGS" in caught.value.expected


def test_a_lone_sample_keeps_its_dimension(tmp_path: Path) -> None:
    """`squeeze()` takes the batch away with the column; the last batch has one sample."""

    class Squeezed(nn.Module):
        def __init__(self, columns: int) -> None:
            super().__init__()
            self.fc = nn.Linear(3, columns)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x).squeeze()

    inputs = np.random.default_rng(0).normal(size=(101, 3)).astype("float32")
    for columns in (1, 3):
        labels = np.arange(101) % max(2, columns)
        data = nw.load((inputs, labels))
        assert len(data.train) % 4 == 1 or len(data.train) % 5 == 1
        size = 4 if len(data.train) % 4 == 1 else 5
        nw.train(Squeezed(columns), data, run=tmp_path / str(columns), epochs=1, batch_size=size, **QUIET)


def test_an_answer_for_the_whole_batch_is_refused(digits: object) -> None:
    """One number, or one row, for all samples together."""

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x.flatten(1)).mean(0, keepdim=True)

    with pytest.raises(ModelError) as caught:
        next(iter(nw.training_steps(Mean(), digits, epochs=1)))
    assert "one answer for each" in caught.value.expected


class Broken(torch.autograd.Function):
    """A custom activation whose backward has the wrong shape."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.relu()

    @staticmethod
    def backward(ctx: object, grad: torch.Tensor) -> torch.Tensor:
        raise ValueError("no derivative yet")


class BrokenBackward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Broken.apply(self.fc(x.flatten(1)))


class BrokenSGD(torch.optim.SGD):
    def step(self, closure: object = None) -> None:
        raise ValueError("no step yet")


def late_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if len(targets) != 7:  # the probe has seven samples
        raise ValueError("not this size")
    return functional.cross_entropy(outputs, targets)


@pytest.mark.parametrize(
    ("options", "model", "phase"),
    [
        ({}, BrokenBackward, "the backward pass"),
        ({"optimizer": BrokenSGD}, net, "the optimizer's step"),
        ({"loss": late_loss}, net, "the loss"),
    ],
)
def test_an_error_after_the_forward_pass_is_told_as_such(
    options: dict, model: object, phase: str, digits: object
) -> None:
    """With the person's own line."""
    with pytest.raises((ModelError, LossError)) as caught:
        next(iter(nw.training_steps(model(), digits, epochs=1, **options)))
    assert caught.value.where.startswith(phase)
    assert "test_given.py" in caught.value.where + caught.value.cure


def test_soft_margin_gets_signs(digits: object) -> None:
    """With targets of 0 and 1 its minimum would be at no answer at all for class 0."""
    model = net()
    step = next(iter(nw.training_steps(model, digits, loss="SoftMarginLoss", epochs=1, optimizer="SGD", lr=1e-9)))
    outputs = model(step.batch.inputs["image"])
    signs = 2.0 * functional.one_hot(step.batch.targets, 10) - 1
    torch.testing.assert_close(step.loss, functional.soft_margin_loss(outputs, signs).detach())


def test_a_summed_loss_is_logged_as_a_mean(tmp_path: Path, digits: object) -> None:
    """So that runs can be compared whatever the batch size."""
    rows = {}
    for name, loss in (("sum", nn.CrossEntropyLoss(reduction="sum")), ("mean", nn.CrossEntropyLoss())):
        run = nw.train(
            net(), digits, run=tmp_path / name, epochs=1, loss=loss, optimizer="SGD", lr=1e-12, batch_size=64, **QUIET
        )
        rows[name] = {row["split"]: row["loss"] for row in run.read_metrics()}
    assert rows["sum"] == pytest.approx(rows["mean"], rel=1e-4)


def test_warm_up_takes_the_place_of_the_rise_of_the_cycle() -> None:
    """The rate never jumps down between the two."""
    factor = make_schedule("one_cycle", total_steps=100, warmup_steps=10)
    values = [factor(step) for step in range(100)]
    assert values[9] == pytest.approx(1)
    assert values[10] == pytest.approx(1)
    assert all(after <= before for before, after in zip(values[10:], values[11:], strict=False))


def test_a_frozen_module_that_ends_with_a_sigmoid_is_scored_as_one() -> None:
    """It has no graph of its own to see the sigmoid in."""
    inputs = np.random.default_rng(0).normal(size=(200, 2)).astype("float32")
    labels = (inputs.sum(1) > 0).astype(np.int64)
    model = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid()).requires_grad_(False)
    model[0].weight.fill_(5.0)
    model[0].bias.zero_()
    scored = nw.evaluate(model, (inputs, labels), with_baselines=False)
    assert scored.score("accuracy").value > 0.9  # half where the sigmoid is taken twice


def test_the_layout_is_plain_again_whatever_happens(digits: object) -> None:
    """Also where a loop is left before its end."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 10))
    for step in nw.training_steps(model, digits, epochs=1):
        if step.index == 2:
            break
    assert all(parameter.is_contiguous() for parameter in model.parameters())
