"""What is exported in good faith is never refused: modules of every kind, trained for a moment."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import netwright as nw
from netwright.answering.bundle import open_bundle
from netwright.errors import ExportRefusedError
from netwright.progress import Silent

ROOT = Path(__file__).resolve().parents[2]
FILE = importlib.util.spec_from_file_location("odd_modules", ROOT / "bench" / "odd_modules.py")
assert FILE is not None
assert FILE.loader is not None
odd_modules = importlib.util.module_from_spec(FILE)  # not by the folder: bench/serving.py would hide tests/serving
FILE.loader.exec_module(odd_modules)
CASES = odd_modules.CASES

# What no graph can hold, and what the refusal says of it.
REFUSED = {"branches and loops by value": "value", "through NumPy": "NumPy"}


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_a_good_model_is_proved(name: str, tmp_path: Path) -> None:
    """Starters, blocks, hooks, custom functions, tied weights: within 1e-4, all decisions equal."""
    model, data, options = CASES[name]()
    asked: dict[str, Any] = {"batch_size": 32, "epochs": 1, "skip": "all"} | options
    run = nw.train(model, data, run=tmp_path / "run", progress=Silent(), report=False, **asked)
    if name in REFUSED:
        with pytest.raises(ExportRefusedError, match=REFUSED[name]):
            nw.export(run, model=model, data=data)
        return
    held = open_bundle(nw.export(run, model=model, data=data)).certificate
    checked = held["validation"]  # where rounding alone moves the module's own answers by more, so much is allowed
    assert checked["largest_difference"] <= max(1e-4, min(2e-3, 10 * checked.get("rounding", 0)))
    assert held["validation"]["decisions_equal"] == held["validation"]["decisions"]
    assert all(edge["decisions_equal"] == edge["count"] for edge in held["edges"])
