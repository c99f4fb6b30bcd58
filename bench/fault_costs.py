"""What finding faults costs: checking the tutorial network, and a loop that is watched against a plain one.

python bench/fault_costs.py            # some three minutes, on a machine that does nothing else
python bench/fault_costs.py --write    # also into bench/results/fault_costs.md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from common import ROOT, machine, spread, use_shared_data

REPEATS = 5
RESULTS = ROOT / "bench" / "results" / "fault_costs.md"
NETWRIGHT = [sys.executable, "-m", "netwright"]
# The original recipe of the tutorial, as bench/tutorial_mnist.py has it.
CHECK = [
    *NETWRIGHT, "check", str(ROOT / "examples" / "tutorial" / "net.py") + ":Net", "--data", "mnist", "--json",
    "--loss", "CrossEntropyLoss", "--optimizer", "SGD", "--optimizer-arg", "momentum=0.9", "--lr", "0.001",
    "--schedule", "constant", "--batch-size", "64",
]  # fmt: skip
LOOPS = {"tutorial network, batch 64": "convnet.py", "20-64-2 perceptron, batch 32": "mlp.py"}


def _run(command: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds, done.stdout


def check_time() -> Iterator[str]:
    """Seconds of the whole command, of the checking in it, and what was found."""
    whole, inside, found = [], [], []
    for _ in range(REPEATS):
        seconds, printed = _run(CHECK)
        report = json.loads(printed)
        whole.append(seconds)
        inside.append(report["seconds"])
        found = [f"{finding['code']} {finding['severity']}" for finding in report["findings"]]
    yield f"- `netwright check` of the tutorial network on MNIST, original recipe: {spread(whole, 's', 1)}"
    yield f"  - checking alone: {spread(inside, 's', 1)}; found {', '.join(found) or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Loop:
    """A script of bench/loops that was run: seconds of its loop by the clock and of the processor, and of the whole."""

    wall: float
    cpu: float
    whole: float
    digest: str


def _loop(command: list[str]) -> Loop:
    whole, printed = _run(command)
    told = dict(line.split(" ", 1) for line in printed.splitlines() if line.startswith(("loop_seconds ", "digest ")))
    wall, cpu = told["loop_seconds"].split()
    return Loop(float(wall), float(cpu), whole, told["digest"])


def overhead(repeats: int = REPEATS) -> Iterator[str]:
    """How much longer a loop takes under the observer, and whether its weights are the same to the bit."""
    for name, file in LOOPS.items():
        script = str(ROOT / "bench" / "loops" / file)
        pairs = [  # interleaved, so that noise meets both alike
            (_loop([sys.executable, script]), _loop([*NETWRIGHT, "watch", script])) for _ in range(repeats)
        ]
        wall = [100 * (watched.wall / plain.wall - 1) for plain, watched in pairs]
        cpu = [100 * (watched.cpu / plain.cpu - 1) for plain, watched in pairs]
        after = [watched.whole - watched.wall - (plain.whole - plain.wall) for plain, watched in pairs]
        digests = {loop.digest for pair in pairs for loop in pair}
        yield f"- {name}, the loop under the observer: {spread(wall, '% longer', 1)}"
        yield f"  - of the processor, which other programs disturb less: {spread(cpu, '% longer', 1)}"
        yield f"  - plain {spread([plain.wall for plain, _ in pairs], 's', 2)}"
        yield f"  - start-up and the examination after the script: {spread(after, 's', 1)}"
        same = "equal to the bit" if len(digests) == 1 else f"DIFFERENT: {len(digests)} digests"
        yield f"  - weights of all {2 * repeats} runs: {same}"


def costs() -> Iterator[str]:
    """All of it, as lines of Markdown."""
    yield from check_time()
    yield from overhead()


def main() -> int:
    """Print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"also write {RESULTS.relative_to(ROOT)}")
    asked = parser.parse_args()
    use_shared_data()
    lines = ["# What finding faults costs", "", f"{time.strftime('%Y-%m-%d')}, {machine()}.", ""]
    print(*lines, sep="\n")
    for line in costs():
        print(line, flush=True)
        lines.append(line)
    if asked.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
