"""How the benchmarks of training speed are run: each contestant a process of its own, all of them in turns; tables.

A script starts itself again with ``--worker KEY OPTIONS`` for each contestant. A worker makes ready what it needs,
says so, and then answers each line of JSON with one: how long a training took, over how many updates, its last loss.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import ROOT, machine, use_shared_data
from speed_rivals import PYTHON, versions

RESULTS = ROOT / "bench" / "results"
Answer = dict[str, Any]
Runner = Callable[..., Answer]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One row of a table.

    Attributes:
        key: What the worker calls it.
        rival: Whether it runs in the rivals' environment.
        options: What its worker is made with, beside what all are.
        env: Environment variables of its own.
    """

    name: str
    key: str
    rival: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


class Worker:
    """A contestant's process."""

    def __init__(self, script: str, contestant: Contestant, options: Mapping[str, Any]) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        python = str(PYTHON) if contestant.rival else sys.executable
        asked = json.dumps({**options, **contestant.options})
        self.process = subprocess.Popen(
            [python, script, "--worker", contestant.key, asked],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            env=os.environ | {"KERAS_BACKEND": "torch"} | contestant.env,
        )  # fmt: skip
        self.ready = self._answer()

    def ask(self, **request: Any) -> Answer:
        """Have it train once."""
        if "failed" in self.ready:
            return self.ready
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self._answer()
        if "failed" in answer:
            self.ready = answer
        return answer

    def _answer(self) -> Answer:
        assert self.process.stdout is not None
        for line in self.process.stdout:  # whatever else a library prints is passed over
            if line.startswith('{"'):
                return json.loads(line)
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return {"failed": lines[-1][:200] if lines else f"ended with exit code {self.process.wait()}"}

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(60)
        self.errors.close()


def serve(makers: Mapping[str, Callable[[dict[str, Any]], Runner]]) -> bool:
    """Be a worker where the command line asks for one. False where it does not."""
    if sys.argv[1:2] != ["--worker"]:
        return False
    key, options = sys.argv[2], json.loads(sys.argv[3])
    run = makers[key](options)
    print(json.dumps({"ready": key}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
    return True


def race(
    script: str, contestants: Sequence[Contestant], options: Mapping[str, Any], *, repeats: int, warm: int = 1
) -> dict[str, list[Answer]]:
    """Have all train in turns, ``warm`` times untimed and then ``repeats`` times; the answers by name."""
    answers: dict[str, list[Answer]] = {one.name: [] for one in contestants}
    with contextlib.ExitStack() as stack:
        workers = {}
        for one in contestants:
            workers[one.name] = Worker(script, one, options)
            stack.callback(workers[one.name].close)
        for turn in range(warm + repeats):
            names = list(workers)
            shift = turn % len(names)  # so that none always follows the same one
            for name in names[shift:] + names[:shift]:
                answer = workers[name].ask()
                tell(f"{turn + 1 - warm}/{repeats} {name}: {_short(answer)}")
                if turn >= warm or "failed" in answer:
                    answers[name].append(answer)
    return answers


def fresh(
    script: str, contestants: Sequence[Contestant], options: Mapping[str, Any], *, repeats: int
) -> dict[str, list[Answer]]:
    """As ``race``, each time in a new process: what starting and compiling costs is in it."""
    answers: dict[str, list[Answer]] = {one.name: [] for one in contestants}
    for turn in range(repeats):
        for one in contestants:
            worker = Worker(script, one, options)
            answers[one.name].append(worker.ask())
            worker.close()
            tell(f"{turn + 1}/{repeats} {one.name}: {_short(answers[one.name][-1])}")
    return answers


def tell(text: str) -> None:
    """How far it is, on standard error."""
    print(text, file=sys.stderr, flush=True)


def _short(answer: Answer) -> str:
    return " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in answer.items())


class Page:
    """Lines that are printed as they come, and kept for ``--write``."""

    def __init__(self, title: str, asked: argparse.Namespace, about: str, *, rivals: bool = True) -> None:
        self.lines: list[str] = []
        threads = os.environ.get("OMP_NUM_THREADS", "as each library chooses")
        quick = " Made with --quick: sizes too small to mean anything." if asked.quick else ""
        self.say(f"# {title}", "", about, "")
        self.say(f"{time.strftime('%Y-%m-%d')}, {machine()}, OMP_NUM_THREADS {threads}.{quick}")
        self.say(*([f"Rivals: {versions()}."] if rivals else []), "")

    def say(self, *lines: str) -> None:
        """Print and keep."""
        self.lines += lines
        print(*lines, sep="\n", flush=True)

    def write(self, name: str, asked: argparse.Namespace) -> None:
        """Keep it in bench/results, where that was asked for and the sizes were no small ones."""
        if asked.write and not asked.quick:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{name}.md").write_text("\n".join(self.lines).rstrip() + "\n", encoding="utf-8")


def per_step_us(answer: Answer) -> float:
    """Microseconds an update."""
    return float(answer["seconds"] / answer["steps"] * 1e6)


def spread_us(values: Sequence[float]) -> str:
    """Median, and least to greatest, as two cells of a table."""
    return f"{statistics.median(values):,.1f} | {min(values):,.1f} to {max(values):,.1f}"


def per_second(answer: Answer) -> float:
    """Samples a second."""
    return float(answer["samples"] / answer["seconds"])


def table(
    answers: Mapping[str, Sequence[Answer]],
    measure: Callable[[Answer], float],
    unit: str,
    *,
    base: str,
    digits: int = 0,
    within: float = 0.1,
    last: str = "final loss",
) -> list[str]:
    """Medians and spreads, each beside those of ``base``, with what came out, and whose differs by over ``within``."""
    good = {name: held for name, held in answers.items() if held and "failed" not in held[-1]}
    lines = [f"| | {unit}, median | least to greatest | n | of {base} | {last} |", "|---|--:|--:|--:|--:|--:|"]
    middle = {name: statistics.median(map(measure, held)) for name, held in good.items()}
    for name, held in answers.items():
        if name not in good:
            lines.append(f"| {name} | did not run: {held[-1]['failed'] if held else 'no answer'} | | | | |")
            continue
        values = [measure(one) for one in held]
        share = f"{middle[name] / middle[base]:.2f}" if base in middle else "–"
        loss = statistics.median(float(one["loss"]) for one in held)
        lines.append(
            f"| {name} | {middle[name]:,.{digits}f} | {min(values):,.{digits}f} to {max(values):,.{digits}f} "
            f"| {len(held)} | {share} | {loss:.5f} |"
        )
    return [*lines, "", _losses(good, base, within, last)]


def _losses(good: Mapping[str, Sequence[Answer]], base: str, within: float, what: str) -> str:
    """Whether all learned as much, so that nobody is faster by doing less."""
    last = {name: statistics.median(float(one["loss"]) for one in held) for name, held in good.items()}
    if base not in last:
        return f"No {what} of {base} to compare with."
    off = {name: loss / last[base] - 1 for name, loss in last.items() if abs(loss / last[base] - 1) > within}
    if not off:
        return f"Each {what} lies within {within:.1%} of that of {base}."
    told = ", ".join(f"{name} by {share:+.0%}" for name, share in off.items())
    return f"A {what} further than {within:.1%} from that of {base}: {told}."


def arguments(doc: str | None, *, repeats: int = 5) -> argparse.ArgumentParser:
    """The options that all of these scripts have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help=f"timed trainings of each; {repeats}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--write", action="store_true", help="also write bench/results; not with --quick")
    use_shared_data()
    return parser


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, gone after."""
    with tempfile.TemporaryDirectory(prefix="netwright-bench-") as folder:
        yield Path(folder)
