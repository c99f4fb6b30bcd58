"""How far two answers to the same input are apart: in numbers, and in what is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Answer = Mapping[str, Any]
# Values are held against their deviation. Of one that is a hundred deviations and more, a share of this share of itself
# is what float32 can hold: with a tolerance of 1e-4 the sixth digit.
LARGE = 0.01
ANSWER = ""  # where there is one answer, its scale is known under this name


@dataclass(frozen=True, slots=True)
class Apart:
    """Of two answers.

    Attributes:
        numbers: The largest difference: of probabilities as they are, of values as a share of their scale, or of
            ``LARGE`` of themselves where that is more.
        same: Whether what is decided is equal: the class, labels, tags, the transcript, the text.
        what: What differs most, for people.
    """

    numbers: float = 0.0
    same: bool = True
    what: str = ""

    def __or__(self, other: Apart) -> Apart:
        worse = max(self, other, key=lambda one: (not one.same, one.numbers))
        return Apart(max(self.numbers, other.numbers), self.same and other.same, worse.what)


def column_of(answer: str, place: int) -> str:
    """Under which name the scale of one column of an answer is known."""
    return f"{answer}[{place}]"


def apart(true: Answer, other: Answer, scales: Mapping[str, float], *, name: str = ANSWER) -> Apart:
    """Compare two answers, each as ``Prediction.model_dump(mode="json", exclude_none=True)``.

    Args:
        true: The trained module's.
        other: The bundle's.
        scales: By name of an answer how large a usual difference of its values is, as the targets' deviation.
        name: Of the answer that is compared, where there are several.
    """
    if "error" in true or "error" in other:
        both = "error" in true and "error" in other
        return Apart(0.0, both, "" if both else str(other.get("error") or "an answer where the module has none"))
    found = Apart()
    if "answers" in true:
        for key, one in true["answers"].items():
            held = other.get("answers", {}).get(key)
            found |= Apart(1.0, False, f"no answer {key}") if held is None else apart(one, held, scales, name=key)
        return found
    for key in ("label", "text", "continuation"):
        if true.get(key) != other.get(key):
            found |= Apart(0.0, False, f"{_short(other.get(key))} instead of {_short(true.get(key))}")
    for key in ("labels", "tags", "entities"):
        if tuple(true.get(key, ())) != tuple(other.get(key, ())):
            found |= Apart(0.0, False, f"{key} {_short(other.get(key))} instead of {_short(true.get(key))}")
    scale = scales.get(name, 1.0)
    for one, another, what in _numbers(true, other):
        if another is None:
            found |= Apart(1.0, False, f"no {what}")
        else:
            kind, _, place = what.partition(" ")
            own = scales.get(column_of(name, int(place)), scale) if kind == "value" else scale
            share = 1.0 if kind == "probability" else max(own, LARGE * abs(one))
            found |= Apart(abs(one - another) / share, True, f"{what} {another:.6g} instead of {one:.6g}")
    return found


def _numbers(true: Answer, other: Answer) -> list[tuple[float, float | None, str]]:
    """Numbers of both, beside each other, and what they are."""
    found: list[tuple[float, float | None, str]] = []
    there = other.get("probabilities") or {}
    found += [(one, there.get(key), f"probability of {key}") for key, one in (true.get("probabilities") or {}).items()]
    for key, what in (("confidences", "probability"), ("value", "value")):
        ours, theirs = true.get(key) or (), other.get(key) or ()
        found += [
            (one, theirs[place] if place < len(theirs) else None, f"{what} {place}") for place, one in enumerate(ours)
        ]
    for column, steps in (true.get("forecast") or {}).items():
        theirs = (other.get("forecast") or {}).get(column, ())
        for place, step in enumerate(steps):
            held = theirs[place] if place < len(theirs) else {}
            for key in ("value", "low", "high"):
                if step.get(key) is not None:
                    found.append((step[key], held.get(key), f"{column} {step['time']}, {key}"))
    return found


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return f"“{text[:60]}{'…' if len(text) > 60 else ''}”"
