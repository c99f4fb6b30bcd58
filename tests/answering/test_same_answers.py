"""A bundle answers as the run does that it is of: the same dicts, for good inputs and bad."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

import netwright as nw
from answering.alone import alone
from answering.kinds import KINDS, Made
from netwright.answering.batches import plan
from netwright.answering.predictor import Predictor
from netwright.answering.runs import RunEngine
from netwright.answering.spec import read_spec
from netwright.cli import main
from netwright.errors import DataError, UsageError
from netwright.inference import Trained
from netwright.predicting import predict
from shipping.exporting import TEXTS, opened


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


def without_torch(made: Made, more: dict[str, int]) -> None:
    """run.py answers as ``Predictor``, where neither torch nor pydantic nor SciPy can be imported."""
    predictor = Predictor.open(made.bundle)
    given = [written(raw) for raw in made.raws]
    lines = "".join(json.dumps({"input": one}) + "\n" for one in given if one is not None)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in more.items()]
    code, out, err = alone(made.bundle, "-", "--format", "jsonl", *options, given=lines)
    wanted = predictor.predict([raw for raw, one in zip(made.raws, given, strict=True) if one is not None], **more)
    assert code == any("error" in one for one in wanted), err
    found = [json.loads(line) for line in out.splitlines()]
    assert [one | {"name": ""} for one in found] == [one | {"name": ""} for one in wanted]


def written(raw: Any) -> Any:
    """A raw input as JSON; None where it is none."""
    if isinstance(raw, Path):
        return str(raw)
    if isinstance(raw, bytes):
        return "data:application/octet-stream;base64," + base64.b64encode(raw).decode()
    if isinstance(raw, np.ndarray):
        return raw.tolist() if raw.dtype.kind in "iu" else None
    return raw


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
    without_torch(made, more)
    for raw, one in zip(made.raws, found, strict=True):
        (alone,) = predictor.predict([raw], **more)
        same(alone | {"name": "", "error": ""}, one | {"name": "", "error": ""})


def test_padding_changes_no_answer_and_where_it_would_none_is_added(text: Made, tmp_path: Path) -> None:
    """Texts of different lengths share a batch only where the bundle says that they may."""
    texts = ["play", "turn on the light", "明天 下雨 吗", "music " * 40, "play on"]
    predictor = Predictor.open(text.bundle)
    spec = read_spec(predictor.spec, predictor.bundle.classes, where="here")
    samples = [predictor.decode(one) for one in texts]
    assert len(plan(samples, 64, varying=spec.varying, together=spec.together)) == 1
    assert plan(samples, 2, varying=spec.varying, together=True) == [[0, 4], [1, 2], [3]]
    apart = plan(samples, 64, varying=spec.varying, together=False)
    assert sorted(map(len, apart)) == [1, 1, 1, 1, 1]
    alone = [predictor.predict([one])[0] for one in texts]
    same(predictor.predict(texts), alone)
    same(predictor.predict(texts, batch_size=2), alone)


class Careless(nn.Module):
    """The mean over all positions, padding among them."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(vocab_size, 8), nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.words(tokens).mean(1))


def test_a_run_pads_none_of_its_inputs() -> None:
    """What its module answers with does not depend on which inputs come together."""
    data = nw.load(TEXTS)
    spec: Any = SimpleNamespace(net=SimpleNamespace(class_name="Careless"))
    trained: Trained = dataclasses.replace(opened(Careless(data.spec.preprocess.text.vocab_size), data), spec=spec)
    texts = ["play", "turn on the light", "book a table for two", "music " * 20, "play", "will it rain"]
    predictor = Predictor(RunEngine(trained))
    alone = [predictor.predict([one])[0] for one in texts]
    same(predictor.predict(texts), alone)
    same(predictor.predict(texts, batch_size=2), alone)
    same([one.model_dump(mode="json", exclude_none=True) for one in predict(trained, texts)], alone)


def test_pictures_of_several_sizes_fail_alone(image: Made) -> None:
    """A network that takes one size answers those of it, and says of the others which it takes."""
    sizes = [(8, 8), (20, 9), (8, 8), (3, 3)]
    found = Predictor.open(image.bundle).predict([np.full(size, 7, np.uint8) for size in sizes])
    assert ["error" in one for one in found] == [False, True, False, True]
    assert found[1]["error"] == "input `image`: expected shape (1, 8, 8), got (1, 20, 9)."


def test_strings_from_others_name_no_files(image: Made, tmp_path: Path) -> None:
    """What a request holds is base64 or refused; a person's own list may name files."""
    path = tmp_path / "a.png"
    Image.fromarray(np.full((8, 8), 9, np.uint8)).save(path)
    predictor = Predictor.open(image.bundle)
    with pytest.raises(DataError, match="base64"):
        predictor.decode(str(path))
    encoded = base64.b64encode(path.read_bytes()).decode()
    wanted = predictor.decode(path)
    for one in (encoded, f"data:image/png;base64,{encoded}", path.read_bytes()):
        assert (predictor.decode(one)["image"] == wanted["image"]).all()
    assert "error" not in predictor.predict([str(path)])[0]


def test_options_are_looked_at(text: Made) -> None:
    """Before anything is answered."""
    predictor = Predictor.open(text.bundle)
    for options in ({"beam": 2}, {"batch_size": 0}, {"temperature": 0.5}):
        with pytest.raises(UsageError):
            predictor.predict(["play"], **options)
    with pytest.raises(UsageError, match="a list of inputs"):
        predictor.predict("play")
    assert predictor.predict([]) == []
    assert predictor.answer([], []) == []


def test_a_run_is_asked_in_the_same_way(tmp_path: Path) -> None:
    """With torch, which is imported for it; pictures that its network does not take fail alone."""
    (tmp_path / "net.py").write_text(NET)
    assert main([
        "train", f"{tmp_path}/net.py:Net", "--data", "digits", "--run", f"{tmp_path}/run", "--epochs", "1",
        "--no-report", "--skip", "all", "--json",
    ]) == 0  # fmt: skip
    predictor = Predictor.open(tmp_path / "run")
    sizes = [(8, 8), (20, 9), (8, 8)]
    found = predictor.predict([np.full(size, 7, np.uint8) for size in sizes])
    assert ["error" in one for one in found] == [False, True, False]
    wanted = nw.predict(tmp_path / "run", [np.full((8, 8), 7, np.uint8)])[0]
    same(found[0], wanted.model_dump(mode="json", exclude_none=True))
    assert (predictor.kind, predictor.task, predictor.bundle) == ("image", "classification", None)


NET = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
"""
