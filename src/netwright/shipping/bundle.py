"""Write a trained run as a bundle: what answers without torch and without the person's class, and the proof of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netwright.answering.runs import described
from netwright.answering.shown import harmless_json
from netwright.batch import Batch
from netwright.data.batches import eval_batches
from netwright.data.dataset import Data
from netwright.inference import Trained
from netwright.results import Evaluation
from netwright.run import Run
from netwright.shipping.card import write_card
from netwright.shipping.graph import Exported
from netwright.shipping.placing import CERTIFICATE
from netwright.shipping.raws import as_json, raws
from netwright.tasks.forecasting import Forecasting

SHOWN = 8  # samples that a page offers to be tried
Say = Callable[[str], None]


def stored(data: Data) -> Data:
    """The same samples, with what is done to batches left to the graph."""
    preprocess = data.spec.preprocess
    kept = tuple(one for one in preprocess.operations if one not in preprocess.tensor)
    fields = {
        name: own.model_copy(update={"operations": tuple(one for one in own.operations if one not in own.tensor)})
        for name, own in preprocess.fields.items()
    }
    plain = preprocess.model_copy(update={"operations": kept, "fields": fields})
    return dataclasses.replace(data, spec=data.spec.model_copy(update={"preprocess": plain}))


def first_batch(data: Data, split: str, count: int) -> Batch:
    """The first samples of a split as they are stored."""
    return next(eval_batches(stored(data), split, batch_size=count, workers=0))


def spec_of(trained: Trained, data: Data, exported: Exported, *, opset: int, together: bool) -> dict[str, Any]:
    """All that stands between a raw input and an answer, as preprocess.json has it."""
    spec = trained.data_spec
    return described(trained) | {
        "task": "own" if ":" in spec.task else spec.task,
        "model": {
            "opset": opset,
            "inputs": [{"name": one.name, "dtype": one.dtype, "shape": list(one.shape)} for one in exported.inputs],
            "outputs": [dict(one) for one in exported.outputs],
        },
        "together": together,
        "answer": _answer(trained),
        "limits": _limits(trained),
        "samples": _samples(trained, data),
    }


def classes_of(trained: Trained) -> dict[str, Any]:
    """Names of what is answered, as classes.json has them."""
    spec = trained.data_spec
    return {
        "classes": list(spec.classes) if spec.classes is not None else None,
        "answers": {one.name: list(one.classes) for one in spec.answers if one.classes is not None},
        "letters": list(spec.letters) if spec.letters is not None else None,
    }


def _answer(trained: Trained) -> dict[str, Any]:
    spec = trained.data_spec
    found: dict[str, Any] = {"threshold": 0.5}
    if spec.preprocess.windows is not None and spec.task == Forecasting.name:
        found["half_widths"] = _half_widths(trained.run, Forecasting(spec.preprocess.windows))
    if spec.answers:
        found["answers"] = {one.name: {"task": one.task} for one in spec.answers}
    return found


def _half_widths(run: Run, task: Forecasting) -> list[list[float]] | None:
    if not run.evaluation_file.is_file():
        return None
    widths = task.remembered(run.read_evaluation()).half_widths
    return None if widths is None else widths.tolist()


def _limits(trained: Trained) -> dict[str, Any]:
    preprocess = trained.data_spec.preprocess
    found: dict[str, Any] = {}
    if preprocess.text is not None:
        found["max_length"] = preprocess.text.max_length
    if preprocess.words is not None:
        found["max_length"] = preprocess.words.max_length
    if preprocess.sound is not None:
        found["max_seconds"] = preprocess.sound.max_seconds
    return found


def _samples(trained: Trained, data: Data) -> list[Any]:
    """Some samples of the validation split, one of each class as far as there are such, to be tried."""
    return [one for one in _written(trained, data, _spread(data, SHOWN)) if one is not None]


def _written(trained: Trained, data: Data, indices: Sequence[int]) -> list[Any]:
    spec = trained.data_spec
    return [as_json(raw, spec.preprocess, spec.kind) for raw in raws(data, scored(data), indices)]


def scored(data: Data) -> str:
    """The split that a bundle is compared on: validation, or what there is."""
    return "val" if data.val is not None and len(data.val) else "test" if data.test is not None else "train"


def _spread(data: Data, count: int) -> list[int]:
    """Indices over a split, of as many classes as there are."""
    source = data.split(scored(data))
    total = len(source)
    targets = np.asarray(source.targets)
    if targets.ndim == 1 and len(targets) == total and targets.dtype.kind in "iu":
        _, first = np.unique(targets, return_index=True)
        return sorted(int(index) for index in first[:count])
    return sorted({int(index) for index in np.linspace(0, total - 1, min(count, total))})


def digest(content: bytes) -> dict[str, Any]:
    """SHA-256 and size of a file."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Of all files of a bundle but the certificate, by their names from its folder."""
    return {
        path.relative_to(folder).as_posix(): digest(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != CERTIFICATE
    }


def as_text(value: Any) -> str:
    """JSON for a file."""
    return harmless_json(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)) + "\n"


def write_parts(folder: Path, parts: dict[str, bytes]) -> None:
    """Put files into a draft."""
    for name, content in parts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def card(trained: Trained, certificate: dict[str, Any]) -> str:
    """The model card."""
    run = trained.run
    evaluation: Evaluation | None = run.read_evaluation() if run.evaluation_file.is_file() else None
    environment = run.read_environment() if run.environment_file.is_file() else None
    return write_card(trained.spec, trained.data_spec, evaluation, environment, certificate)
