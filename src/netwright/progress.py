"""Show how far training is: a bar in a terminal, a line an epoch elsewhere, a display in a notebook.

Reads numbers that were brought from the device already; never a tensor.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

Row = dict[str, Any]
# What stands in a row beside the loss, the metrics and the rate.
NO_SCORES = ("step", "epoch", "split", "samples_per_s", "epoch_end")


class Progress(Protocol):
    """What training tells of itself."""

    def start(self, *, done: int, total: int, samples_per_step: float) -> None:
        """Training begins at update ``done`` of ``total``."""

    def step(self, done: int) -> None:
        """One more update is done. Called at every step: must cost next to nothing."""

    def row(self, row: Row) -> None:
        """A row of metrics was written."""

    def say(self, text: str) -> None:
        """A sentence for the person."""

    def stop(self) -> None:
        """Training ended, however it did."""


@dataclass(slots=True)
class Silent:
    """Says nothing."""

    def start(self, *, done: int, total: int, samples_per_step: float) -> None:
        """Say nothing."""

    def step(self, done: int) -> None:
        """Say nothing."""

    def row(self, row: Row) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def stop(self) -> None:
        """Say nothing."""


class Lines:
    """One line an epoch, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._train: Row = {}
        self._began = time.perf_counter()
        self._first = 0
        self._total = 0
        self._done = 0

    def start(self, *, done: int, total: int, samples_per_step: float) -> None:
        """Take the time."""
        self._began, self._first, self._total, self._done = time.perf_counter(), done, total, done

    def step(self, done: int) -> None:
        """Count."""
        self._done = done

    def row(self, row: Row) -> None:
        """Print a line where the row ends an epoch."""
        if row["split"] == "train":
            self._train = row
        if row.get("epoch_end"):
            self._print(epoch_line(self._train, row, self._left()))

    def say(self, text: str) -> None:
        """Print the sentence."""
        self._print(text)

    def stop(self) -> None:
        """Nothing to close."""

    def _left(self) -> float:
        done = self._done - self._first
        return (time.perf_counter() - self._began) / done * (self._total - self._done) if done else 0.0

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Terminal:
    """A bar with samples a second and the time left, and a line an epoch above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,}/{task.total:,} updates"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("training", total=1, rate="")
        self._samples = 0.0
        self._shown = 0.0
        self._mark = (0.0, 0)
        self._train: Row = {}

    def start(self, *, done: int, total: int, samples_per_step: float) -> None:
        """Show the bar."""
        self._samples = samples_per_step
        self._mark = (time.perf_counter(), done)
        self._bar.update(self._task, completed=done, total=total)
        self._bar.start()

    def step(self, done: int) -> None:
        """Move the bar, at most four times a second."""
        now = time.perf_counter()
        if now - self._shown < 0.25:
            return
        self._shown = now
        rate = (done - self._mark[1]) * self._samples / max(now - self._mark[0], 1e-9)
        self._bar.update(self._task, completed=done, rate=f"{rate:,.0f} samples/s")

    def row(self, row: Row) -> None:
        """Print a line above the bar where the row ends an epoch."""
        if row["split"] == "train":
            self._train = row
        if row.get("epoch_end"):
            self._console.print(epoch_line(self._train, row, None), highlight=False, markup=False)

    def say(self, text: str) -> None:
        """Print the sentence above the bar."""
        self._console.print(text, highlight=False, markup=False)

    def stop(self) -> None:
        """Take the bar away."""
        self._bar.stop()


class Notebook:
    """One display that is updated at each epoch."""

    def __init__(self) -> None:
        from IPython.display import display

        self._lines: list[str] = []
        self._train: Row = {}
        show: Any = display  # IPython has no types
        self._handle = show({"text/plain": "training …"}, raw=True, display_id=True)

    def start(self, *, done: int, total: int, samples_per_step: float) -> None:
        """Show how much there is to do."""
        self._show(f"training: {total - done:,} updates to go")

    def step(self, done: int) -> None:
        """Leave the display until the epoch ends."""

    def row(self, row: Row) -> None:
        """Add a line where the row ends an epoch."""
        if row["split"] == "train":
            self._train = row
        if row.get("epoch_end"):
            self._show(epoch_line(self._train, row, None))

    def say(self, text: str) -> None:
        """Add the sentence."""
        self._show(text)

    def stop(self) -> None:
        """Leave the last state to be read."""

    def _show(self, line: str) -> None:
        self._lines.append(line)
        self._handle.update({"text/plain": "\n".join(self._lines)}, raw=True)


def choose_progress(stream: TextIO) -> Progress:
    """A display that suits where the words go."""
    if _in_notebook():
        return Notebook()
    if stream.isatty():
        return Terminal()
    return Lines(stream)


def _in_notebook() -> bool:
    """Whether a notebook's kernel runs this process: to have imported one, as test tools do, is not enough."""
    kernel = sys.modules.get("ipykernel.kernelapp")
    return kernel is not None and kernel.IPKernelApp.initialized()


def scores_of(row: Row) -> dict[str, float]:
    """The loss, the metrics and the rate out of a row, without its place in the run."""
    return {name: float(value) for name, value in row.items() if name not in NO_SCORES and value is not None}


def epoch_line(train: Row, row: Row, left_s: float | None) -> str:
    """The numbers of one epoch on a line."""
    parts = [f"epoch {row['epoch']:>3}"]
    for split, numbers in (("train", train), ("val", row if row["split"] == "val" else {})):
        parts += [f"{split}/{name} {value:.4f}" for name, value in scores_of(numbers).items() if name != "lr"]
    if train.get("samples_per_s"):
        parts.append(f"{train['samples_per_s']:,.0f} samples/s")
    if left_s is not None:
        parts.append(f"{clock(left_s)} left")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
