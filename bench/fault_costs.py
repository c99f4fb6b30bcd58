"""What finding faults costs: checking the tutorial network, and a loop that is watched against a plain one."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from common import ROOT, spread

REPEATS = 5
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


def _values(printed: str) -> tuple[float, str]:
    """Seconds of the loop and the digest of the weights, as a script of bench/loops prints them."""
    told = dict(line.split(" ", 1) for line in printed.splitlines() if line.startswith(("loop_seconds ", "digest ")))
    return float(told["loop_seconds"]), told["digest"]


def overhead() -> Iterator[str]:
    """How much longer a loop takes under the observer, and whether its weights are the same to the bit."""
    for name, file in LOOPS.items():
        script = str(ROOT / "bench" / "loops" / file)
        plain, watched, after, digests = [], [], [], set()
        for _ in range(REPEATS):  # interleaved, so that noise meets both alike
            whole, printed = _run([sys.executable, script])
            seconds, digest = _values(printed)
            plain.append(seconds)
            digests.add(digest)
            longer, printed = _run([*NETWRIGHT, "watch", script])
            seconds, digest = _values(printed)
            watched.append(seconds)
            digests.add(digest)
            after.append(longer - whole - (watched[-1] - plain[-1]))
        ratios = [100 * (slow / fast - 1) for slow, fast in zip(watched, plain, strict=True)]
        change = 100 * (statistics.median(watched) / statistics.median(plain) - 1)
        yield f"- {name}: the loop takes {change:+.1f} % under the observer; pairs: {spread(ratios, '%', 1)}"
        yield f"  - plain {spread(plain, 's')}; watched {spread(watched, 's')}"
        yield f"  - start-up and the examination after the script: {spread(after, 's', 1)}"
        same = "equal to the bit" if len(digests) == 1 else f"DIFFERENT: {len(digests)} digests"
        yield f"  - weights of all {2 * REPEATS} runs: {same}"


def costs() -> Iterator[str]:
    """All of it, as lines of Markdown."""
    yield from check_time()
    yield from overhead()
