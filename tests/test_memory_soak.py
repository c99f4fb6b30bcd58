"""Many small files are loaded and learned from in bounded memory; behind ``make soak``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.soak

FILES = 100_000
# What loading and one pass add to a process that has everything imported; its own network is small.
SCRIPT = """
import resource, sys
import torch
from torch import nn
import netwright as nw

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3 * 16 * 16, 4)
    def forward(self, image):
        return self.out(image.flatten(1))

class Texts(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.EmbeddingBag(20_000, 4)
    def forward(self, tokens):
        return self.words(tokens)

nw.load("digits")
import tokenizers, pandas, pyarrow  # noqa
before = peak()
data = nw.load(sys.argv[2])
net = Pictures() if sys.argv[1] == "pictures" else Texts()
for step in nw.training_steps(net, data, epochs=1, batch_size=1024):
    pass
print(step.index, sum(split.count for split in data.spec.splits.values()), (peak() - before) / 2**30)
"""


def write_pictures(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for start in range(0, FILES, 1_000):
        pixels = generator.integers(0, 256, (1_000, 16, 16, 3), dtype=np.uint8)
        for index, image in enumerate(pixels, start=start):
            Image.fromarray(image).save(folder / f"class{index % 4}" / f"{index}.png")


def write_texts(folder: Path) -> None:
    generator = np.random.default_rng(0)
    words = [f"word{index}" for index in range(5_000)]
    for index in range(FILES):
        picked = generator.integers(0, len(words), 30)
        text = " ".join(words[place] for place in picked)
        (folder / f"class{index % 4}" / f"{index}.txt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("kind", ["pictures", "texts"])
def test_a_hundred_thousand_small_files_take_less_than_two_gigabytes(kind: str, tmp_path: Path) -> None:
    """Beyond the model's own memory, at the peak of loading and of a pass over them."""
    for index in range(4):
        (tmp_path / f"class{index}").mkdir()
    (write_pictures if kind == "pictures" else write_texts)(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, kind, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    _, count, gigabytes = done.stdout.split()
    assert int(count) == FILES
    assert float(gigabytes) < 2.0, done.stdout
