"""How many of the catalogue's faults netwright finds, how often it accuses the healthy, and what its rivals do there.

    python bench/faults.py                         # everything; an hour or more
    python bench/faults.py --only M,L05 --no-rivals
    python bench/faults.py --jobs 2 --write        # also into bench/results/faults.md

Runs every program of tests/faults: sick ones, healthy twins, lookalikes and the zoo, which runs where all is asked for
or ``zoo`` is among ``--only``. The rivals are installed from PyPI into .venv-bench.

What it costs: bench/fault_costs.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from types import FrameType, ModuleType

from common import ROOT, machine, use_shared_data
from fault_tables import Program, both, code_table, family_table, rest, tool_table
from rivals import RIVALS, Outcome, install, run_rival

RESULTS = ROOT / "bench" / "results" / "faults.md"
SECONDS = 180  # the most for a program; a healthy one takes 1 to 20 with its examination
READING = """\
A fault counts as found where any finding names it, notes included; a false alarm is an error or a warning on a program
without a fault. Precision: sick programs whose fault is named, of these and the falsely accused. `s`: median seconds of
a program, its own run included where the tool runs it. ★: the commonest faults. `not run`: programs that a tool gives
no answer for; they count as not found. `check` and torchtest2 build what they need from the program's module, data and
recipe. A program without a recipe is for `watch` alone; its objects are handed to torchtest2 and preflight-ml just
before the first update. What a rival's rule names is listed in bench/rivals.py, generously."""


def fault_programs() -> ModuleType:
    """The helpers of tests/faults; by folder, since this file has the name of their package."""
    sys.path.insert(0, str(ROOT / "tests" / "faults"))
    import programs

    return programs


def chosen(only: Sequence[str]) -> list[Program]:
    """The programs whose code begins as one of ``only``; all where it is empty."""
    helpers = fault_programs()
    kinds = ("sick", "healthy", "lookalike")
    all_of_them = [Program(file, kind, file.parent.name) for kind in kinds for file in helpers.programs(kind)]
    listed = [one for one in all_of_them if not only or one.code.startswith(tuple(only))]
    if not only or "zoo" in only:
        listed += [Program(file, "zoo", "") for file in sorted(helpers.ZOO.glob("*.py"))]
    return listed


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"over {SECONDS} s")


def ask(route: str, file: Path) -> Outcome | None:
    """What netwright finds in a program; None where the route does not take it."""
    helpers = fault_programs()
    found: tuple[tuple[str, str], ...] = ()
    note = ""
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, 10)  # again every 10 s: a program may catch the first
    began = time.perf_counter()
    try:
        report = helpers.watched(file)[0].report if route == "watch" else helpers.checked(file)
        if report is None:
            return None
        found = tuple((finding.code, finding.severity) for finding in report.findings)
    except (Exception, SystemExit) as error:  # told below the tables; the next program runs all the same
        note = f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return Outcome(file, found, time.perf_counter() - began, note)


def netwright(route: str, files: Sequence[Path], jobs: int) -> dict[Path, Outcome]:
    """The answers of one route, in worker processes that run program after program."""
    answers: dict[Path, Outcome] = {}
    # Spawned, and anew after 40 programs each: what one program leaves behind stays small. By pools of their own, since
    # max_tasks_per_child waits for ever in Python 3.11.
    context = multiprocessing.get_context("spawn")
    for first in range(0, len(files), 40 * jobs):
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            waiting = [pool.submit(ask, route, file) for file in files[first : first + 40 * jobs]]
            for number, future in enumerate(as_completed(waiting), first + 1):
                outcome = future.result()
                if outcome is not None:
                    answers[outcome.file] = outcome
                if number % 10 == 0:
                    print(f"{route}: {number} of {len(files)}", file=sys.stderr, flush=True)
    return answers


class Page:
    """Lines that are printed as they come, and kept for ``--write``."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, *lines: str) -> None:
        self.lines += lines
        print(*lines, sep="\n", flush=True)


def measure(programs: Sequence[Program], page: Page, *, rivals: bool, jobs: int) -> None:
    """Run all tools, and say the tables."""
    starred = fault_programs().STARRED
    files = [program.file for program in programs]
    routes = {route: netwright(route, files, jobs) for route in ("watch", "check")}
    tools = {f"netwright {route}": answers for route, answers in routes.items()} | {"netwright": both(*routes.values())}
    broken = {}
    if rivals:
        failed = install()
        for name, version in RIVALS.items():
            outcomes: list[Outcome] = []
            why = failed.get(name, "")
            if not why:
                print(f"{name} {version}", file=sys.stderr, flush=True)
                outcomes, why = run_rival(name, files, jobs)
            if why:
                broken[name] = why
            tools[name] = {outcome.file: outcome for outcome in outcomes}
        page.say("Rivals: " + ", ".join(f"{name} {version}" for name, version in RIVALS.items()), "")
    page.say(*READING.splitlines(), "", "## All tools", "", *tool_table(tools, broken, programs, starred), "")
    page.say("## netwright by family", "", *family_table(routes, programs), "")
    page.say("## netwright by code", "", *code_table(routes, programs, starred), "")
    for route, answers in routes.items():
        page.say(*rest(route, answers, programs))
    page.say("")


def main() -> int:
    """Print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="beginnings of codes, as M,L05; zoo for the healthy models")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="programs at a time; 1, which times best")
    parser.add_argument("--write", action="store_true", help=f"also write {RESULTS.relative_to(ROOT)}")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: the programs are small
    use_shared_data()
    only = [name for name in asked.only.split(",") if name]
    programs = chosen(only)
    if not programs:
        parser.error(f"no program's code begins with {asked.only}")
    page = Page()
    page.say("# Faults found", "", f"{time.strftime('%Y-%m-%d')}, {machine()}, {asked.jobs} at a time.", "")
    measure(programs, page, rivals=not asked.no_rivals, jobs=asked.jobs)
    if asked.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join(page.lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
