"""The words of the report: fixed sentences in the reader's language, numbers as people write them, names made harmless.

Knows nothing of the run folder or of HTML pages. The sentences are data, in ``templates/report/<lang>.json``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from netwright.results import Score

Lang = Literal["en", "zh"]

# Scores that are shares of a whole, which people read in percent.
SHARES = re.compile(r"accuracy|smape|precision|recall|f1|hamming_loss|error_rate|top_?\d+|^ece$|calibration_error")
# From so many samples on, the second decimal of a percentage says something: 1 / 5,000 = 0.02 %.
TWO_DECIMALS_FROM = 5_000
# Controls would act on a terminal or hide in an editor; marks of direction would turn round the text beside them.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# The text of one cell of the page; a tensor printed by mistake must not bury the rest.
MAX_CELL = 400


@dataclass(frozen=True, slots=True)
class Words:
    """The sentences and labels of one language."""

    lang: Lang
    sentences: Mapping[str, str]
    labels: Mapping[str, str]

    def label(self, name: str) -> str:
        """The reader's word for a name in a record; the name itself, spaced, where none is known."""
        known = self.labels.get(name)
        if known is None and "/" in name:  # of one of several answers
            answer, _, rest = name.partition("/")
            return f"{answer}: {self.label(rest)}"
        return known or name.replace("_", " ")

    def text(self, key: str, **values: object) -> str:
        """A sentence as plain text."""
        return self.sentences[key].format(**values)


def read_words(lang: Lang) -> Words:
    """All words of a language."""
    text = (resources.files("netwright") / "templates" / "report" / f"{lang}.json").read_text(encoding="utf-8")
    held = json.loads(text)
    return Words(lang=lang, sentences=held["sentences"], labels=held["labels"])


def harmless(text: str) -> str:
    """Text whose control characters and marks of direction are shown instead of obeyed."""

    def show(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return CONTROLS.sub(show, text)


def short(text: str, size: int = MAX_CELL) -> str:
    """Text cut in its middle to at most ``size`` characters; a blank one in quotation marks."""
    if not text.strip():
        return f'"{text}"'
    return text if len(text) <= size else f"{text[: size * 2 // 3]} … {text[-(size // 4) :]}"


def value_text(value: object) -> str:
    """A setting, a choice or an option as one line."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={value_text(item)}" for key, item in value.items()) or "–"
    if isinstance(value, (tuple, list)):
        return ", ".join(value_text(item) for item in value) or "–"
    return short(str(value))


def is_share(name: str) -> bool:
    """Whether a score of this name is read in percent."""
    return SHARES.search(name) is not None


def number(name: str, value: float | None, *, count: int = 0) -> str:
    """A score's number, in percent where people read it so, with as many digits as the samples bear.

    Args:
        name: Of the score.
        value: None and numbers that are not finite become a dash.
        count: Samples it was measured on.
    """
    if value is None or not math.isfinite(value):
        return "–"
    if is_share(name):
        text = f"{100 * value:.{2 if count >= TWO_DECIMALS_FROM else 1}f}%"
    elif value and not 1e-3 <= abs(value) < 1e9:
        text = f"{value:.3g}"
    else:
        digits = next((digits for below, digits in ((10, 3), (100, 2), (1e5, 1)) if abs(value) < below), 0)
        text = f"{value:,.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def end_text(name: str, value: float) -> str:
    """The end of an axis, without digits that say nothing."""
    if is_share(name):
        return f"{100 * value:.0f}%"
    short = float(f"{value:.3g}")
    return f"{short:,.0f}" if 1e3 <= abs(short) < 1e9 else f"{short:.3g}"


def interval(score: Score, *, count: int = 0) -> str:
    """The 95 % interval of a score as "low – high"; empty where it has none."""
    if score.low is None or score.high is None:
        return ""
    return f"{number(score.name, score.low, count=count)} – {number(score.name, score.high, count=count)}"


def share_text(value: float | None) -> str:
    """A share in [0, 1] in percent, never rounded to a certainty that it is not."""
    if value is None or not math.isfinite(value):
        return "–"
    if 0.999 <= value < 1:
        return ">99.9%" if value > 0.9995 else "99.9%"
    return f"{100 * value:.1f}%" if value < 0.1 or value > 0.99 else f"{100 * value:.0f}%"


def operations_text(preprocess: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each preprocessing operation as its name and its arguments."""
    rows = []
    for operation in preprocess.get("operations", ()):
        rest = {key: value for key, value in operation.items() if key not in ("op", "tokenizer")}  # that one is long
        rows.append((str(operation.get("op", "")), value_text(rest)))
    return rows
