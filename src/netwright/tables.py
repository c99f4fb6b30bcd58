"""An evaluation on a terminal: the headline beside the best baseline, scores, classes, confusion, doubts.

Reads records only. Names come from people's data: markup is escaped, control characters are shown instead of obeyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from netwright.results import Baseline, ClassRow, Evaluation, Score
from netwright.wording import harmless, interval, number, short

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_CLASS_ROWS = 20
MAX_CONFUSION = 12
MAX_NAME = 24
BASELINES = {
    "tfidf_logistic_regression": "TF-IDF + logistic regression",
    "tfidf_ridge": "TF-IDF + ridge regression",
    "band_logistic_regression": "bands + logistic regression",
}
# What stands in records in one word, as people say it.
METHODS = {
    "batch_means": "batch means",
    "wilson": "Wilson",
    "wilson_effective": "Wilson, effective count",
    "bootstrap_t": "bootstrap-t",
    "bootstrap_bca": "bootstrap BCa",
    "delong": "DeLong",
    "jackknife": "jackknife",
    "wilson_clustered": "Wilson, by group",
}
NAMES = {
    "mase": "MASE",
    "smape": "sMAPE",
    "roc_auc": "ROC AUC",
    "macro_roc_auc": "macro ROC AUC",
    "f1": "F1",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "entity_f1": "entity F1",
    "macro_entity_f1": "macro entity F1",
    "sentence_accuracy": "sentences without a mistake",
    "subset_accuracy": "samples with exactly their labels",
    "hamming_loss": "share of wrong labels",
    "weighted_f1": "weighted F1",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "ece": "calibration error",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R²",
    "top_3_accuracy": "top-3 accuracy",
    "top_5_accuracy": "top-5 accuracy",
}


def render_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print an evaluation."""
    console.print(_headline(evaluation))
    console.print(_scores(evaluation))
    if evaluation.baselines:
        console.print(_baselines(evaluation))
    if evaluation.per_class:
        console.print(_classes(evaluation))
    if evaluation.confusion and len(evaluation.confusion) <= MAX_CONFUSION:
        console.print(_confusion(evaluation))
    for note in evaluation.notes:
        console.print(f"[yellow]note[/]  {escape(harmless(note))}")


def _headline(evaluation: Evaluation) -> str:
    score = evaluation.score(evaluation.headline)
    value = number(score.name, score.value, count=evaluation.count)
    counted = {"next_token": "tokens", "tagging": "sentences"}.get(evaluation.task, "samples")
    lines = [
        f"[bold]{_name(score.name)} {value}[/]{_in_brackets(score, evaluation)}"
        f" on {evaluation.count:,} {counted} of {escape(harmless(evaluation.split))}"
    ]
    best = best_baseline(evaluation)
    if best is not None:
        lines.append(
            f"best baseline {_baseline(best)} "
            f"{number(best.score.name, best.score.value, count=evaluation.count)}{_in_brackets(best.score, evaluation)}"
        )
    return "\n".join(lines)


def best_baseline(evaluation: Evaluation) -> Baseline | None:
    """The baseline with the best score of the headline's name; None where there is none."""
    usable = [one for one in evaluation.baselines if one.score.name == evaluation.headline]
    sign = 1 if evaluation.score(evaluation.headline).higher_is_better else -1
    return max(usable, key=lambda one: sign * one.score.value, default=None)


def _in_brackets(score: Score, evaluation: Evaluation) -> str:
    text = interval(score, count=evaluation.count)
    return f" [dim](95 % interval {text})[/]" if text else ""


def _scores(evaluation: Evaluation) -> Table:
    table = _table("score", "value", "95 % interval", "by", numbers=(1, 2))
    for score in evaluation.scores:
        table.add_row(
            _name(score.name),
            number(score.name, score.value, count=evaluation.count),
            interval(score, count=evaluation.count) or "–",
            METHODS.get(score.method or "", _text(score.method or "–")),
        )
    return table


def _baselines(evaluation: Evaluation) -> Table:
    table = _table("baseline", "value", "95 % interval", "how", numbers=(1, 2))
    for one in evaluation.baselines:
        value = number(one.score.name, one.score.value, count=evaluation.count)
        ends = interval(one.score, count=evaluation.count)
        table.add_row(_baseline(one), value, ends, escape(harmless(one.detail)))
        for other in one.others:
            held = number(other.name, other.value, count=evaluation.count)
            table.add_row(f"  {_name(other.name)}", held, interval(other, count=evaluation.count), "", style="dim")
    return table


def _classes(evaluation: Evaluation) -> Table:
    rows: Sequence[ClassRow] = evaluation.per_class
    title = None
    if len(rows) > MAX_CLASS_ROWS:
        rows = sorted(rows, key=lambda row: row.f1.value)[:MAX_CLASS_ROWS]
        title = f"The {MAX_CLASS_ROWS} classes of lowest F1, of {len(evaluation.per_class):,}"
    table = _table("class", "samples", "precision", "recall", "F1", "95 % interval", numbers=(1, 2, 3, 4, 5))
    table.title = title
    for row in rows:
        shares = [number(one.name, one.value) for one in (row.precision, row.recall, row.f1)]
        table.add_row(_text(row.name), f"{row.support:,}", *shares, interval(row.f1))
    return table


def _confusion(evaluation: Evaluation) -> Table:
    names = evaluation.classes or tuple(map(str, range(len(evaluation.confusion))))
    table = _table("true ↓ predicted →", *(_text(name, 8) for name in names), numbers=tuple(range(1, len(names) + 1)))
    for index, row in enumerate(evaluation.confusion):
        cells = [
            f"[bold]{count:,}[/]" if index == column else f"[red]{count:,}[/]" if count else "·"
            for column, count in enumerate(row)
        ]
        table.add_row(_text(names[index]), *cells)
    return table


def _table(*columns: str, numbers: tuple[int, ...]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in numbers else "left", overflow="fold")
    return table


def _name(name: str) -> str:
    answer, slash, rest = name.partition("/")
    if slash:
        return f"{_text(answer)}: {_name(rest)}"
    return NAMES.get(name) or _text(name.replace("_", " "), 60)


def _baseline(one: Baseline) -> str:
    return BASELINES.get(one.name) or _text(one.name.replace("_", " "))


def _text(text: str, size: int = MAX_NAME) -> str:
    """A person's word: short, on one line, obeyed by nothing."""
    return escape(short(harmless(" ".join(text.split("\n"))), size))
