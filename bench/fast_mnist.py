"""A small network on all of MNIST by one command: test accuracy and seconds of training, of ten seeds.

    python bench/fast_mnist.py

Each seed is a process of its own, ``netwright train examples/fast_mnist/net.py:Net`` with the options below. Seconds of
training are those from just before the first update to the end of the last validation, with the checkpoints; those of
the whole command also have starting, the checks, and the evaluation with its baselines in them.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import ROOT, spread
from speed_common import Page, arguments, scratch, tell

OPTIONS = "--data mnist --epochs 2 --batch-size 256 --lr 0.01 --augment none"
GOAL = 0.99


def train(seed: int, folder: Path, more: list[str]) -> dict[str, Any]:
    """Run the command; test accuracy, seconds of training, and of the whole command."""
    net, run = ROOT / "examples" / "fast_mnist" / "net.py", folder / f"seed-{seed}"
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "netwright", "train", f"{net}:Net", *OPTIONS.split(), *more, "--seed", str(seed),
         "--run", str(run), "--json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    whole = time.perf_counter() - began
    answer = json.loads(done.stdout)
    accuracy = next(one["value"] for one in answer["evaluation"]["scores"] if one["name"] == "accuracy")
    # What is known before the first update is written just before it; rows of metrics end with the last validation.
    seconds = (run / "metrics.jsonl").stat().st_mtime - (run / "environment.json").stat().st_mtime
    return {"accuracy": accuracy, "seconds": seconds, "whole_s": whole}


def main() -> int:
    """Measure, and say."""
    parser = arguments(__doc__, repeats=10)
    asked = parser.parse_args()
    about = " ".join((__doc__ or "").split("\n\n")[2].split())
    page = Page("A small network on all of MNIST", asked, about, rivals=False)
    page.say("```console", f"netwright train examples/fast_mnist/net.py:Net {OPTIONS}", "```", "")
    found = []
    with scratch() as folder:
        for seed in range(2 if asked.quick else asked.repeats):
            found.append(train(seed, folder, ["--epochs", "1"] if asked.quick else []))
            tell(f"seed {seed}: {found[-1]}")
    held = [one["accuracy"] for one in found]
    there = sum(value >= GOAL for value in held)
    page.say(f"Test accuracy of {len(held)} seeds: mean {statistics.mean(held):.4f}, least {min(held):.4f}, greatest")
    page.say(f"{max(held):.4f}; {there} of {len(held)} reach {GOAL}.", "")
    page.say(f"Training: {spread([one['seconds'] for one in found], 's', 1)}.")
    page.say(f"The whole command: {spread([one['whole_s'] for one in found], 's', 1)}.")
    page.write("fast_mnist", asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
