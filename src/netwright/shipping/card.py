"""The model card: what a bundle is for, what it was made of, how good it is, what it cannot, how to make it again.

Source:
    Mitchell et al. 2019, "Model cards for model reporting", arXiv:1810.03993: the sections.
"""

from __future__ import annotations

import shlex
from typing import Any

from netwright.records import DataSpec, Environment, RunSpec
from netwright.results import Evaluation, Score
from netwright.wording import harmless, interval, number, operations_text

KINDS = {
    "image": "a picture", "text": "a text", "sound": "a sound", "table": "a row of a table", "series": "a series",
    "tensor": "numbers",
}  # fmt: skip
TASKS = {
    "classification": "one of some classes",
    "multi_label": "any number of labels",
    "regression": "numbers",
    "forecasting": "what is to come",
    "tagging": "a tag for each word",
    "transcription": "what is said in it",
    "next_token": "how it goes on",
    "several": "several answers",
}
NAMED = 20


def write_card(
    spec: RunSpec,
    data: DataSpec,
    evaluation: Evaluation | None,
    environment: Environment | None,
    certificate: dict[str, Any],
) -> str:
    """The card as Markdown.

    Args:
        evaluation: The run's scores; None where it was never evaluated.
        environment: Where it was trained.
        certificate: As in certificate.json.
    """
    parts = [
        f"# {_plain(f'{spec.net.class_name} on {data.name}')}",
        _purpose(spec, data),
        _data(data),
        _scores(evaluation),
        _proof(certificate),
        _limits(data, evaluation),
        _again(spec, environment),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _plain(text: str) -> str:
    """A name from data that cannot act as Markdown or HTML."""
    shown = harmless(text).replace("\n", "\\n").replace("\t", "\\t")  # else the rest of it would begin a line
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!" else sign for sign in shown)


def _purpose(spec: RunSpec, data: DataSpec) -> str:
    given, answer = KINDS[data.kind], TASKS.get(data.task, "numbers of a task of its own")
    lines = [
        "## What it is for",
        "",
        f"It is given {given} and answers with {answer}. It is a `{spec.net.class_name}` of "
        f"{spec.net.num_parameters:,} parameters, trained by netwright {spec.netwright}.",
    ]
    for name, classes in _classes(data):
        some = ", ".join(_plain(one) for one in classes[:NAMED]) + (", …" if len(classes) > NAMED else "")
        lines += ["", f"{name} ({len(classes)}): {some}."]
    return "\n".join(lines)


def _classes(data: DataSpec) -> list[tuple[str, tuple[str, ...]]]:
    own = [("Classes", data.classes)] if data.classes else []
    return own + [(f"Classes of {_plain(one.name)}", one.classes) for one in data.answers if one.classes]


def _data(data: DataSpec) -> str:
    rows = [f"| {_plain(name)} | {split.count:,} |" for name, split in data.splits.items()]
    steps = [f"- `{name}` {_plain(text)}" for name, text in operations_text(data.preprocess.model_dump(mode="json"))]
    return "\n".join(
        ["## Data", "", f"{_plain(data.name)}, {data.kind}; SHA-256 of all samples `{data.digest}`.", ""]
        + ["| split | samples |", "|---|--:|", *rows, "", "What is done to an input before the network sees it:", ""]
        + (steps or ["- nothing"])
    )


def _scores(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "## Scores\n\nIt was never evaluated: `netwright evaluate` does."
    count = evaluation.count
    lines = ["## Scores", "", f"On {count:,} samples of `{evaluation.split}`, with 95 % intervals.", ""]
    lines += ["| score | value | interval |", "|---|--:|--:|"]
    lines += [_score(score, count) for score in evaluation.scores]
    if evaluation.baselines:
        lines += ["", "Simple methods on the same samples:", "", "| method | score | value |", "|---|---|--:|"]
        lines += [
            f"| {_plain(one.name)} | {one.score.name} | {number(one.score.name, one.score.value, count=count)} |"
            for one in evaluation.baselines
        ]
    return "\n".join(lines)


def _score(score: Score, count: int) -> str:
    held = interval(score, count=count) or "–"
    return f"| {_plain(score.name)} | {number(score.name, score.value, count=count)} | {held} |"


def _proof(certificate: dict[str, Any]) -> str:
    validation, edges = certificate["validation"], certificate["edges"]
    asked = sum(edge["count"] for edge in edges)
    equal, decisions = validation["decisions_equal"], validation["decisions"]
    decided = f", and {equal:,} of {decisions:,} decisions are equal" if decisions else ""
    lines = [
        "## Proof that it answers as the trained module does",
        "",
        f"On {validation['count']:,} samples of `{validation['split']}` the largest difference is "
        f"{validation['largest_difference']:.1e}{decided}. {asked:,} raw inputs, those at the edge of what is allowed "
        "among them, were asked as well; all is in certificate.json.",
    ]
    for name, one in certificate.get("variants", {}).items():
        low, high = one["interval"]
        lines += [
            "",
            f"Its numbers are {name}: {one['score']} {one['value']:.4f} instead of {one['before']:.4f}, a loss of "
            f"{one['loss']:.4f} (95 % interval {low:.4f} to {high:.4f}; {one['allowed']:g} was allowed).",
        ]
    return "\n".join(lines)


def _limits(data: DataSpec, evaluation: Evaluation | None) -> str:
    lines = ["## Limits", ""]
    preprocess = data.preprocess
    if preprocess.text is not None:
        lines.append(f"- A text is cut after {preprocess.text.max_length:,} tokens.")
    if preprocess.words is not None:
        lines.append(f"- A sentence has at most {preprocess.words.max_length:,} words.")
    if preprocess.sound is not None:
        lines.append(
            f"- A sound has at most {preprocess.sound.max_seconds:g} s, at {preprocess.sound.sample_rate:,} Hz."
        )
    if preprocess.windows is not None:
        lines.append(f"- A history has at least {preprocess.windows.context} steps of {preprocess.windows.grid.text}.")
    lines += [f"- {_plain(note)}" for note in (evaluation.notes if evaluation is not None else ())]
    lines.append("- It knows only what its training data hold; on inputs of another kind it answers all the same.")
    return "\n".join(lines)


def _again(spec: RunSpec, environment: Environment | None) -> str:
    lines = ["## How to make it again", ""]
    if environment is not None:
        command = shlex.join(["netwright", *map(_without_folders, environment.command[1:])])
        lines += ["```", _fenced(command), "```", ""] if environment.command else []
        lines.append(f"Python {environment.python}; " + ", ".join(f"{k} {v}" for k, v in environment.packages.items()))
    lines.append(f"Seed {spec.settings.seed}.")
    return "\n".join(lines)


def _without_folders(word: str) -> str:
    """A word of the command; of a file that was named from the root its name alone."""
    return word.rpartition("/")[2] if word.startswith("/") else word


def _fenced(text: str) -> str:
    return harmless(text).replace("```", "'''")
