"""Modules and runs as people have them, which are good and are not refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import netwright as nw
from netwright.answering.bundle import open_bundle
from netwright.cli import main
from netwright.errors import CertificateError
from netwright.inference import open_trained
from netwright.models import load_function
from netwright.progress import Silent
from netwright.shipping.bundle import digests
from netwright.shipping.certificate import certify
from netwright.shipping.subject import Subject

ROOT = Path(__file__).resolve().parents[2]

PACKED = """
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class Net(nn.Module):
    def __init__(self, vocab_size, num_classes):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, 8, padding_idx=0)
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.out = nn.Linear(8, num_classes)

    def forward(self, tokens, lengths):
        x = pack_padded_sequence(self.embed(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False)
        return self.out(self.rnn(x)[1][-1])
"""

NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(64, 10)

    def forward(self, x):
        return self.out(x.flatten(1))
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "net.py").write_text(NET, encoding="utf-8")
    argv = ["train", f"{folder / 'net.py'}:Net", "--data", "digits", "--run", str(folder / "run"), "--epochs", "1"]
    assert main([*argv, "--skip", "all", "--no-report"]) == 0
    return folder / "run"


def _trained(*argv: str) -> None:
    assert main(["train", *argv, "--run", "run", "--epochs", "1", "--skip", "all", "--no-report"]) == 0


def test_a_module_that_takes_no_empty_text_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing refuses a length of 0 in the module itself; the certificate says so, and the bundle refuses it too."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(PACKED, encoding="utf-8")
    _trained("net.py:Net", "--data", str(ROOT / "examples" / "texts" / "requests.csv"))
    assert main(["export", "run"]) == 0
    edges = {one["what"]: one for one in open_bundle("run/bundle").certificate["edges"]}
    assert edges["an empty text"]["count"] == 0
    assert edges["an empty text"]["module_takes_none_of"] == 1
    assert "module_takes_none_of" not in edges["unknown words"]
    answers = nw.Predictor.open("run/bundle").predict(["play", "", "play"])
    assert ["error" in one for one in answers] == [False, True, False]
    assert "at least one token" in answers[1]["error"]


def test_a_task_of_a_persons_own_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example of docs/own_kinds.md: the bundle answers in the module's numbers; fewer bits are refused at once."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples" / "own", "own")
    Path("visits.txt").write_text(load_function("own/visits.py:made_up", where="visits")(count=400), encoding="utf-8")
    _trained("own/net.py:Net", "--data", "own/visits.py:load", "--task", "own/stars.py:Stars")
    assert main(["export", "run", "--int8"]) == 2
    told = capsys.readouterr().err
    assert "got one of your own, own/stars.py:Stars" in told
    assert "tracing" not in told
    assert main(["export", "run"]) == 0
    assert open_bundle("run/bundle").certificate["programs"]["run.py"].startswith("compared")
    (answer,) = nw.Predictor.open("run/bundle").predict([np.ones(8, dtype=np.float32)])
    assert len(answer["value"]) == 4


@pytest.mark.parametrize(("name", "how"), [("mine.zip", ["--zip"]), ("mine.html", ["--to", "html"])])
def test_a_persons_file_is_never_replaced(
    name: str, how: list[str], tmp_path: Path, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither by one .zip nor by a page; it is told before the work, and an earlier export is replaced."""
    (tmp_path / name).write_text("dear", encoding="utf-8")
    assert main(["export", str(digits), *how, "--out", str(tmp_path / name)]) == 1
    told = capsys.readouterr().err
    assert "a name that is free" in told
    assert "tracing" not in told
    assert (tmp_path / name).read_text(encoding="utf-8") == "dear"
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert main(["export", str(digits), *how, "--out", str(tmp_path / name)]) == 1
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_one_file_replaces_the_one_before(tmp_path: Path, digits: Path) -> None:
    """A bundle that is there is no person's file; an empty file is none either."""
    (tmp_path / "a.zip").touch()
    for _ in range(2):
        assert main(["export", str(digits), "--zip", "--out", str(tmp_path / "a.zip")]) == 0
    assert open_bundle(tmp_path / "a.zip").certificate["examples"]
    assert [one.name for one in tmp_path.iterdir()] == ["a.zip"]


def test_no_folder_is_left_where_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that were made for what was refused are gone too."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET.replace("return self", "return x.sum().item() * self"), encoding="utf-8")
    _trained("net.py:Net", "--data", "digits")
    assert main(["export", "run", "--out", "new/deep/bundle"]) == 1
    assert not Path("new").exists()


def _sealed(folder: Path) -> None:
    held = {"format": 1, "files": digests(folder)}
    (folder / "certificate.json").write_text(json.dumps(held), encoding="utf-8")


def _moved(folder: Path, by: float) -> None:
    """All of the last layer's answers, by so much."""
    model = onnx.load(folder / "model.onnx")
    (bias,) = [one for one in model.graph.initializer if one.name == "model.bias"]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(by), bias.name))
    onnx.save(model, folder / "model.onnx")
    _sealed(folder)


def _linear(task: str, outputs: np.ndarray, inputs: np.ndarray, folder: Path) -> tuple[Path, Subject]:
    model, data = torch.nn.Linear(inputs.shape[1], outputs.shape[1]), nw.load((inputs, outputs), task=task)
    run = nw.train(model, data, run=folder / "run", progress=Silent(), report=False, skip="all", epochs=1)
    return nw.export(run, folder / "bundle", model=model, data=data), Subject.of(open_trained(run, model), data)


def test_values_far_from_zero_are_held_against_their_deviation(tmp_path: Path) -> None:
    """Years: what is wrong by a hundredth of a deviation is refused, though it is a small share of 2,000."""
    inputs = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    bundle, subject = _linear("regression", 2_000 + inputs[:, :1], inputs, tmp_path)
    _moved(bundle, 0.01)
    with pytest.raises(CertificateError, match="values of .* apart"):
        certify(bundle, subject, variants={}, say=lambda text: None)


def test_each_label_is_a_decision(tmp_path: Path) -> None:
    """Not the likeliest alone."""
    inputs = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    bundle, _ = _linear("multi_label", (inputs > 0).astype(np.float32), inputs, tmp_path)
    held = open_bundle(bundle).certificate["validation"]
    assert held["decisions"] == held["decisions_equal"] == 3 * held["count"]


def test_a_lighter_graph_that_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    """However much its score may lose."""
    inputs = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    bundle, subject = _linear("multi_label", (inputs > 0).astype(np.float32), inputs, tmp_path)
    _moved(bundle, float("nan"))
    with pytest.raises(CertificateError, match="no finite numbers"):
        certify(bundle, subject, variants={"fp16": {}}, say=lambda text: None)


PADDED = """
from torch import nn


class Net(nn.Module):
    def __init__(self, vocab_size, num_classes):
        super().__init__()
        self.embed, self.out = nn.Embedding(vocab_size, 8), nn.Linear(8, num_classes)

    def forward(self, tokens):
        return self.out(self.embed(tokens).mean(1))
"""


def test_what_padding_changes_is_found_among_texts_of_one_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearly all texts are of one length: a longer one is looked for, and the bundle asks each length by itself."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(PADDED, encoding="utf-8")
    rows = [f"{'red blue' if index % 20 else 'blue red ' * 9} {index % 7},{'yn'[index % 2]}" for index in range(400)]
    Path("texts.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    _trained("net.py:Net", "--data", "texts.csv")
    assert main(["export", "run"]) == 0
    assert open_bundle("run/bundle").spec["together"] is False


def test_each_column_of_numbers_is_held_against_its_own_deviation(tmp_path: Path) -> None:
    """A column of small numbers beside one of large numbers."""
    inputs = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    bundle, subject = _linear("regression", inputs[:, :2] * np.float32([1e6, 1]), inputs, tmp_path)
    _moved(bundle, 0.01)
    with pytest.raises(CertificateError, match="values of .* apart"):
        certify(bundle, subject, variants={}, say=lambda text: None)


def test_onnxruntime_writes_nothing_of_an_input(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What it cannot take is told as an error, once."""
    rows = np.random.default_rng(0).integers(0, 9, (90, 4))
    model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Flatten(), torch.nn.Linear(16, 2))
    data = nw.load((rows, rows[:, 0] % 2))
    run = nw.train(model, data, run=tmp_path / "run", progress=Silent(), report=False, skip="all", epochs=1)
    predictor = nw.Predictor.open(nw.export(run, tmp_path / "bundle", model=model, data=data))
    capfd.readouterr()
    assert "error" in predictor.predict([np.full(4, 7_777)])[0]
    assert "7777" not in capfd.readouterr().err


def test_a_card_of_numbers_tells_of_no_decisions(tmp_path: Path) -> None:
    """And of no place on this machine where netwright lies."""
    inputs = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    bundle, _ = _linear("regression", inputs[:, :1], inputs, tmp_path)
    card = (bundle / "card.md").read_text(encoding="utf-8")
    assert "the largest difference is" in card
    assert "decisions" not in card
    assert f"{Path(sys.argv[0]).parent}/" not in card.split("## How to make it again")[1].splitlines()[3]
