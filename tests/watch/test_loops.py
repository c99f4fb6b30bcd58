"""Hand-written loops of different styles: what is found is right, and output and weights stay the same to the bit."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest

from faults.programs import watched
from netwright.checks.runner import untouched

LOOPS = Path(__file__).resolve().parent / "loops"
ALL = sorted(LOOPS.glob("*.py"))
NEEDS = {"lightning_fit": "pytorch_lightning", "skorch_fit": "skorch", "accelerate_loop": "accelerate"}
EXPECT = re.compile(r"Expect:\s*([A-Z0-9, ]+)")


def expected(file: Path) -> set[str]:
    """The codes that a loop's docstring names; none for a healthy one."""
    found = EXPECT.search(file.read_text(encoding="utf-8"))
    return {code.strip() for code in found.group(1).split(",")} if found else set()


def plainly(file: Path) -> str:
    """What a script prints when nobody watches."""
    printed = io.StringIO()
    argv = sys.argv
    sys.argv = [str(file)]
    try:
        with untouched(), warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            warnings.simplefilter("ignore")
            runpy.run_path(str(file), run_name="__main__")
    finally:
        sys.argv = argv
    return printed.getvalue()


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.stem)
def test_a_loop_is_told_what_is_true_and_left_as_it_is(file: Path) -> None:
    """All printed losses and the digest of all weights are those of the plain run; each seeded fault is named."""
    package = NEEDS.get(file.stem)
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    plain = plainly(file)
    seen, printed = watched(file)
    assert printed == plain
    assert re.search(r"[0-9a-f]{64}", printed), "the loop prints the digest of its weights"
    assert seen.report is not None
    graver = {finding.code for finding in seen.report.findings if finding.severity != "note"}
    if expected(file):
        assert expected(file) <= graver, seen.report.findings
    else:
        assert not graver, seen.report.findings


def test_there_are_twelve_styles_and_more() -> None:
    """Scripts, functions, classes, notebook cells, arguments, and three frameworks."""
    assert len([file for file in ALL if not file.stem.endswith("_sick")]) >= 12
    assert len([file for file in ALL if expected(file)]) >= 6
