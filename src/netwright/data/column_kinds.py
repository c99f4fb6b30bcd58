"""What a file with columns is of: texts with something to be answered, or a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from netwright.data.columns import TEXTS
from netwright.data.compact import kind_of
from netwright.data.text_columns import PAIRS
from netwright.records import LoadOptions

if TYPE_CHECKING:
    import pandas as pd


def looks_like_table(frame: pd.DataFrame, options: LoadOptions) -> bool:
    """Whether the first rows of a file are of a table, and not of texts with a label."""
    if options.input is not None:
        asked = [options.input] if options.input in frame.columns else [one.strip() for one in options.input.split(",")]
        return not (len(asked) <= 2 and set(asked) <= set(frame.columns) and _are_texts(frame, asked))
    folded = {str(name).casefold(): name for name in frame.columns}
    if any(set(pair) <= set(folded) and _are_texts(frame, [folded[name] for name in pair]) for pair in PAIRS):
        return False
    named = [name for name in frame.columns if str(name).casefold() in TEXTS and kind_of(frame[name]) == "text"]
    if any(_is_prose(frame[name]) for name in named) or (named and len(frame.columns) == 2):
        return False
    prose = [name for name in frame.columns if _is_prose(frame[name])]
    return not (prose and len(frame.columns) <= 2)


def _are_texts(frame: pd.DataFrame, names: Sequence[str]) -> bool:
    """Whether columns hold texts; of two, one may say little again and again, as a question asked of many passages."""
    worded = all(kind_of(frame[name]) == "text" for name in names)
    return worded and any(_is_prose(frame[name]) for name in names)


def _is_prose(cells: pd.Series[Any]) -> bool:
    """Whether a column holds texts that mostly differ, and are no numbers or dates."""
    there = [str(cell) for cell in cells if str(cell).strip()]
    if not there or kind_of(cells) != "text":
        return False
    return len(set(there)) > 0.5 * len(there) and sum(map(len, there)) >= 6 * len(there)
