"""A bundle that was exported from a run is served as it was certified."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serving.running import request, serving

NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(64, 32)
        self.last = torch.nn.Linear(32, 10)

    def forward(self, x):
        return self.last(torch.relu(self.first(x.flatten(1))))
"""


@pytest.mark.soak
def test_an_exported_run_is_served_as_it_was_certified(tmp_path: Path) -> None:
    """Trained, exported and served: each example of the certificate gets the certified answer."""
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    train = [
        "train",
        f"{tmp_path / 'net.py'}:Net",
        "--data",
        "digits",
        "--epochs",
        "2",
        "--no-report",
        "--run",
        str(run),
    ]
    for arguments in (train, ["export", str(run), "--out", str(bundle)]):
        subprocess.run([sys.executable, "-m", "netwright", *arguments], check=True, capture_output=True)
    examples = json.loads((bundle / "certificate.json").read_text(encoding="utf-8"))["examples"]
    assert len(examples) >= 8
    with serving(f"digits={bundle}") as one:
        for example in examples:
            status, _, body = one.ask(request("/predict", json.dumps({"input": example["input"]}).encode()))
            assert status == 200
            told = json.loads(body)
            assert told["label"] == example["answer"]["label"]
            assert told["probabilities"] == pytest.approx(example["answer"]["probabilities"], abs=1e-4)
