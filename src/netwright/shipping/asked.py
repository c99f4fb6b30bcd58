"""The way from raw inputs to answers, in a bundle and in the run: of the compared split, and at the edges."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netwright.answering.answers import not_finite
from netwright.answering.predictor import Predictor
from netwright.data.raw import UNREADABLE, first_line, input_name, read_input
from netwright.errors import ModelError
from netwright.metrics.answers import number_answer
from netwright.predicting import fields_of, predict
from netwright.shipping.bundle import scored
from netwright.shipping.compare import Apart, apart
from netwright.shipping.edges import edge_inputs
from netwright.shipping.raws import as_json, raws
from netwright.shipping.subject import MOST, NUDGED, TOLERANCE, Subject, refuse
from netwright.tasks import NextToken
from netwright.tasks.own import OwnTask

RAWS = 128  # validation samples that go through all of the preprocessing again
EXAMPLES = 12  # that a page can check again by itself


def known_inputs(subject: Subject) -> list[Any]:
    """Samples over all of the compared split, as raw inputs."""
    total = len(subject.data.split(scored(subject.data)))
    indices = sorted({int(index) for index in np.linspace(0, total - 1, min(RAWS, total))})
    return raws(subject.data, scored(subject.data), indices)


def _asked(subject: Subject, inputs: Sequence[Any]) -> list[dict[str, Any]]:
    """The run's own answers; one by one, so that no padding is in them."""
    trained = subject.trained
    if trained.data_spec.task == NextToken.name:
        from netwright.generation import continue_texts
        from netwright.records import Sampling

        found = continue_texts(trained, inputs, Sampling(max_new_tokens=12, temperature=0))
    elif isinstance(subject.task, OwnTask):
        return [_in_numbers(subject, one) for one in inputs]
    else:
        found = [answer for one in inputs for answer in predict(trained, [one], batch_size=1)]
    return [answer.model_dump(mode="json", exclude_none=True) for answer in found]


def _in_numbers(subject: Subject, raw: Any) -> dict[str, Any]:
    """What a task of the person's own is asked for: the module's numbers, for the person's code is in no bundle."""
    spec, name = subject.trained.data_spec, input_name(raw, 0)
    try:
        sample = read_input(raw, spec.kind, spec.inputs, spec.preprocess)
    except UNREADABLE as error:
        return {"name": name, "error": first_line(error)}
    (values,) = next(iter(subject.answers(fields_of([sample], spec)).values()))
    return {"name": name} | number_answer(values) if np.isfinite(values).all() else not_finite(name)


def _as_far_as_it_can(subject: Subject, inputs: Sequence[Any]) -> list[dict[str, Any] | None]:
    """The run's own answers; None where the module itself cannot take an input, as packing takes no empty text."""
    found: list[dict[str, Any] | None] = []
    for one in inputs:
        try:
            found += _asked(subject, [one])
        except ModelError:
            found.append(None)
    return found


def never_empty(subject: Subject) -> list[str]:
    """Names of the fields in which the module itself takes no text without a token; its graph might answer."""
    spec = subject.trained.data_spec
    if spec.preprocess.text is None or spec.task == NextToken.name:
        return []
    asked: dict[str, Any] = {"tokens": ""}
    if spec.preprocess.pair is not None:
        asked = {"first": ("", "a"), "second": ("a", "")}
    return [name for name, raw in asked.items() if _as_far_as_it_can(subject, [raw]) == [None]]


def _answered(predictor: Predictor, subject: Subject, inputs: Sequence[Any]) -> list[dict[str, Any]]:
    more = {"max_new_tokens": 12, "temperature": 0} if subject.trained.data_spec.task == NextToken.name else {}
    return predictor.predict(list(inputs), **more)


def through_both(predictor: Predictor, subject: Subject, known: Sequence[Any], *, exact: bool) -> list[dict[str, Any]]:
    """Raw inputs through both: of the compared split, and at the edges of what is allowed."""
    asked = [("raw samples of the split", list(known)), *edge_inputs(subject.trained.data_spec, known)]
    found: list[dict[str, Any]] = []
    for what, inputs in asked:
        if not inputs:
            continue
        truths = _as_far_as_it_can(subject, inputs)
        pairs = zip(truths, _answered(predictor, subject, inputs), strict=True)
        gaps = [Apart() if true is None else apart(true, other, subject.scales) for true, other in pairs]
        refused = truths.count(None)
        if refused and not found:  # of the split, which come first, it took all before
            raise refuse(what, f"none of the module itself to input {truths.index(None)}, read again")
        worst, rounding = Apart(), 0.0
        for place, one in enumerate(gaps):
            worst |= one
            if exact and one.same and not one.numbers <= TOLERANCE:
                moved = subject.rounding_of(inputs[place])
                rounding = max(rounding, moved)
                if one.numbers <= min(MOST, NUDGED * moved):
                    continue
            if exact and (not one.same or not one.numbers <= TOLERANCE):
                raise refuse(
                    f"{what}, input {place}",
                    f"{one.what or 'another answer'} ({one.numbers:.1e} apart): the graph agrees on stored samples, so "
                    "reading the input differs",
                )
        equal = sum(one.same for one in gaps)
        record = {
            "what": what, "count": len(inputs) - refused, "largest_difference": worst.numbers,
            "decisions_equal": equal - refused,
        }  # fmt: skip
        if rounding:
            record["rounding"] = rounding
        if refused:
            record["module_takes_none_of"] = refused
        found.append(record)
    return found


def examples(predictor: Predictor, subject: Subject, known: Sequence[Any]) -> list[dict[str, Any]]:
    """Inputs with their answers, which whoever has the bundle can check again."""
    spec = subject.trained.data_spec
    few = list(known[:: max(1, len(known) // EXAMPLES)])[:EXAMPLES]
    written = [as_json(one, spec.preprocess, spec.kind) for one in few]
    good = [(one, raw) for one, raw in zip(written, few, strict=True) if one is not None]
    answers = _answered(predictor, subject, [raw for _, raw in good])
    return [
        {"input": one, "answer": {key: value for key, value in answer.items() if key != "name"}}
        for (one, _), answer in zip(good, answers, strict=True)
    ]


def through_run_py(folder: Path, predictor: Predictor, subject: Subject, known: Sequence[Any], *, exact: bool) -> str:
    """run.py in a process of its own, on inputs as JSON."""
    spec = subject.trained.data_spec
    written = [(raw, as_json(raw, spec.preprocess, spec.kind)) for raw in known[:8]]
    good = [(raw, one) for raw, one in written if one is not None]
    if not good or spec.task == NextToken.name:
        return "not asked: its inputs cannot be written as JSON" if not good else "not asked: it draws its texts"
    lines = "".join(json.dumps({"input": one}, ensure_ascii=False) + "\n" for _, one in good)
    command = [sys.executable, "-I", str(folder / "run.py"), "--format", "jsonl", "-"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, encoding="utf-8", timeout=300)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(answers) != len(good):
        error = done.stderr.strip().splitlines()
        raise refuse("run.py", f"{len(answers)} answers to {len(good)} inputs: {error[-1] if error else 'no error'}")
    for (raw, _), answer in zip(good, answers, strict=True):
        (true,) = _asked(subject, [raw]) if exact else _answered(predictor, subject, [raw])
        one = apart(true, answer, subject.scales)
        if not one.same or not one.numbers <= TOLERANCE:
            raise refuse("run.py", f"{one.what or 'another answer'} ({one.numbers:.1e} apart)")
    return f"compared on {len(good)} inputs"
