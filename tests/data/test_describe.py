"""What is told of data, and what looks wrong in them: each finding with a twin that has nothing wrong."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.cells import cell_len
from rich.console import Console
from torch.utils.data import Dataset

import netwright.data as nd
from netwright.data.describe import clean, describe, findings, portraits, render, samples
from netwright.records import DataSpec, LoadOptions

RNG = np.random.default_rng(0)
WHOLE = LoadOptions(val_fraction=0, test_fraction=0)


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8), dtype=np.uint8)


def codes(data: nd.Data) -> list[str]:
    return [finding.code for finding in findings(data)]


def shown(data: nd.Data, *, width: int = 120, terminal: bool = False) -> str:
    file = io.StringIO()
    render(data, Console(file=file, width=width, force_terminal=terminal))
    return file.getvalue()


def healthy() -> nd.Data:
    return nd.load((pixels(120), np.arange(120) % 3))


def test_healthy_data_have_no_findings() -> None:
    """Balanced, different, varied images: nothing is said against them."""
    assert findings(healthy()) == ()
    assert "nothing looks wrong" in shown(healthy())


def test_a_description_is_json_and_reads_back() -> None:
    """Everything that was understood survives JSON, findings beside it."""
    described = json.loads(json.dumps(describe(healthy())))
    assert described.pop("findings") == described.pop("not_checked") == []
    assert DataSpec.model_validate(described) == healthy().spec


def test_describing_changes_no_random_state() -> None:
    """Looking at data draws nothing."""
    before = torch.get_rng_state()
    describe(healthy())
    shown(healthy())
    assert torch.equal(torch.get_rng_state(), before)


def test_few_samples_of_a_class() -> None:
    """D102 names the class and its count; ten are enough."""
    targets = np.repeat([0, 1], [50, 9])
    data = nd.load((pixels(59), targets), options=WHOLE)
    (finding,) = findings(data)
    assert (finding.code, finding.severity) == ("D102", "warning")
    assert "1 (9)" in finding.evidence
    assert codes(nd.load((pixels(60), np.repeat([0, 1], [50, 10])), options=WHOLE)) == []


def test_a_class_missing_from_a_split() -> None:
    """D103 names the split and the class."""
    data = nd.load(
        (pixels(60), np.arange(60) % 3), val=(pixels(20, 1), np.arange(20) % 2), test=(pixels(30, 2), np.arange(30) % 3)
    )
    (finding,) = findings(data)
    assert (finding.code, finding.where) == ("D103", "val")
    assert "no sample of 2" in finding.evidence


def test_classes_of_very_different_sizes() -> None:
    """D104 from ten to one on, with what answering the largest always would score; nine to one is let pass."""
    data = nd.load((pixels(220), np.repeat([0, 1], [200, 20])), options=WHOLE)
    (finding,) = findings(data)
    assert finding.code == "D104"
    assert "10 times" in finding.evidence and "90.9%" in finding.evidence
    assert codes(nd.load((pixels(200), np.repeat([0, 1], [180, 20])), options=WHOLE)) == []


def test_images_of_one_colour() -> None:
    """D105 names them by split."""
    images = pixels(40)
    images[7], images[9] = 0, 200
    data = nd.load((images, np.arange(40) % 2), options=WHOLE)
    (finding,) = findings(data)
    assert (finding.code, finding.where) == ("D105", "train")
    assert "2 in train: train[7], train[9]" in finding.evidence


@pytest.mark.parametrize("split", ["val", "test"])
def test_samples_that_are_also_in_train(split: str) -> None:
    """D106 counts copies from train in another split, how many have the same target, and names one pair."""
    images, other = pixels(60), pixels(20, 1)
    other[3], other[4] = images[10], images[11]
    targets = np.arange(60) % 2
    wrong = np.arange(20) % 2
    wrong[3] = targets[10]
    wrong[4] = 1 - targets[11]
    data = nd.load((images, targets), options=WHOLE, **{split: (other, wrong)})
    found = [finding for finding in findings(data) if finding.code == "D106"]
    assert len(found) == 1
    assert f"2 of 20 (10.00%); 1 with the same target; {split}[3] is train[10]" in found[0].evidence


def test_a_copy_with_one_of_two_targets_agrees() -> None:
    """Where train holds an image twice, with two labels, a copy in test that has either of them agrees."""
    images, other = pixels(60), pixels(20, 1)
    images[11] = images[10]  # labels 0 and 1
    other[3] = images[10]
    for label in (0, 1):
        wanted = np.where(np.arange(20) == 3, label, np.arange(20) % 2)
        data = nd.load((images, np.arange(60) % 2), options=WHOLE, test=(other, wanted))
        (finding,) = findings(data)
        assert "1 with the same target" in finding.evidence


def test_samples_of_test_that_are_also_in_val() -> None:
    """Neither is trained on, but the two scores are then not independent."""
    val, test = pixels(20, 1), pixels(20, 2)
    test[5] = val[7]
    labels = np.arange(20) % 2
    data = nd.load((pixels(60), np.arange(60) % 2), options=WHOLE, val=(val, labels), test=(test, labels))
    (finding,) = findings(data)
    assert (finding.code, finding.where) == ("D106", "test")
    assert "also in val" in finding.title and "test[5] is val[7]" in finding.evidence


def test_unreadable_images_are_told(tmp_path: Path) -> None:
    """D101 names the first files with their reasons."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(15):
            Image.fromarray(RNG.integers(0, 256, (5, 5, 3), dtype=np.uint8)).save(tmp_path / name / f"{index}.png")
    (tmp_path / "cat" / "bad.png").write_bytes(b"")
    data = nd.load(tmp_path, options=LoadOptions(max_unreadable=0.5, val_fraction=0, test_fraction=0))
    (finding,) = findings(data)
    assert finding.code == "D101"
    assert "1 left out" in finding.evidence and "bad.png: 0 bytes" in finding.evidence


def test_the_gravest_come_first() -> None:
    """Errors, then warnings, then notes."""
    images = pixels(40)
    images[7] = 0
    data = nd.load((images, np.repeat([0, 1], [37, 3])), val=(images[:20], np.zeros(20, dtype=int)), options=WHOLE)
    order = ["error", "warning", "note"]
    severities = [order.index(finding.severity) for finding in findings(data)]
    assert severities == sorted(severities)
    assert {"D102", "D103", "D104", "D105", "D106"} <= set(codes(data))


def test_the_page_shows_all_that_was_understood() -> None:
    """Field, shape, splits, counts, choices with reasons."""
    text = shown(healthy())
    assert "image: float32 (1, 8, 8)" in text
    assert "label: int64" in text
    for word in ("train", "val", "test", "84", "12", "24", "normalise", "fitted on the training split"):
        assert word in text


def test_regression_is_shown_without_classes() -> None:
    """No counts by class, no pictures."""
    data = nd.load((RNG.normal(size=(50, 3)), RNG.normal(size=50)))
    text = shown(data)
    assert "tensor regression" in text
    assert "inputs: float32 (3,)" in text
    assert findings(data) == ()


def test_each_class_has_a_picture() -> None:
    """A bright left half is drawn as one, for each of the classes, side by side."""
    images = np.zeros((40, 8, 8), dtype=np.uint8)
    images[:, :, :4] = 255
    data = nd.load((images, np.arange(40) % 2), options=WHOLE)
    rows = samples(data).splitlines()
    assert len(rows) == 4 or len(rows) == 5
    assert set(rows) == {"████      ████    "}


def coloured(text: str) -> list[tuple[str, str]]:
    """Foreground and background of each half block, as the terminal is told."""
    return re.findall(r"38;2;(\d+;\d+;\d+);48;2;(\d+;\d+;\d+)m▀", text)


def test_a_terminal_gets_pictures_in_half_blocks() -> None:
    """A red upper half over a blue lower one is drawn in these colours, for each of the first ten classes."""
    images = np.zeros((120, 3, 8, 8), dtype=np.uint8)
    images[:, 0, :4], images[:, 2, 4:] = 255, 255
    data = nd.load((images, np.arange(120) % 12), options=WHOLE)
    file = io.StringIO()
    Console(file=file, width=80, force_terminal=True, color_system="truecolor").print(portraits(data, width=80))
    lines = file.getvalue().rstrip().splitlines()
    assert len(lines) == 2 * (1 + 7)  # two rows of five pictures: names, and 14 pixels in 7 lines
    assert [line.split() for line in (lines[0], lines[8])] == [list("01234"), list("56789")]
    assert set(coloured(lines[1])) == {("255;0;0", "255;0;0")}
    assert set(coloured(lines[7])) == {("0;0;255", "0;0;255")}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_pictures_fit_their_terminal(width: int) -> None:
    """No line of pictures is wider than the terminal, also under names of wide letters."""
    names = np.asarray([f"猫狗鸟鱼{index}很长很长的名字" for index in range(10)])
    data = nd.load((pixels(100), names[np.arange(100) % 10]), options=WHOLE)
    assert max(cell_len(line.rstrip()) for line in portraits(data, width=width).plain.splitlines()) <= width


def test_a_terminal_gets_bars_of_counts() -> None:
    """The largest class has the longest bar, every class at least a mark; where nobody looks there is none."""
    data = nd.load((pixels(220), np.repeat([0, 1], [200, 20])), options=WHOLE)
    bars = [line.count("█") for line in shown(data, terminal=True).splitlines() if "█" in line and "▀" not in line]
    assert bars == [20, 2]
    assert "█" * 20 not in shown(data)


def test_pictures_of_one_colour_and_of_one_pixel_are_drawn() -> None:
    """Nothing divides by zero, and nothing needs fourteen pixels."""
    images = np.full((40, 1, 1), 7, dtype=np.uint8)
    assert "▀" in portraits(nd.load((images, np.arange(40) % 2), options=WHOLE), width=80).plain


@pytest.mark.parametrize(("size", "lines"), [((8, 8), 7), ((8, 16), 4), ((16, 8), 14), ((1, 500), 1), ((500, 1), 14)])
def test_pictures_keep_their_proportions(size: tuple[int, int], lines: int) -> None:
    """Half as high as wide: half the lines; strips are bounded."""
    images = RNG.integers(0, 256, (40, *size), dtype=np.uint8)
    data = nd.load((images, np.arange(40) % 2), options=WHOLE)
    assert len(portraits(data, width=80).plain.splitlines()) == 1 + lines


def test_many_classes_are_cut_short() -> None:
    """Forty are listed, the others counted."""
    text = shown(nd.load((RNG.normal(size=(500, 2)), np.arange(500) % 50)))
    assert "… 10 more" in text


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    """Escape sequences and turned text in a class name are shown, not obeyed, and markup is taken as text."""
    names = ["[red]x[/red]", "\x1b[2Jwipe", "a\u202egnp.exe"]
    assert clean(names[1]) == "\ufffd[2Jwipe"
    data = nd.load((RNG.normal(size=(60, 2)), np.asarray(names)[np.arange(60) % 3]))
    text = shown(data)
    assert "\x1b" not in text and "\u202e" not in text
    assert "[red]x[/red]" in text
    assert clean("猫 é") == "猫 é"


def test_a_data_set_read_item_by_item_is_described() -> None:
    """What cannot be looked at whole is described all the same."""

    class Items(Dataset[Any]):
        def __len__(self) -> int:
            return 60

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.full((1, 8, 8), index / 60), index % 2

    data = nd.load(Items())
    text = " ".join(shown(data).split())
    assert "Items" in text
    assert "not looked for: " in text and "nothing looks wrong in what was looked at" in text
    assert describe(data)["not_checked"][-2:] == ["samples that are in two splits", "NaN and infinity in the inputs"]
    assert findings(data) == ()
    assert json.dumps(describe(data))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_page_fits_its_terminal(width: int) -> None:
    """No line is wider than the terminal, apart from pictures."""
    data = nd.load((RNG.normal(size=(60, 2)), np.arange(60) % 3))
    assert max(map(len, shown(data, width=width).splitlines())) <= width
