"""How time and memory grow with rows, width, classes and length: each doubled five times; and a million rows.

    python bench/scaling.py
    python bench/scaling.py --quick --repeats 1

Each point is a process of its own. Of netwright three times are taken: to load, of an epoch, and of the whole
``nw.train`` with its checks, its evaluation and its baselines. An exponent of 1 says that what doubles takes twice as
long; it is the slope of a line through all points, and of the last doubling alone, where fixed costs matter least.
Memory is the peak of the process, less what it held after a training on 200 rows, which comes before any clock runs.
"""

from __future__ import annotations

import contextlib
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import speed_loops as loops
from speed_common import Answer, Contestant, Page, Runner, arguments, fresh, serve

# The least size of each; the others stay at STILL, where length 0 is a table.
AXES: dict[str, int] = {"rows": 4_000, "width": 64, "classes": 16, "length": 32}
OCTAVES = 5
STILL = {"rows": 4_000, "width": 64, "classes": 4, "length": 0}
MEASURES: dict[str, Callable[[Answer], float]] = {
    "load": lambda one: one["load_s"],
    "an epoch": lambda one: one["epoch_s"],
    "the whole": lambda one: one["all_s"],
    "memory": lambda one: one["peak_mib"],
}


def _peak_mib(*, anew: bool = False) -> float:
    """The most memory that this process has held; since the last ``anew``, where the system can forget."""
    if anew:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _work(size: dict[str, int]) -> loops.Work:
    import torch
    from torch import nn

    rows, width, classes, length = (size[name] for name in ("rows", "width", "classes", "length"))
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(rows) % classes
    shape = (rows, length, 8) if length else (rows, 20)
    x = torch.randn(shape, generator=generator)
    x[..., 0] += y.reshape(-1, *[1] * (x.ndim - 2)) % 7

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(8, width, batch_first=True), nn.Linear(width, classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.rnn(x)[0].mean(1))

    def make() -> nn.Module:
        torch.manual_seed(0)
        if length:
            return Recurrent()
        return nn.Sequential(
            nn.Linear(20, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes)
        )

    return loops.Work(make, x, y, batch=64, epochs=2)


def _netwright(options: dict[str, Any]) -> Runner:
    import netwright.api

    tiny = _work(STILL | {"rows": 200})
    loops.netwright(tiny, loops.load(tiny))  # imports all that there is to import, and is no part of what is measured
    held = _peak_mib(anew=True)

    def run() -> Answer:
        work = _work(options["size"])
        began = time.perf_counter()
        data = netwright.api.load((work.x, work.y), val_fraction=0.1, test_fraction=0.1)
        load_s = time.perf_counter() - began
        done = loops.netwright(work, data)
        return done | {
            "load_s": load_s, "epoch_s": done["seconds"], "all_s": load_s + done["whole_s"],
            "peak_mib": _peak_mib() - held,
        }  # fmt: skip

    return run


def _plain(options: dict[str, Any]) -> Runner:
    loops.plain_tensors(_work(STILL | {"rows": 200}))
    held = _peak_mib(anew=True)

    def run() -> Answer:
        work = _work(options["size"])
        kept = len(work.x) * 4 // 5  # as many as netwright trains on
        work.x, work.y = work.x[:kept], work.y[:kept]
        done = loops.plain_tensors(work)
        return done | {
            "load_s": 0.0, "epoch_s": done["seconds"], "all_s": done["whole_s"], "peak_mib": _peak_mib() - held,
        }  # fmt: skip

    return run


MAKERS = {"netwright": _netwright, "plain": _plain}
CONTESTANTS = (Contestant("netwright", "netwright"), Contestant("plain loop", "plain"))


def slopes(sizes: Sequence[int], values: Sequence[float]) -> str:
    """The exponent through all points, and that of the last doubling."""
    if min(values) <= 0:
        return "–"
    logs = [(math.log2(size), math.log2(value)) for size, value in zip(sizes, values, strict=True)]
    slope = statistics.linear_regression([x for x, _ in logs], [y for _, y in logs]).slope
    return f"{slope:.2f}, last {logs[-1][1] - logs[-2][1]:.2f}"


def grow(page: Page, axis: str, asked: Any) -> None:
    """One axis: a row a size, and the exponents below."""
    sizes = [AXES[axis] * 2**octave for octave in range((2 if asked.quick else OCTAVES) + 1)]
    held: dict[str, dict[str, list[float]]] = {one.name: {name: [] for name in MEASURES} for one in CONTESTANTS}
    for size in sizes:
        whole = STILL | ({"rows": 640} if asked.quick else {}) | {axis: size}
        answers = fresh(__file__, CONTESTANTS, {"size": whole}, repeats=asked.repeats)
        for one, given in answers.items():
            if "failed" in given[-1]:
                page.say(f"{one} with {axis} {size:,} did not run: {given[-1]['failed']}", "")
                return
            for name, measure in MEASURES.items():
                held[one][name].append(statistics.median(map(measure, given)))
    page.say(f"## {axis.capitalize()}", "")
    page.say(
        f"| {axis} | contestant | load, s | an epoch, s | the whole, s | memory, MiB |", "|--:|---|--:|--:|--:|--:|"
    )
    for place, size in enumerate(sizes):
        for one, values in held.items():
            numbers = [values[name][place] for name in MEASURES]
            page.say(f"| {size:,} | {one} | " + " | ".join(f"{value:,.2f}" for value in numbers) + " |")
    for one, values in held.items():
        page.say(f"| exponent | {one} | " + " | ".join(slopes(sizes, values[name]) for name in MEASURES) + " |")
    page.say("")


def million(page: Page, asked: Any) -> None:
    """Peak memory on a million rows of 20 numbers, which are 76 MiB themselves."""
    rows = 20_000 if asked.quick else 1_000_000
    options = {"size": STILL | {"rows": rows}}
    answers = fresh(__file__, CONTESTANTS, options, repeats=1)
    page.say(f"## {rows:,} rows", "", f"Of 20 numbers and a class: {rows * 28 / 2**20:,.0f} MiB.", "")
    page.say("| | peak memory, MiB | an epoch, s | the whole, s |", "|---|--:|--:|--:|")
    for one, given in answers.items():
        last = given[-1]
        if "failed" in last:
            page.say(f"| {one} | did not run: {last['failed']} | | |")
        else:
            page.say(f"| {one} | {last['peak_mib']:,.0f} | {last['epoch_s']:,.1f} | {last['all_s']:,.1f} |")


def main() -> int:
    """Measure, and say."""
    parser = arguments(__doc__)
    parser.add_argument("--only", default=",".join((*AXES, "million")), help="axes, as rows,million")
    asked = parser.parse_args()
    page = Page("How time and memory grow", asked, " ".join((__doc__ or "").split("\n\n")[2].split()))
    for axis in AXES:
        if axis in asked.only.split(","):
            grow(page, axis, asked)
    if "million" in asked.only.split(","):
        million(page, asked)
    page.write("scaling", asked)
    return 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
