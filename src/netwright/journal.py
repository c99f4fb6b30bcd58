"""What a run writes while it trains: rows of metrics, TensorBoard files, the person's progress; and its first files."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import platform
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from netwright import __version__
from netwright.copies import keep_functions, lasting
from netwright.data.describe import findings
from netwright.events import Events
from netwright.models import copy_sources, net_spec
from netwright.progress import Progress, Row, scores_of
from netwright.records import Choice, Environment, Finding, RunSpec
from netwright.run import Run, new_run, not_writable
from netwright.session import Session

PACKAGES = ("torch", "numpy", "safetensors", "scikit-learn", "scipy", "pillow", "pydantic", "netwright")


class Journal:
    """Rows of metrics on disk, in TensorBoard files and on the screen. A context manager."""

    def __init__(self, session: Session, run: Run, progress: Progress) -> None:
        self._session = session
        self._run = run
        self._progress = progress
        self._file: IO[str] | None = None
        self._board: Events | None = None
        self._mark = (time.perf_counter(), session.state.step)

    def __enter__(self) -> Journal:
        state = self._session.state
        self._progress.start(
            done=state.step, total=self._session.total_steps, samples_per_step=self._session.batch_size
        )
        try:
            self._file = self._run.metrics_file.open("a", encoding="utf-8")
            self._board = Events(self._run.path, purge_step=state.step + 1)
        except OSError as error:
            raise not_writable(self._run.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        for sink in (self._file, self._board):
            if sink is not None:
                with contextlib.suppress(OSError):  # the disk may be full; that error was raised already
                    sink.close()

    def step(self, done: int) -> None:
        """One more update."""
        self._progress.step(done)

    def say(self, text: str) -> None:
        """A sentence for the person."""
        self._progress.say(text)

    def log_train(self, epoch: int, lr: float, *, epoch_end: bool = False) -> dict[str, float]:
        """Write the means since the epoch began. Synchronises with the device."""
        state = self._session.state
        loss, metrics = state.sums.means()
        now, (then, step) = time.perf_counter(), self._mark
        self._mark = (now, state.step)
        row: Row = {"step": state.step, "epoch": epoch, "split": "train", "loss": loss, **metrics}
        row |= {"lr": lr, "samples_per_s": round((state.step - step) * self._session.batch_size / (now - then), 1)}
        return self._write(row | ({"epoch_end": True} if epoch_end else {}))

    def log_val(self, epoch: int, means: tuple[float, dict[str, float]]) -> dict[str, float]:
        """Write the means over the validation split."""
        row: Row = {"step": self._session.state.step, "epoch": epoch, "split": "val", "loss": means[0], **means[1]}
        self._mark = (time.perf_counter(), self._session.state.step)
        return self._write(row | {"epoch_end": True})

    def _write(self, row: Row) -> dict[str, float]:
        scores = {f"{row['split']}/{name}": value for name, value in scores_of(row).items()}
        try:
            if self._file is not None:
                self._file.write(json.dumps(row) + "\n")
                self._file.flush()
            if self._board is not None:
                self._board.add(row["step"], scores)
        except OSError as error:
            raise not_writable(self._run.path, error) from error
        self._progress.row(row)
        return scores


def start_run(
    session: Session,
    where: Path | None,
    *,
    reference: str | None,
    arguments: dict[str, Any],
    given: tuple[str, ...] = (),
    found: tuple[Finding, ...] = (),
) -> Run:
    """Make the folder and write what is known before the first update.

    Args:
        found: What checking found, kept beside what looked wrong in the data.

    Raises:
        RunError: The folder cannot be made or written to.
    """
    name = f"{session.data.spec.name}-{type(session.model).__name__}"
    with new_run(where, root=Path("runs"), name=name, now=datetime.now()) as (run, named):
        entry = copy_sources(session.model if reference is None else reference, run.model_folder)
        if reference is None and _takes_arguments(type(session.model)):
            entry = None  # what the instance was made with is not known, so it cannot be made again
        run.write_spec(
            RunSpec(
                netwright=__version__,
                net=net_spec(session.model, reference, arguments, entry),
                data=lasting(session.data.spec.source),
                load=session.data.spec.options,
                settings=session.settings,
                given=given,
                functions=keep_functions(session.settings, session.data.spec, run),
            )
        )
        run.write(session.plan)
        run.write(session.data.spec)
        run.write(environment())
        run.write_findings((*found, *findings(session.data)))
    return named[0]


def _takes_arguments(kind: type) -> bool:
    """Whether a class has constructor arguments of its own; nn.Module's bare *args and **kwargs are none."""
    parameters = inspect.signature(kind).parameters.values()
    return any(one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters)


def environment() -> Environment:
    """Versions and machine, as they are now."""
    from importlib import metadata

    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        processor=processor(),
        cores=os.cpu_count() or 1,
        packages=packages,
        git=_git_commit(),
        command=tuple(sys.argv),
    )


def processor() -> str:
    """The processor's name, where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def describe_choices(choices: tuple[Choice, ...]) -> list[str]:
    """One line a choice: name, value, reason."""
    width = max(len(choice.name) for choice in choices)
    return [
        f"  {choice.name:<{width}}  {_value(choice.value)}  – {choice.reason}" for choice in choices if choice.reason
    ]


def _value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _git_commit() -> str | None:
    """The commit of the working folder, with + where files differ from it."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain"], capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")
