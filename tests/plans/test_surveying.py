"""``netwright plan``: what each plan takes here, which one a run would have, and that nothing is changed by looking."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import netwright as nw
from netwright.cli import main
from netwright.errors import ModelError
from netwright.progress import Silent

NET = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
"""


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)


def rows(count: int = 330) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 8 numbers in 3 classes."""
    inputs = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    return inputs, inputs[:, :3].argmax(1)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 3))


def fingers(model: nn.Module) -> list[Any]:
    """All of a module that looking may not change."""
    tensors = [one.clone() for one in model.state_dict().values()]
    return [*tensors, *(one.training for one in model.modules()), *(one.grad for one in model.parameters())]


def test_each_plan_is_measured_and_the_run_takes_the_one_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON object on standard output; a table for people has the same words."""
    (tmp_path / "net.py").write_text(NET)
    command = [
        "plan",
        f"{tmp_path}/net.py:Net",
        "--data",
        "digits",
        "--epochs",
        "2",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    command += ["--plan", "compiled"]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["steps"] == 2 * 40
    eager, kernels, recorded, fused, split, compiled, captured = report["candidates"]
    names = [one["name"] for one in report["candidates"]]
    assert names == ["eager", "kernels", "recorded", "fused", "split", "compiled", "captured"]
    assert eager["seconds"] > 0
    for one in (kernels, recorded, fused, compiled):
        assert one["seconds"] > 0
        assert one["cost_s"] > 0
        assert 0 <= one["apart"] < 1e-3
    assert split["reason"] == "torch has one thread"
    assert captured["reason"] == "not on this device"
    assert report["plan"]["value"] == "compiled"
    assert report["plan"]["asked"]
    names = [one["name"] for one in report["choices"]]
    assert {"device", "dtype", "threads", "batch_size", "optimizer", "memory_format"} <= set(names)
    assert all(one["reason"] for one in report["choices"])
    assert "plan" not in names

    assert main(command) == 0
    shown = capsys.readouterr()
    assert "plan: compiled – " in shown.out
    assert "parameters part by" in shown.out
    assert "batch_size" in shown.out
    assert "compiled: making it" in shown.err


def test_the_plan_is_the_one_that_training_takes(tmp_path: Path) -> None:
    """A short run has the plain update in both, for the same reason."""
    data, told = nw.load(rows(), val_fraction=0, test_fraction=0.2), Heard()
    net = small()
    net[4].register_forward_hook(lambda *given: None)
    report = nw.plan(net, data, epochs=2, device="cpu", progress=told)
    run = nw.train(net, data, run=tmp_path / "run", epochs=2, device="cpu", report=False, skip="all", progress=Silent())
    taken = json.loads(run.plan_file.read_text())["choices"]
    planned = json.loads(report.model_dump_json())
    assert taken == [*planned["choices"], planned["plan"]]
    assert report.plan.reason.startswith("the module has hooks; ")
    assert "less than another plan would pay for" in report.plan.reason
    by_name = {one.name: one for one in report.candidates}
    assert {by_name[name].reason for name in ("recorded", "split", "compiled")} == {"the module has hooks"}
    assert by_name["fused"].seconds is not None
    assert report.candidates[0].seconds is not None
    assert told.said[0].startswith("eager: timing")


def test_looking_changes_nothing() -> None:
    """Neither the module, its optimizer and loss, nor random generators and threads."""
    net = small().eval()
    net[0].weight.requires_grad_(False)
    optimizer = torch.optim.Adagrad([one for one in net.parameters() if one.requires_grad], lr=0.01)
    held = [value.clone() for one in optimizer.state.values() for value in one.values()]
    before, threads = fingers(net), torch.get_num_threads()
    drawn = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    report = nw.plan(net, rows(), optimizer=optimizer, loss=nn.CrossEntropyLoss(), threads=1, progress=Silent())
    assert "Adagrad" in report.candidates[1].reason
    for one, other in zip(before, fingers(net), strict=True):
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other
    now = [value for one in optimizer.state.values() for value in one.values()]
    assert all(torch.equal(one, other) for one, other in zip(held, now, strict=True))
    assert torch.equal(drawn[0], torch.get_rng_state())
    assert (drawn[1] == np.random.get_state()[1]).all()
    assert drawn[2] == random.getstate()
    assert torch.get_num_threads() == threads


def test_a_loader_of_ones_own_is_not_read_ahead() -> None:
    """Its reason is told for every plan, as training would."""
    inputs, classes = (torch.from_numpy(one) for one in rows())
    loader = DataLoader(TensorDataset(inputs, classes), batch_size=32, shuffle=True)
    report = nw.plan(small(), nw.load(loader), progress=Silent())
    assert report.plan.value == "eager"
    assert all("a loader of your own" in one.reason for one in report.candidates[:2])


def test_a_module_that_cannot_be_copied_is_told() -> None:
    """In the form of all errors, with what to do."""
    net = small()
    net.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ModelError, match="--plan eager"):
        nw.plan(net, rows(), progress=Silent())


@pytest.mark.parametrize(
    "options", ["", "--data digits --epochs 0", "--data digits --skip M99X", "--data digits --epoch 3"]
)
def test_wrong_usage_has_exit_code_2(tmp_path: Path, options: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And an error with what was expected, what came, and the cure."""
    (tmp_path / "net.py").write_text(NET)
    assert main(["plan", f"{tmp_path}/net.py:Net", *options.split()]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_module_that_raises_has_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it does so in training alone, so that making it ready did not see it."""
    wrong = NET + "\n    def forward(self, x):\n        return super().forward(x) if not self.training else x.nowhere\n"
    (tmp_path / "net.py").write_text(wrong)
    assert main(["plan", f"{tmp_path}/net.py:Net", "--data", "digits"]) == 1
    assert "nowhere" in capsys.readouterr().err
