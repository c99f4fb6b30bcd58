"""Numbers that a graph gave, as answers: dicts as ``results.Prediction`` dumps them, without what is None.

``B`` samples, ``C`` classes, ``T`` positions, ``F`` frames, ``H`` steps, ``D`` columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.answering.batches import Sample
from netwright.answering.spec import Spec
from netwright.ctc import beam_search, greedy
from netwright.metrics.answers import (
    class_answer,
    forecast_answer,
    label_answer,
    number_answer,
    tag_answer,
    token_answer,
)
from netwright.preprocess import detokenise

Arrays = Mapping[str, NDArray[Any]]
Answer = dict[str, Any]


def answers_of(
    spec: Spec, outputs: Arrays, samples: Sequence[Sample], names: Sequence[str], *, beam: int = 1
) -> list[Answer]:
    """The answer to each sample of a batch.

    Args:
        spec: Of the bundle.
        outputs: Of the graph, each (B, ...).
        samples: As they were collated; tags need their lengths, forecasts their times.
        names: What each input is called.
        beam: Beginnings kept when transcripts are read; 1 takes the likeliest path.

    Returns:
        One a sample; where numbers are NaN or infinite it has ``error`` in place of an answer.
    """
    tell = TELL[spec.task]
    found = []
    for index, name in enumerate(names):
        told = tell(spec, outputs, index, samples[index], beam)
        found.append(not_finite(name) if told is None else {"name": name} | told)
    return found


def not_finite(name: str) -> Answer:
    """The answer where the graph gave NaN or infinity."""
    return {"name": name, "error": f"{name}: expected an answer in finite numbers, got NaN or infinity."}


def _class(spec: Spec, outputs: Arrays, index: int, sample: Sample, beam: int) -> Answer | None:
    row = outputs["probabilities"][index]
    return class_answer(row, spec.classes) if _finite(row) else None


def _labels(spec: Spec, outputs: Arrays, index: int, sample: Sample, beam: int) -> Answer | None:
    row = outputs["probabilities"][index]
    return label_answer(row, spec.classes, spec.threshold) if _finite(row) else None


def _numbers(spec: Spec, outputs: Arrays, index: int, sample: Sample, beam: int) -> Answer | None:
    row = outputs[spec.outputs[0].name][index]
    return number_answer(row) if _finite(row) else None


def _forecast(spec: Spec, outputs: Arrays, index: int, sample: Sample, beam: int) -> Answer | None:
    operation, values = spec.preprocess.windows, outputs["values"][index]
    if operation is None or not _finite(values):
        return None
    told = forecast_answer(operation, values, spec.half_widths, float(sample["origin"]))
    # The series is what the forecast is called after, where there are several.
    return {"name": operation.names[int(sample["series"])]} | told if operation.series else told


def _tags(spec: Spec, outputs: Arrays, index: int, sample: Sample, beam: int) -> Answer | None:
    rows = outputs["probabilities"][index, : len(sample["tokens"])]
    if not _finite(rows):
        return None
    words = {"words": list(sample["_words"])} if "_words" in sample else {}
    return words | tag_answer(rows, spec.classes, spec.scheme)


def _transcript(spec: Spec, outputs: Arrays, index: int, sample: Sample, beam: int) -> Answer | None:
    rows = outputs["log_probs"][index, : int(outputs["frames"][index])]
    if not _finite(rows):
        return None
    letters = greedy(rows) if beam == 1 else beam_search(rows, beam)[0]
    return {"text": spec.letters.decode(letters)}


def _token(spec: Spec, outputs: Arrays, index: int, sample: Sample, beam: int) -> Answer | None:
    row, operation = outputs["log_probs"][index], spec.preprocess.text
    if operation is None or np.isnan(row).any():
        return None
    return token_answer(row, detokenise(operation, [int(row.argmax())]))


def _several(spec: Spec, outputs: Arrays, index: int, sample: Sample, beam: int) -> Answer | None:
    answers: dict[str, Any] = {}
    for name, (task, classes) in spec.answers.items():
        row = outputs[f"{name}.{'values' if task == 'regression' else 'probabilities'}"][index]
        if not _finite(row):
            return None
        if task == "regression":
            told = number_answer(row)
        elif task == "classification":
            told = class_answer(row, classes)
        else:
            told = label_answer(row, classes, spec.threshold)
        answers[name] = {"name": name} | told
    return {"answers": answers}


def _finite(values: NDArray[Any]) -> bool:
    # A sum is not finite where a term is not; else all are looked at, as float32 sums of finite terms may overflow.
    return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())


Tell = Callable[[Spec, Arrays, int, Sample, int], Answer | None]
TELL: Mapping[str, Tell] = {
    "classification": _class,
    "multi_label": _labels,
    "regression": _numbers,
    "forecasting": _forecast,
    "tagging": _tags,
    "transcription": _transcript,
    "next_token": _token,
    "several": _several,
    "own": _numbers,
}
