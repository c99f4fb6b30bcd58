"""A bundle answers as the run does that it is of: the same dicts, for good inputs and bad."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import netwright as nw
from answering.kinds import KINDS
from netwright.answering.predictor import Predictor


def same(found: Any, wanted: Any, where: str = "") -> None:
    """Equal, numbers to 1e-5 of their size: products are summed in another order."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for name in wanted:
            same(found[name], wanted[name], f"{where}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
            same(one, other, f"{where}[{place}]")
    elif isinstance(wanted, float):
        assert math.isclose(found, wanted, rel_tol=1e-5, abs_tol=1e-6), (where, found, wanted)
    else:
        assert found == wanted, where


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_answers_as_its_run(kind: str, tmp_path: Path) -> None:
    """Whatever goes in, each alone and all together."""
    made = KINDS[kind](tmp_path)
    more = {"max_new_tokens": 20} if kind == "next_token" else {}
    wanted = nw.predict(made.run, made.raws, model=made.model, **more)
    predictor = Predictor.open(made.bundle)
    found = predictor.predict(made.raws, **more)
    same(found, [one.model_dump(mode="json", exclude_none=True) for one in wanted])
    assert any("error" in one for one in found)
    assert any("error" not in one for one in found)
    for raw, one in zip(made.raws, found, strict=True):
        (alone,) = predictor.predict([raw], **more)
        same(alone | {"name": "", "error": ""}, one | {"name": "", "error": ""})
