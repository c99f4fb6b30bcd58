"""What the stand-alone page makes of inputs, held against what Python makes of them."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from chromium import Browser
from netwright.errors import DataError
from netwright.preprocess import Preprocess, sample


def fields_of(engine: Browser, preprocess: Preprocess, raws: list[Any]) -> list[dict[str, Any]]:
    """What the page makes of raw inputs; bytes go as base64."""
    plain = [base64.b64encode(raw).decode() if isinstance(raw, bytes) else raw for raw in raws]
    field = '{name: "image", shape: [1, 1, 1], dtype: "uint8"}'
    spec = f"{{preprocess: {preprocess.model_dump_json()}, fields: [{field}]}}"
    return json.loads(engine.evaluate(f"nw.all({spec}, {json.dumps(plain)}).then(JSON.stringify)"))


def assert_same(found: dict[str, Any], preprocess: Preprocess, raw: Any, *, within: float = 0.0) -> None:
    """The fields that Python makes, or its refusal."""
    try:
        wanted = sample(preprocess, raw)
    except DataError as error:
        assert found.get("error", "").splitlines()[0] == str(error).splitlines()[0]
        return
    assert "error" not in found, (raw, found)
    for name, values in wanted.items():
        got = found["fields"][name]
        assert got["shape"] == list(values.shape), name
        np.testing.assert_allclose(got["data"], values.ravel().astype(np.float64), rtol=within, atol=within)
