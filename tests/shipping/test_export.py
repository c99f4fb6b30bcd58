"""``netwright export`` as a person uses it: where it writes, what it replaces, what it refuses, what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

import netwright as nw
from netwright.answering.bundle import open_bundle
from netwright.cli import main
from netwright.errors import CertificateError, RunError
from netwright.progress import Silent
from netwright.run import Run
from netwright.shipping.lighter import gate, paired

NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, image):
        return self.layers(image)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("export")
    (folder / "net.py").write_text(NET, encoding="utf-8")
    argv = ["train", f"{folder / 'net.py'}:Net", "--data", "digits", "--run", str(folder / "run"), "--epochs", "5",
            "--skip", "all", "--no-report", "--json"]  # fmt: skip
    assert main(argv) == 0
    return Run(folder / "run")


def left(folder: Path) -> list[str]:
    """Drafts that were not taken away."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".") and "draft" in path.name]


def test_a_bundle_lies_in_the_run_and_answers(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """It is proved, replaced in one step when it is made again, and run.py answers as predict does."""
    assert main(["export", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert "proved" in out
    bundle = run.path / "bundle"
    first = open_bundle(bundle)
    assert first.certificate["validation"]["decisions_equal"] == first.certificate["validation"]["decisions"] > 100
    assert {"model.onnx", "model.pt2", "weights.safetensors", "card.md", "run.py"} <= set(first.names)
    assert set(first.spec["answer"]) == {"threshold"}  # what answering reads, and nothing else
    assert main(["export", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bundle"] == str(bundle)
    assert not left(run.path)
    asked = {edge["what"] for edge in first.certificate["edges"]}
    assert {"all black", "all white", "one alone", "an odd number"} <= asked
    card = first.read("card.md").decode()
    assert "accuracy" in card
    assert "95 % intervals" in card
    (true, *_) = nw.predict(run.path, [np.zeros((1, 8, 8), dtype=np.uint8)])
    (found, *_) = nw.Predictor.open(bundle).predict([np.zeros((1, 8, 8), dtype=np.uint8)])
    assert found["label"] == true.label
    assert found["probabilities"] == pytest.approx(true.probabilities, abs=1e-5)


def test_one_file_is_a_bundle_too(run: Run, tmp_path: Path) -> None:
    """Equal runs make equal graphs."""
    path = nw.export(run, tmp_path / "digits.zip", as_zip=True)
    packed, plain = open_bundle(path), open_bundle(nw.export(run, tmp_path / "digits"))
    assert packed.read("model.onnx") == plain.read("model.onnx")
    assert not left(tmp_path)


def test_what_is_no_bundle_is_never_replaced(run: Run, tmp_path: Path) -> None:
    """A folder of a person's own stays as it was."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(RunError, match="a name that is free"):
        nw.export(run, tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text(encoding="utf-8") == "dear"
    kept = nw.export(run, tmp_path / "kept")
    (kept / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="a name that is free"):
        nw.export(run, kept)
    assert (kept / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert not left(tmp_path)


def test_fewer_bits_pass_only_through_the_gate(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The price and its interval are told; a graph that loses more is refused and nothing is written."""
    code = main(["export", str(run.path), "--int8", "--out", str(tmp_path / "light"), "--allow-drop", "0.05"])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert "95 % interval" in told.err
    light = open_bundle(tmp_path / "light")
    assert light.certificate["variants"]["int8"]["loss"] <= 0.05
    assert b"QuantizeLinear" in light.read("model.onnx")
    found = paired(np.ones(400), np.r_[np.ones(380), np.zeros(20)], "accuracy", error=False)
    assert found.loss == pytest.approx(0.05)
    assert found.interval == pytest.approx((0.0286, 0.0714), abs=1e-3)
    with pytest.raises(CertificateError, match="a loss of at most 0.005 in accuracy"):
        gate(found, "int8", 0.005)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--int8", "--fp16"], "one of --int8 and --fp16"),
        (["--allow-drop", "0.1"], "--int8 or --fp16"),
        (["--fp16", "--allow-drop", "7"], "a share from 0 to 1"),
        (["--to", "html", "--zip"], "a bundle to put into one file"),
        (["--to", "exe"], "invalid choice"),
    ],
)
def test_wrong_usage_is_told(run: Run, argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and a sentence."""
    assert main(["export", str(run.path), *argv]) == 2
    assert told in capsys.readouterr().err


def test_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As every verb says it."""
    assert main(["export", str(tmp_path / "none")]) == 2
    assert "a run folder" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    """The verb's own help answers at once."""
    code = (
        "import contextlib, sys\nfrom netwright.cli import main\n"
        "with contextlib.suppress(SystemExit):\n    main(['export', '--help'])\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip().endswith("False")


def test_a_network_made_in_python(tmp_path: Path) -> None:
    """With its data and itself handed over again."""
    inputs = np.random.default_rng(0).normal(size=(80, 3)).astype("float32")
    model = nn.Linear(3, 2)
    data = nw.load((inputs, (inputs.sum(1) > 0).astype(np.int64)))
    run = nw.train(model, data, run=tmp_path / "run", progress=Silent(), report=False, epochs=1, skip="all")
    bundle = open_bundle(nw.export(run, model=model, data=data))
    assert bundle.spec["kind"] == "tensor"
    assert bundle.certificate["examples"]


PHOTOS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.look, self.out = nn.Conv2d(3, 4, 3), nn.Linear(5, 2)

    def forward(self, photo, numbers):
        return self.out(torch.cat((self.look(photo).mean((2, 3)), numbers), dim=1))
"""


def test_no_path_of_this_machine_is_in_a_bundle(tmp_path: Path) -> None:
    """Pictures that a table names go into its examples as data."""
    generator = np.random.default_rng(0)
    (tmp_path / "net.py").write_text(PHOTOS, encoding="utf-8")
    lines = ["photo,size,kind"]
    for index in range(60):
        pixels = generator.integers(99 * (index % 2), 120 + 99 * (index % 2), (9, 9, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{index}.png")
        lines.append(f"{index}.png,{index % 7},{'ab'[index % 2]}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = nw.load(str(tmp_path / "list.csv"), target="kind", input="photo,size")
    model = nw.load_model(f"{tmp_path / 'net.py'}:Net")
    run = nw.train(model, data, run=tmp_path / "run", progress=Silent(), report=False, epochs=1, skip="all")
    bundle = open_bundle(nw.export(run, model=model, data=data))
    assert str(tmp_path) not in json.dumps([dict(bundle.certificate), dict(bundle.spec)])
    assert bundle.spec["samples"][0]["photo"].startswith("data:image/png")
    assert bundle.certificate["programs"]["run.py"].startswith("compared")
