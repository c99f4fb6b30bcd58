"""Modules and runs as people have them, which are good and are not refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import netwright as nw
from netwright.answering.bundle import open_bundle
from netwright.cli import main
from netwright.models import load_function

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


def _trained(*argv: str) -> None:
    assert main(["train", *argv, "--run", "run", "--epochs", "1", "--skip", "all", "--no-report"]) == 0


def test_a_module_that_takes_no_empty_text_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing refuses a length of 0 in the module itself; the certificate says that nothing was compared there."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(PACKED, encoding="utf-8")
    _trained("net.py:Net", "--data", str(ROOT / "examples" / "texts" / "requests.csv"))
    assert main(["export", "run"]) == 0
    edges = {one["what"]: one for one in open_bundle("run/bundle").certificate["edges"]}
    assert edges["an empty text"]["count"] == 0
    assert edges["an empty text"]["module_takes_none_of"] == 1
    assert "module_takes_none_of" not in edges["unknown words"]


def test_a_task_of_a_persons_own_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/own_kinds.md: the bundle answers with the module's numbers."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples" / "own", "own")
    Path("visits.txt").write_text(load_function("own/visits.py:made_up", where="visits")(count=400), encoding="utf-8")
    _trained("own/net.py:Net", "--data", "own/visits.py:load", "--task", "own/stars.py:Stars")
    assert main(["export", "run"]) == 0
    assert open_bundle("run/bundle").certificate["programs"]["run.py"].startswith("compared")
    (answer,) = nw.Predictor.open("run/bundle").predict([np.ones(8, dtype=np.float32)])
    assert len(answer["value"]) == 4
