"""Write what a run came to as one HTML file that needs nothing else: no script, no network, no other file.

Reads the run folder's records only; never the model, never the data. Imports no torch.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from netwright import plots, sections, wording
from netwright.disk import atomic_write_text
from netwright.errors import RunError, missing_extra
from netwright.marked import pieces
from netwright.records import Choice, DataSpec, Environment, Finding, LoadOptions, Plan, RunSpec, Settings
from netwright.results import Evaluation
from netwright.run import Run, open_run

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

T = TypeVar("T")
CHUNK_BYTES = 1 << 20
GRAVEST_FIRST = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Pages:
    """Everything a run folder says; None where it says nothing."""

    run: Run
    spec: RunSpec
    plan: Plan | None
    environment: Environment | None
    data: DataSpec | None
    findings: tuple[Finding, ...] | None
    rows: list[dict[str, Any]]
    evaluation: Evaluation | None


def report(run_folder: Path, *, lang: Literal["en", "zh"] = "en", out: Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        run_folder: As ``netwright train`` left it; may be unfinished, and then the page says what is missing.
        lang: Language of all fixed words.
        out: Where to write; None for ``report.html`` in the run folder. A file of that name is replaced.

    Returns:
        The file written.

    Raises:
        MissingFileError: There is no run in that folder.
        MissingExtraError: The ``report`` extra is not installed.
        RunError: A record is damaged, or the file cannot be written.
    """
    run = open_run(run_folder)
    path = run.report_file if out is None else Path(out)
    html = render(read(run), wording.read_words(lang))
    atomic_write_text(path, html)
    return path


def read(run: Run) -> Pages:
    """Read all records of a run.

    Raises:
        RunError: One is damaged.
    """
    return Pages(
        run=run,
        spec=run.read_spec(),
        plan=_read(run.plan_file, TypeAdapter(Plan)),
        environment=_read(run.environment_file, TypeAdapter(Environment)),
        data=_read(run.data_file, TypeAdapter(DataSpec)),
        findings=_read(run.findings_file, TypeAdapter(tuple[Finding, ...])),
        rows=[row for row in run.read_metrics() if isinstance(row, dict) and "step" in row],
        evaluation=_read(run.evaluation_file, TypeAdapter(Evaluation)),
    )


def _read(path: Path, kind: TypeAdapter[T]) -> T | None:
    if not path.is_file():
        return None
    try:
        return kind.validate_json(path.read_bytes())
    except ValidationError as error:
        raise RunError(
            where=str(path),
            expected="a file that netwright wrote",
            got=str(error).splitlines()[0],
            cure="It was changed or damaged: bring it back, or move it away to have a report without it.",
        ) from error


def render(pages: Pages, words: wording.Words) -> str:
    """The page, as HTML text.

    Raises:
        MissingExtraError: The ``report`` extra is not installed.
    """
    environment = _jinja(words)
    evaluation = pages.evaluation
    learned = sections.learning(pages.rows, pages.plan)
    context: dict[str, Any] = {
        "pages": pages,
        "name": pages.run.path.resolve().name,
        "folder": shlex.quote(str(pages.run.path)),
        "spec": pages.spec,
        "data": pages.data,
        "findings": sorted(pages.findings or (), key=lambda one: GRAVEST_FIRST.index(one.severity)),
        "evaluation": evaluation,
        "learned": learned,
        "curves": _curves(learned, words),
        "head": sections.headline(evaluation) if evaluation and evaluation.scores else None,
        "confusion": sections.confusion(evaluation) if evaluation else None,
        "class_rows": sections.class_rows(evaluation) if evaluation else ((), 0),
        "calibration": sections.calibration(evaluation) if evaluation else None,
        "surprise_end": sections.surprise_end(evaluation) if evaluation else None,
        "reliability": _reliability(evaluation, words),
        "regression": _regression(pages, words),
        "forecasts": _forecasts(evaluation, words),
        "asked": _asked(pages),
        "decided": _decided(pages),
        "operations": wording.operations_text(pages.data.preprocess.model_dump(mode="json")) if pages.data else [],
        "command": shlex.join(pages.environment.command) if pages.environment else "",
        "weights": _weights(pages.run.weights_file),
    }
    return environment.get_template("report.html.j2").render(context)


def _jinja(words: wording.Words) -> jinja2.Environment:
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise missing_extra("report", error) from error

    def finalize(value: object) -> object:
        return wording.harmless(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def sentence(key: str, **values: object) -> Markup:
        return Markup(words.sentences[key]).format(**{name: finalize(value) for name, value in values.items()})

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("netwright", "templates/report"),
        autoescape=True,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals |= {
        "t": sentence,
        "label": words.label,
        "lang": {"en": "en", "zh": "zh-Hans"}[words.lang],
        "gap": "" if words.lang == "zh" else " ",  # between sentences
        "number": wording.number,
        "end_text": wording.end_text,
        "interval": wording.interval,
        "share": wording.share_text,
        "is_share": wording.is_share,
        "mark_share": sections.mark_share,
        "value_text": wording.value_text,
        "short": wording.short,
        "pieces": pieces,
    }
    return environment


def _curves(learned: sections.Learning, words: wording.Words) -> list[tuple[str, str]]:
    """Each curve's name and its SVG."""
    drawn = []
    for name, (train, val) in learned.curves.items():
        axis = words.text("axis_epoch" if learned.by_epoch else "axis_step")
        label = words.text("curve_label", name=words.label(name), axis=axis)
        if learned.best is not None:
            label += " " + words.text("curve_best", axis=axis, at=f"{learned.best_at:g}")
        texts = {"id": name, "x": axis, "best": words.text("mark_best"), "label": label}
        svg = plots.curves(train, val, best=learned.best_at, percent=wording.is_share(name), words=texts)
        drawn.append((name, svg))
    return drawn


def _reliability(evaluation: Evaluation | None, words: wording.Words) -> str | None:
    if evaluation is None or not any(one.count for one in evaluation.calibration):
        return None
    texts = {
        "id": "reliability",
        "x": words.text("axis_confidence"),
        "y": words.text("axis_correct"),
        "count": words.text("axis_count"),
        "label": words.text("reliability_label"),
    }
    return plots.reliability(evaluation.calibration, texts)


def _regression(pages: Pages, words: wording.Words) -> tuple[str, str] | None:
    """Predicted against true values, and the residuals; None where single numbers were not predicted or not kept."""
    path = pages.run.predictions_file
    if pages.evaluation is None or pages.evaluation.task != "regression" or not path.is_file():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        held = load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError) as error:  # KeyError: a dtype that NumPy has not
        raise RunError(
            where=str(path), expected="predictions", got=str(error), cure="Evaluate the run again."
        ) from error
    if not {"targets", "values"} <= set(held) or held["targets"].size != held["values"].size:
        return None
    targets, values = held["targets"].ravel().tolist(), held["values"].ravel().tolist()
    shared = {"x": words.text("axis_true"), "y": words.text("axis_predicted")}
    against = plots.against(targets, values, {"id": "against", "label": words.text("against_label"), **shared})
    shared = {"x": words.text("axis_residual"), "y": words.text("axis_count")}
    return against, plots.residuals(
        targets, values, {"id": "residuals", "label": words.text("residual_label"), **shared}
    )


def _forecasts(evaluation: Evaluation | None, words: wording.Words) -> list[tuple[str, float, str]]:
    """Each forecast that was kept: its name, its mean error and its SVG."""
    drawn = []
    for index, one in enumerate(evaluation.worst if evaluation else ()):
        if one.forecast is not None:
            texts = {"id": f"forecast{index}", "label": words.text("forecast_plot", name=one.name)}
            drawn.append((one.name, one.error or 0.0, plots.forecast(one.forecast, texts)))
    return drawn


def _asked(pages: Pages) -> list[tuple[str, str]]:
    """What the person asked for: names and values that are not the default."""
    net = pages.spec.net
    rows = [("net", net.reference or net.class_name), ("arguments", wording.value_text(net.arguments))]
    rows = [row for row in rows if row[1] != "–"] + [("data", pages.spec.data)]
    for record in (pages.spec.load, pages.spec.settings):
        rows += [(name, wording.value_text(value)) for name, value in _changed(record).items()]
    return rows


def _changed(record: LoadOptions | Settings) -> Mapping[str, Any]:
    default = type(record)()
    return {
        name: getattr(record, name)
        for name in type(record).model_fields
        if getattr(record, name) != getattr(default, name)
    }


def _decided(pages: Pages) -> list[tuple[str, Sequence[Choice]]]:
    """Choices by what they are about; only groups that hold one."""
    groups = (("plan", pages.plan.choices if pages.plan else ()), ("data", pages.data.choices if pages.data else ()))
    return [(name, choices) for name, choices in groups if choices]


def _weights(path: Path) -> tuple[str, int, str] | None:
    """Name, size in bytes and SHA-256 of the weights file."""
    if not path.is_file():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return path.name, path.stat().st_size, digest.hexdigest()
