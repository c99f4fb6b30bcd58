"""Faults that the history of a run shows: its rows of metrics, its plan and its evaluation.

Reads records only; so it can be asked of a run whose module is not here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from netwright.checks.catalogue import finding, fold, in_order
from netwright.records import CheckReport, DataSpec, Finding
from netwright.run import Run

Row = dict[str, Any]
# A validation loss this much above its least, in parts of what it had fallen by until then, has turned for good.
TURNED = 0.25
FEW_STEPS = 100


def check_run(run: Run, *, skip: frozenset[str] = frozenset()) -> CheckReport:
    """What a run's folder shows, with what checking had found before it began."""
    rows = run.read_metrics()
    spec = run.read_data()
    plan = run.read_plan()
    found = list(findings_of(rows, spec, planned=int(plan["epochs"])))
    found += kept_findings(run)
    told = [one for one in found if one.code not in skip]
    missed = () if rows else ("the history: no metrics were written yet",)
    return CheckReport(
        subject=str(run.path),
        findings=tuple(in_order(fold(told))),
        not_checked=missed,
        skipped=tuple(f"{one.code} {one.where}" for one in found if one.code in skip),
    )


def kept_findings(run: Run) -> list[Finding]:
    """Findings from before the run; none where the file is missing or damaged."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return list(TypeAdapter(tuple[Finding, ...]).validate_json(run.findings_file.read_bytes()))
    except (OSError, ValidationError):
        return []


def findings_of(rows: list[Row], spec: DataSpec, *, planned: int) -> Iterator[Finding]:
    """Faults in rows of metrics.

    Args:
        rows: As in metrics.jsonl.
        planned: Epochs that the run was to have.
    """
    train = [row for row in rows if row.get("split") == "train"]
    val = [row for row in rows if row.get("split") == "val"]
    losses = np.array([row["loss"] for row in train], dtype=float)
    if not len(losses):
        return
    yield from _diverged(losses, train)
    start = _expected_start(spec)
    if np.isfinite(losses).all() and start is not None:
        yield from _nothing_learned(losses, train, start)
    if len(val) >= 4:
        yield from _overfitted(val)
        yield from _noise(val, spec)
    steps = max((row.get("step", 0) for row in rows), default=0)
    if 0 < steps < FEW_STEPS and len(val) == planned:
        yield finding(
            "T12",
            where=f"{steps} updates in all",
            evidence=f"The run had {steps} updates; the loss went from {losses[0]:.4g} to {losses[-1]:.4g}.",
            cure="Train longer (--epochs), or in smaller batches (--batch-size).",
        )


def _diverged(losses: np.ndarray[Any, Any], train: list[Row]) -> Iterator[Finding]:
    broken = np.flatnonzero(~np.isfinite(losses))
    if len(broken):
        at = int(broken[0])
        yield finding(
            "H01",
            where=f"update {train[at].get('step')}",
            evidence=f"The training loss was {losses[at]} at update {train[at].get('step')}.",
            cure="Lower --lr, or clip with --max-grad-norm 1.",
        )
        return
    least = int(losses.argmin())
    tail = losses[least:]
    # Well above where it began: noise of single rows does not do that.
    if len(tail) >= 3 and np.median(tail[-3:]) > 2 * losses[0] and losses[0] > 0:
        yield finding(
            "H01",
            where=f"after update {train[least].get('step')}",
            evidence=f"The training loss fell to {losses[least]:.4g} and ended at {losses[-1]:.4g}; it began at "
            f"{losses[0]:.4g}.",
            cure="Lower --lr, or clip with --max-grad-norm 1.",
        )


def _expected_start(spec: DataSpec) -> float | None:
    """The loss of answering with the classes' frequencies, in nats."""
    counts = spec.splits["train"].class_counts
    if spec.task != "classification" or not counts or not sum(counts):
        return None
    shares = np.array([count for count in counts if count], dtype=float) / sum(counts)
    return float(-(shares * np.log(shares)).sum())


def _nothing_learned(losses: np.ndarray[Any, Any], train: list[Row], start: float) -> Iterator[Finding]:
    if len(losses) < 3 or start < 0.05:
        return
    best = float(losses.min())
    if best > 0.97 * start and train[-1].get("step", 0) >= FEW_STEPS:
        yield finding(
            "H02",
            where=f"all {train[-1].get('step')} updates",
            evidence=f"The training loss never fell below {best:.4g}; answering with the classes' frequencies alone "
            f"gives {start:.4g}.",
            cure="netwright check NET --data DATA looks for the reason: the rate, a cut graph, misaligned labels.",
        )


def _overfitted(val: list[Row]) -> Iterator[Finding]:
    losses = np.array([row["loss"] for row in val], dtype=float)
    if not np.isfinite(losses).all():
        return
    least = int(losses.argmin())
    fell = losses[0] - losses[least]
    rose = float(np.median(losses[-2:])) - losses[least]
    if fell > 0 and rose > TURNED * fell and least < len(losses) - 2 and rose > 0.02:
        yield finding(
            "H03",
            where=f"after epoch {val[least].get('epoch')}",
            severity="warning" if rose > fell else "note",
            evidence=f"The validation loss was least, {losses[least]:.4g}, in epoch {val[least].get('epoch')} and rose "
            f"to {losses[-1]:.4g} by epoch {val[-1].get('epoch')}. The weights kept are of the best epoch unless "
            "--keep last was asked.",
            cure="Stop sooner (--patience 3), or regularise: --weight-decay, dropout, --augment.",
        )


def _noise(val: list[Row], spec: DataSpec) -> Iterator[Finding]:
    scores = np.array([row.get("accuracy", math.nan) for row in val], dtype=float)
    size = spec.splits["val"].count if "val" in spec.splits else 0
    if not size or np.isnan(scores).any() or len(scores) < 6:
        return
    half = scores[len(scores) // 2 :]
    mean = float(half.mean())
    sampling = math.sqrt(max(mean * (1 - mean), 1e-9) / size)
    if half.max() - half.min() < 2 * sampling and half.max() > mean:
        yield finding(
            "H04",
            where=f"epochs {val[len(scores) // 2].get('epoch')} to {val[-1].get('epoch')}",
            evidence=f"Validation accuracy moved between {half.min():.4f} and {half.max():.4f}; with {size:,} samples "
            f"the standard error alone is {sampling:.4f}, so the best epoch among these was picked by chance.",
            cure="Do not read a trend into it; a larger validation split (--val-fraction) would tell them apart.",
        )
