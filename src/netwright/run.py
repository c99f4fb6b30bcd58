"""The run folder: the only thing that passes between verbs. No other module spells the names of its files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from netwright.disk import atomic_write_text, try_lock
from netwright.errors import MissingFileError, RunError, RunLockedError
from netwright.records import DataSpec, Environment, Finding, Plan, RunSpec
from netwright.results import Evaluation

R = TypeVar("R", bound=BaseModel)
MOST_VALUES = 100_000  # of settings: names of files, classes and arguments
FINDINGS = TypeAdapter(tuple[Finding, ...])


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder. Its properties are paths; ``read_*`` and ``write_*`` move records in and out."""

    path: Path

    @property
    def settings_file(self) -> Path:
        """What was asked."""
        return self.path / "settings.yaml"

    @property
    def plan_file(self) -> Path:
        """What was decided, with reasons."""
        return self.path / "plan.json"

    @property
    def environment_file(self) -> Path:
        """Versions and machine."""
        return self.path / "environment.json"

    @property
    def data_file(self) -> Path:
        """What was understood of the data."""
        return self.path / "data.json"

    @property
    def findings_file(self) -> Path:
        """What looked wrong."""
        return self.path / "findings.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line, in order of steps."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Generations to resume from."""
        return self.path / "checkpoints"

    @property
    def weights_file(self) -> Path:
        """Parameters and buffers under the module's own names."""
        return self.path / "weights.safetensors"

    @property
    def evaluation_file(self) -> Path:
        """Scores, with intervals."""
        return self.path / "evaluation.json"

    @property
    def predictions_file(self) -> Path:
        """The answer to each sample of the evaluated split."""
        return self.path / "predictions.safetensors"

    @property
    def report_file(self) -> Path:
        """The page."""
        return self.path / "report.html"

    def exported(self, kind: Literal["bundle", "bundle.zip", "page.html"]) -> Path:
        """Where what was exported lies, unless another place was named."""
        return self.path / kind

    @property
    def model_folder(self) -> Path:
        """The person's source, copied."""
        return self.path / "model"

    @property
    def functions_folder(self) -> Path:
        """Source of losses, optimizers and schedules that lie in files, copied."""
        return self.path / "functions"

    @property
    def lock_file(self) -> Path:
        """Held while a process trains here."""
        return self.path / ".lock"

    def read_spec(self) -> RunSpec:
        """What was asked of this run.

        Raises:
            RunError: The file cannot be understood.
        """
        try:
            tree = yaml.safe_load(self.settings_file.read_text(encoding="utf-8"))
            _bounded(tree)
            return RunSpec.model_validate(tree)
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            raise _unreadable(self.settings_file, error) from error

    def read_plan(self) -> Plan:
        """What was decided."""
        return _read(self.plan_file, Plan)

    def read_data(self) -> DataSpec:
        """What was understood of the data."""
        return _read(self.data_file, DataSpec)

    def read_environment(self) -> Environment:
        """Where it was trained."""
        return _read(self.environment_file, Environment)

    def read_evaluation(self) -> Evaluation:
        """What the model scored."""
        return _read(self.evaluation_file, Evaluation)

    def write_spec(self, spec: RunSpec) -> None:
        """Keep what was asked."""
        text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        atomic_write_text(self.settings_file, text)

    def write(self, record: Plan | Environment | DataSpec | Evaluation) -> None:
        """Keep a record in the file of its kind."""
        files = {
            Plan: self.plan_file,
            Environment: self.environment_file,
            DataSpec: self.data_file,
            Evaluation: self.evaluation_file,
        }
        atomic_write_text(files[type(record)], record.model_dump_json(indent=1) + "\n")

    def write_findings(self, findings: tuple[Finding, ...]) -> None:
        """Keep what looked wrong."""
        atomic_write_text(self.findings_file, FINDINGS.dump_json(findings, indent=1).decode() + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """All rows written so far; an unfinished last line is left out.

        Raises:
            RunError: The file is no text.
        """
        if not self.metrics_file.exists():
            return []
        try:
            text = self.metrics_file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise _unreadable(self.metrics_file, error) from error
        rows = []
        for line in text.splitlines():
            with contextlib.suppress(json.JSONDecodeError, RecursionError):
                rows.append(json.loads(line))
        return rows

    def rewind_metrics(self, step: int) -> None:
        """Drop the rows after ``step``; they will be written again."""
        rows = [row for row in self.read_metrics() if row["step"] <= step]
        atomic_write_text(self.metrics_file, "".join(json.dumps(row) + "\n" for row in rows))


@contextlib.contextmanager
def new_run(where: Path | None, *, root: Path, name: str, now: datetime) -> Iterator[tuple[Run, list[Run]]]:
    """A folder to fill, which takes its name only when it is filled: a run that exists can always be read.

    Args:
        where: The folder's name; it must be empty or absent. None: ``root/2026-11-23-name``, with ``-2``, ``-3`` …

    Yields:
        The folder to fill, and a list that holds the run under its own name after the block.

    Raises:
        RunError: The folder holds something already, or cannot be made.
    """
    target = root / f"{now:%Y-%m-%d}-{_slug(name)}" if where is None else where
    _check_free(where)
    draft = target.parent / f".{target.name}.draft-{os.getpid()}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
    except OSError as error:
        raise not_writable(target, error) from error
    named: list[Run] = []
    try:
        yield Run(draft), named
        named.append(Run(_take_name(draft, target, number=where is None)))
    except OSError as error:
        raise (error if isinstance(error, RunError) else not_writable(target, error)) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _take_name(draft: Path, target: Path, *, number: bool) -> Path:
    """Rename the draft to ``target``, or to the first of ``target-2``, ``target-3`` … that is free."""
    path, count = target, 1
    while True:
        if not path.exists() or (not number and path.is_dir() and not any(path.iterdir())):
            try:
                with contextlib.suppress(OSError):
                    path.rmdir()  # an empty one, where the system does not replace it
                draft.replace(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not number:
                    raise
            else:
                return path
        count += 1
        path = target.with_name(f"{target.name}-{count}")


def _check_free(where: Path | None) -> None:
    if where is None or not where.exists():
        return
    held = sorted(entry.name for entry in where.iterdir()) if where.is_dir() else [where.name]
    if held:
        raise RunError(
            where=str(where),
            expected="an empty folder for a new run",
            got=f"one that holds {', '.join(held[:4])}{', …' if len(held) > 4 else ''}",
            cure=f"Go on with that run by --resume {where}, or name another folder.",
        )


def _slug(name: str) -> str:
    return re.sub(r"[^0-9A-Za-z\u4e00-\u9fff_]+", "-", name).strip("-").lower()


def open_run(path: Path | str) -> Run:
    """A run that exists.

    Raises:
        MissingFileError: There is no run in ``path``.
    """
    path = Path(path)
    run = Run(path)
    if not run.settings_file.is_file():
        near = path if path.is_dir() else path.parent
        found = sorted(entry.name for entry in near.iterdir())[:8] if near.is_dir() else []
        raise MissingFileError(
            where=str(path),
            expected="a run folder, with settings.yaml",
            got=f"no settings.yaml; {near} holds {', '.join(found)}" if found else "nothing there",
            cure="Name the folder that `netwright train` printed, as runs/2026-11-23-mnist-net.",
        )
    return run


@contextlib.contextmanager
def locked(run: Run) -> Iterator[None]:
    """Hold the run for this process; freed by the system when the process ends, however it ends.

    Raises:
        RunLockedError: Another process holds it.
    """
    try:
        handle = run.lock_file.open("a+", encoding="utf-8")
    except OSError as error:
        raise not_writable(run.path, error) from error
    with handle:
        if try_lock(handle.fileno()) is False:
            handle.seek(0)
            raise RunLockedError(
                where=str(run.path),
                expected="a run in which nothing trains now",
                got=f"one held by {handle.read().strip() or 'another process'}",
                cure="Wait for it to end, or stop it; both would write the same checkpoints.",
            )
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        handle.flush()
        yield


def not_writable(path: Path, error: OSError) -> RunError:
    """The error for a folder that cannot be written to."""
    return RunError(
        where=str(path),
        expected="a folder that can be written to",
        got=error.strerror or str(error),
        cure="Free space or change its rights, or name another folder with --run or --runs.",
    )


def _read(path: Path, kind: type[R]) -> R:
    if not path.is_file():
        found = sorted(entry.name for entry in path.parent.iterdir())
        raise MissingFileError(
            where=str(path.parent),
            expected=path.name,
            got=f"only {', '.join(found)}",
            cure="Finish the run with --resume, or evaluate it first.",
        )
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _bounded(tree: Any) -> None:
    """Refuse values that stand in each other by aliases of YAML until nobody can write them down."""
    count, left = 0, [tree]
    while left:
        one = left.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values, by aliases in each other")
        left += list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else []


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(
        where=str(path),
        expected="a file that netwright wrote",
        got=str(error).splitlines()[0],
        cure="It was changed or damaged: bring it back, or train again.",
    )
