"""What the starters score, as ``netwright new`` writes them, with no option but the data.

    python bench/quality.py                      # every line
    python bench/quality.py trec --seeds 3

Prints for each line the test score with its interval, the best baseline with its own, and the whole command's seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine, spread, use_shared_data

# Data, and the starters that are for them.
LINES = {
    "trec": ("text", "rnn"),
    "thucnews_titles": ("text", "rnn"),
}


def score(starter: str, data: str, seed: int, folder: Path) -> tuple[dict, dict | None, float]:
    """Write a starter, train and evaluate it; its first score, the best baseline, and seconds."""
    netwright = [sys.executable, "-m", "netwright"]
    net = folder / f"{starter}-{data}-{seed}"
    subprocess.run([*netwright, "new", starter, str(net), "--json"], check=True, capture_output=True)
    begin = time.perf_counter()
    done = subprocess.run(
        [*netwright, "train", f"{net}/net.py:Net", "--data", data, "--seed", str(seed), "--json", "--no-report",
         "--run", str(folder / f"run-{net.name}")],
        check=True, capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    evaluation = json.loads(done.stdout)["evaluation"]
    first = next(one for one in evaluation["scores"] if one["name"] == evaluation["headline"])
    rivals = [one for one in evaluation["baselines"] if one["score"]["name"] == first["name"]]
    best = max(rivals, key=lambda one: one["score"]["value"], default=None)
    return first, best, time.perf_counter() - begin


def shown(one: dict) -> str:
    """A score with its interval."""
    return f"{one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})"


def main() -> None:
    """Print every line asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=list(LINES), help=f"of {', '.join(LINES)}")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    use_shared_data()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for data in asked.data:
            for starter in LINES[data]:
                values = []
                for seed in range(asked.seeds):
                    found, rival, seconds = score(starter, data, seed, Path(folder))
                    values.append(found["value"])
                    beside = f"{rival['name']} {shown(rival['score'])}" if rival else "no baseline"
                    line = f"{data:<16} {starter:<5} seed {seed}  {found['name']} {shown(found)}  {beside}"
                    print(f"{line}  {seconds:.0f} s", flush=True)
                if asked.seeds > 1:
                    print(f"{data:<16} {starter:<5} {spread(values, 'accuracy', 4)}", flush=True)


if __name__ == "__main__":
    main()
