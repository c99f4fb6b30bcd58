"""Healthy programs as people write them: no error, and at most two warnings in all."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.programs import ZOO, checked, watched
from netwright.errors import DataError

PROGRAMS = sorted(ZOO.glob("*.py"))
# The warnings that are allowed, at most two in all: program to code.
WARNED: dict[str, str] = {}

# Run by `make soak` alone, and the programs that have the same parts and are watched by default.
REPEATED = {
    "bilstm": "tagger",
    "denoiser": "ddpm, unet",
    "densenet": "resnet, unet",
    "mingpt": "nanogpt, attention_pool",
    "mlm": "text_transformer, tagger",
    "mobilenet": "mobilenet_v2",
    "squeeze_excite": "resnet, and the block of this name in test_own_networks",
    "vgg": "lenet, mnist_nll",
}


@pytest.mark.parametrize(
    "file",
    [pytest.param(file, id=file.stem, marks=[pytest.mark.soak] * (file.stem in REPEATED)) for file in PROGRAMS],
)
def test_a_healthy_program_is_not_accused(file: Path) -> None:
    """Watched while it runs, it gets neither an error nor a warning."""
    report = watched(file)[0].report
    assert report is not None
    graver = [one for one in report.findings if one.severity != "note" and one.code != WARNED.get(file.stem)]
    assert not graver, graver


@pytest.mark.soak
@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.stem)
def test_a_healthy_module_is_not_accused(file: Path) -> None:
    """Checked by its module, data and recipe: nor then."""
    try:
        report = checked(file)
    except DataError:  # a class for each position of a sequence, in arrays, is for watch alone
        return
    assert report is None or not [one for one in report.findings if one.severity != "note"], report


def test_the_zoo_is_large() -> None:
    """At least forty, with at most two warnings."""
    assert len(PROGRAMS) >= 40
    assert len(WARNED) <= 2
