"""What the starters score, as ``netwright new`` writes them, with no option but the data.

    python bench/quality.py                      # every line
    python bench/quality.py trec --seeds 3
    python bench/quality.py fsdd_without_theo    # spoken digits, with one speaker held out of training

Prints for each line the test score with its interval, the best baseline with its own, and the whole command's seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import machine, spread, use_shared_data
from spoken_sequences import write_sequences


@dataclass(frozen=True)
class Line:
    """Starters, options, and names of the scores; without names the headline.

    Attributes:
        data: None: called as the line is.
        make: Writes the data into a folder, where they are made of others.
    """

    starters: tuple[str, ...]
    options: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    data: str | None = None
    make: Callable[[Path], None] | None = None


SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
HELD_OUT = {f"fsdd_without_{name}": Line(("speech",), ("--test-group", name), data="fsdd") for name in SPEAKERS}


# Data with what must be said of them, the starters that are for them, and the scores that are told.
LINES = {
    "trec": Line(("text", "rnn")),
    "thucnews_titles": Line(("text", "rnn")),
    "tinyshakespeare": Line(("lm",)),
    "ud_ewt_pos": Line(("tagger",)),
    "wnut17_ner": Line(("tagger",), (), ("entity_f1", "entity_precision", "entity_recall")),
    "fsdd": Line(("speech",)),
    **HELD_OUT,
    "spoken_sequences": Line(("transcriber",), (), ("word_error_rate", "character_error_rate"), make=write_sequences),
    "titanic": Line(("table",), ("--target", "Survived"), ("accuracy", "roc_auc")),
    "daily_min_temperatures": Line(("series",), (), ("mase", "rmse")),
    "california_housing": Line(("table",), ("--target", "median_house_value"), ("mae", "rmse")),
}


def train(starter: str, name: str, seed: int, folder: Path) -> tuple[dict, float]:
    """Write a starter, train and evaluate it; the evaluation, and seconds."""
    line = LINES[name]
    data = line.data or name
    if line.make is not None:
        data = str(folder / name)
        if not Path(data).is_dir():
            line.make(Path(data))
    netwright = [sys.executable, "-m", "netwright"]
    net = folder / f"{starter}-{name}-{seed}"
    subprocess.run([*netwright, "new", starter, str(net), "--json"], check=True, capture_output=True)
    begin = time.perf_counter()
    done = subprocess.run(
        [*netwright, "train", f"{net}/net.py:Net", "--data", data, *line.options, "--seed", str(seed), "--json",
         "--no-report", "--run", str(folder / f"run-{net.name}")],
        check=True, capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    return json.loads(done.stdout)["evaluation"], time.perf_counter() - begin


def told(evaluation: dict, name: str) -> tuple[dict, str]:
    """A score, and the best baseline's of the same name."""
    found = next(one for one in evaluation["scores"] if one["name"] == name)
    rivals = [
        (other["value"], baseline["name"], other)
        for baseline in evaluation["baselines"]
        for other in (baseline["score"], *baseline["others"])
        if other["name"] == name
    ]
    if not rivals:
        return found, "no baseline"
    best = (max if found["higher_is_better"] else min)(rivals, key=lambda one: one[0])
    return found, f"{best[1]} {shown(best[2])}"


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
    held_out = []
    with tempfile.TemporaryDirectory() as folder:
        for data in asked.data:
            for starter in LINES[data].starters:
                values: dict[str, list[float]] = {}
                for seed in range(asked.seeds):
                    evaluation, seconds = train(starter, data, seed, Path(folder))
                    for name in LINES[data].scores or (evaluation["headline"],):
                        found, beside = told(evaluation, name)
                        values.setdefault(name, []).append(found["value"])
                        held_out += [found["value"]] if data in HELD_OUT else []
                        print(f"{data:<18} {starter:<6} seed {seed}  {name} {shown(found)}  {beside}", flush=True)
                    print(f"{'':<18} {'':<6} {seconds:.0f} s", flush=True)
                if asked.seeds > 1:
                    for name, held in values.items():
                        print(f"{data:<18} {starter:<6} {spread(held, name, 4)}", flush=True)
    if held_out:
        print(f"mean over {len(held_out)} runs with a speaker held out: {statistics.mean(held_out):.4f}")


if __name__ == "__main__":
    main()
