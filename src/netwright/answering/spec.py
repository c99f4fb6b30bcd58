"""What a bundle says of itself, checked: what its inputs are, what is done to them, and what its answers mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from netwright.data.raw import InputField
from netwright.errors import BundleError
from netwright.metrics.entities import Scheme, find_scheme
from netwright.preprocess import Preprocess
from netwright.transcripts import Alphabet

KINDS = ("image", "text", "sound", "table", "series", "tensor")
TASKS = (
    "classification", "multi_label", "regression", "forecasting", "tagging", "transcription", "next_token", "several",
    "own",
)  # fmt: skip
DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool")
MOST_FIELDS = 10_000


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the graph; ``answer`` of several is whose it is, ``what`` is how its numbers are meant."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    answer: str | None = None
    what: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """What is between a raw input and an answer.

    Attributes:
        varying: Names of the fields whose first size is not the same for all samples.
        together: Whether samples of different lengths may be padded into one batch.
        never_empty: Names of the fields of which each sample must have a position, as the trained module asks.
        answers: Of several, by name: the task and the classes of each.
        half_widths: Of forecasts' intervals, float64 (H, D); None for none.
    """

    name: str
    kind: str
    task: str
    fields: tuple[InputField, ...]
    preprocess: Preprocess
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    varying: frozenset[str]
    together: bool
    never_empty: tuple[str, ...]
    classes: tuple[str, ...]
    letters: Alphabet
    answers: Mapping[str, tuple[str, tuple[str, ...]]]
    threshold: float
    half_widths: NDArray[np.float64] | None
    scheme: Scheme | None


def read_spec(given: Mapping[str, Any], classes: Mapping[str, Any], *, where: str) -> Spec:
    """The records of preprocess.json and classes.json as one.

    Args:
        given: What preprocess.json holds.
        classes: What classes.json holds.
        where: What the bundle is called.

    Raises:
        BundleError: Something is missing in them, or of another kind than it must be.
    """
    look = _Look(where)
    kind = look.one_of(given.get("kind"), KINDS, "kind")
    task = look.one_of(given.get("task"), TASKS, "task")
    model = look.mapping(given.get("model"), "model")
    answer = look.mapping(given.get("answer") or {}, "answer")
    limits = look.mapping(given.get("limits") or {}, "limits")
    fields = tuple(look.field(one) for one in look.sequence(given.get("fields"), "fields"))
    names = look.texts(classes.get("classes") or [], "classes")
    letters = look.texts(classes.get("letters") or [], "letters")
    found = Spec(
        name=look.text(given.get("name"), "name"),
        kind=kind,
        task=task,
        fields=fields,
        preprocess=_preprocess(given.get("preprocess"), where),
        inputs=tuple(look.port(one) for one in look.sequence(model.get("inputs"), "model.inputs")),
        outputs=tuple(look.port(one) for one in look.sequence(model.get("outputs"), "model.outputs")),
        varying=frozenset(field.name for field in fields if field.shape[:1] == (-1,)),
        together=given.get("together") is True,
        never_empty=look.texts(limits.get("never_empty") or [], "limits.never_empty"),
        classes=names,
        letters=Alphabet(letters),
        answers=look.answers(answer.get("answers") or {}, look.mapping(classes.get("answers") or {}, "answers")),
        threshold=look.number(answer.get("threshold", 0.5), "answer.threshold"),
        half_widths=look.matrix(answer.get("half_widths"), "answer.half_widths"),
        scheme=find_scheme(names) if task == "tagging" else None,
    )
    _fitting(found, look)
    return found


def _preprocess(given: Any, where: str) -> Preprocess:
    try:
        return Preprocess.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleError(
            where=f"{where}, preprocess of preprocess.json",
            expected="operations that this netwright knows",
            got=f"at {place}: {first['msg']}",
            cure="Use a newer netwright, or export the run again.",
        ) from error


def _fitting(spec: Spec, look: _Look) -> None:
    """Operations, outputs and names that belong together are there together."""
    steps = spec.preprocess
    needed: dict[str, Any] = {
        "text": steps.text or steps.words,
        "sound": steps.sound,
        "table": steps.rows,
        "series": steps.windows or steps.recording,
    }
    if spec.kind in needed and needed[spec.kind] is None:
        raise look.wrong("preprocess", f"the operation that reads {spec.kind} data", None)
    if spec.task == "forecasting" and steps.windows is None:
        raise look.wrong("preprocess", "window_series, for forecasts", None)
    if spec.task == "next_token" and steps.text is None:
        raise look.wrong("preprocess", "tokenise, for next tokens", None)
    if not spec.inputs or not spec.outputs:
        raise look.wrong("model", "inputs and outputs", None)
    if spec.task in ("classification", "multi_label", "tagging") and not spec.classes:
        raise look.wrong("classes", "the names of the classes", None)
    if spec.task == "several" and not spec.answers:
        raise look.wrong("answer.answers", "the answers", None)
    for name, sizes in _wanted_outputs(spec).items():
        shape = next((port.shape for port in spec.outputs if port.name == name), None)
        told = () if shape is None else shape[len(shape) - len(sizes) :]
        if shape is None or len(shape) <= len(sizes) or told != sizes:
            raise look.wrong("model.outputs", f"{name} (…, {', '.join(map(str, sizes))})", shape)


def _wanted_outputs(spec: Spec) -> dict[str, tuple[int, ...]]:
    """Which outputs a task answers from, with the last sizes of each."""
    if spec.task in ("classification", "multi_label", "tagging"):
        return {"probabilities": (len(spec.classes),)}
    if spec.task == "forecasting" and spec.preprocess.windows is not None:
        return {"values": (spec.preprocess.windows.horizon, spec.preprocess.windows.targets)}
    if spec.task == "transcription":
        return {"log_probs": (spec.letters.num_outputs,), "frames": ()}
    if spec.task == "next_token" and spec.preprocess.text is not None:
        return {"log_probs": (spec.preprocess.text.vocab_size,)}
    if spec.task == "several":
        found: dict[str, tuple[int, ...]] = {}
        for answer, (task, classes) in spec.answers.items():
            last = () if task == "regression" else (len(classes),)
            found[f"{answer}.{'values' if task == 'regression' else 'probabilities'}"] = last
        return found
    return {}


class _Look:
    """Values of JSON, each refused where it is not what it must be."""

    def __init__(self, where: str) -> None:
        self.where = where

    def wrong(self, name: str, expected: str, got: object) -> BundleError:
        shown = "nothing" if got is None else ascii(got)[:60]
        return BundleError(
            where=f"{self.where}, {name}",
            expected=expected,
            got=shown,
            cure="Export the run again.",
        )

    def text(self, value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise self.wrong(name, "a text", value)
        return value

    def one_of(self, value: Any, known: Sequence[str], name: str) -> str:
        if value not in known or not isinstance(value, str):
            raise self.wrong(name, f"one of {', '.join(known)}", value)
        return value

    def number(self, value: Any, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(name, "a number", value)
        return float(value)

    def mapping(self, value: Any, name: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(name, "an object", value)
        return value

    def sequence(self, value: Any, name: str) -> list[Any]:
        if not isinstance(value, list) or len(value) > MOST_FIELDS:
            raise self.wrong(name, f"a list of at most {MOST_FIELDS:,}", value)
        return value

    def texts(self, value: Any, name: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.wrong(name, "a list of texts", value)
        return tuple(value)

    def field(self, value: Any) -> InputField:
        one = self.mapping(value, "fields")
        shape = self.sequence(one.get("shape"), "shape of a field")
        if not all(type(size) is int and size >= -1 for size in shape):
            raise self.wrong("shape of a field", "whole numbers", shape)
        dtype = self.one_of(one.get("dtype"), DTYPES, "dtype of a field")
        return InputField(self.text(one.get("name"), "name of a field"), tuple(shape), dtype)

    def port(self, value: Any) -> Port:
        one = self.mapping(value, "model")
        shape = self.sequence(one.get("shape"), "shape of an input")
        if not all(isinstance(size, str) or type(size) is int for size in shape):
            raise self.wrong("shape of an input", "whole numbers and names", shape)
        answer = one.get("answer")
        return Port(
            self.text(one.get("name"), "name of an input"),
            self.one_of(one.get("dtype"), DTYPES, "dtype of an input"),
            tuple(shape),
            None if answer is None else self.text(answer, "answer of an output"),
            self.text(one.get("is", ""), "what an output is"),
        )

    def answers(self, value: Any, classes: Mapping[str, Any]) -> dict[str, tuple[str, tuple[str, ...]]]:
        kinds = ("classification", "multi_label", "regression")
        found = {}
        for name, one in self.mapping(value, "answer.answers").items():
            task = self.one_of(self.mapping(one, name).get("task"), kinds, f"task of {name}")
            found[name] = (task, self.texts(one.get("classes") or classes.get(name) or [], f"classes of {name}"))
        return found

    def matrix(self, value: Any, name: str) -> NDArray[np.float64] | None:
        if value is None:
            return None
        rows = self.sequence(value, name)
        if not rows or any(not isinstance(row, list) or len(row) != len(rows[0]) for row in rows):
            raise self.wrong(name, "rows of numbers", value)
        return np.asarray([[math.nan if one is None else self.number(one, name) for one in row] for row in rows])
