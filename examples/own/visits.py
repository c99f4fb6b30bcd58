"""Visits to a café, as its till and its feedback screen log them: one block a visit. Run it to make some up.

    python examples/own/visits.py visits.txt
"""

import re
import sys
from pathlib import Path

import numpy as np

DRINKS = ("espresso", "flat white", "filter", "tea")
BLOCK = re.compile(
    r"visit (?P<day>\S+)T(?P<hour>\d\d):\d\d\n"
    r"  drink  (?P<drink>.+?) +(?P<price>[\d.]+)\n"
    r"  waited (?P<minutes>\d+)m(?P<seconds>\d\d)s\n"
    r"  noise  (?P<noise>\d+)dB\n"
    r"  stars  (?P<stars>[1-5])\n"
)


def load():
    """What netwright trains on: numbers float32 (N, 8), and stars less one, int64 (N,), from 0."""
    inputs, stars = [], []
    for visit in BLOCK.finditer(Path("visits.txt").read_text(encoding="utf-8")):
        waited = int(visit["minutes"]) + int(visit["seconds"]) / 60
        drink = [float(visit["drink"] == name) for name in DRINKS]
        inputs.append([float(visit["hour"]), float(visit["price"]), waited, float(visit["noise"]), *drink])
        stars.append(int(visit["stars"]) - 1)
    return np.array(inputs, dtype=np.float32), np.array(stars, dtype=np.int64)


def made_up(count=1500, seed=0):
    """Blocks of visits: long waits and noise cost stars, good tea earns some, and people differ."""
    random = np.random.default_rng(seed)
    blocks = []
    for index in range(count):
        hour, drink = random.integers(7, 19), random.choice(DRINKS)
        price = random.normal({"espresso": 2.4, "flat white": 3.6, "filter": 2.9, "tea": 2.7}[drink], 0.3)
        waited = random.gamma(3.0, 1.5) + (2 if 8 <= hour < 10 else 0)
        noise = random.normal(58, 6)
        liked = 5.4 - 0.28 * waited - 0.06 * (noise - 58) + (0.5 if drink == "tea" else 0) + random.normal(0, 0.6)
        blocks.append(
            f"visit 2026-{1 + index % 12:02}-{1 + index % 28:02}T{hour:02}:{index % 60:02}\n"
            f"  drink  {drink:<10} {price:.2f}\n"
            f"  waited {int(waited)}m{int(waited % 1 * 60):02}s\n"
            f"  noise  {noise:.0f}dB\n"
            f"  stars  {int(np.clip(round(liked), 1, 5))}\n"
        )
    return "\n".join(blocks)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(made_up(), encoding="utf-8")
