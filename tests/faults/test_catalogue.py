"""Each fault of the catalogue as a small runnable program: it is found, and its healthy twin is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.programs import CODES, FOLDER, STARRED, checked, programs, watched
from netwright.errors import DataError

# Sick programs that watching does not find, and why; anything found here after all fails, so the list stays true.
UNSEEN: dict[str, str] = {
    "O09/sick": "four batches are learned by heart by SGD too; only the whole run shows that Adam learns faster",
}
# Healthy programs that get an error or a warning, and why.
ACCUSED: dict[str, str] = {}


# The same by the check of module, data and recipe, where netwright's own reading of the data makes it true.
ACCUSED_BY_CHECK: dict[str, str] = {
    "D02/lookalike": "D01: columns have been standardised already, and the module does it again",
    "D13/lookalike": "D13: columns are standardised, so that the module does not meet its own code for a missing value",
    "D14/healthy2": "M00: codes in a column of numbers are standardised; as an int64 input of their own they are not",
    "D15/healthy2": "M00: pictures are given with their channels first, and the module moves them itself",
    "M04/healthy2": "M00: pictures are given with their channels first, and the module moves them itself",
}


def key(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


def repeats(file: Path) -> bool:
    """Whether another program shows the same by default, so that this one is run by ``make soak`` alone.

    The second and third form of a fault; and a healthy twin that has a lookalike, which is nearer to the fault.
    """
    return file.stem[-1].isdigit() or (file.stem == "healthy" and file.with_name("lookalike.py").is_file())


def cases(*stems: str) -> list[object]:
    """Programs as parameters."""
    return [
        pytest.param(file, id=key(file), marks=[pytest.mark.soak] if repeats(file) else [])
        for stem in stems
        for file in programs(stem)
    ]


@pytest.mark.parametrize("file", cases("sick"))
def test_a_sick_program_is_found(file: Path) -> None:
    """Run as a script under the observer: the code of its fault is among the findings."""
    if key(file) in UNSEEN:
        pytest.xfail(UNSEEN[key(file)])
    report = watched(file)[0].report
    assert report is not None
    assert file.parent.name in {finding.code for finding in report.findings}, report


@pytest.mark.parametrize("file", cases("healthy", "lookalike"))
def test_a_healthy_program_is_left_alone(file: Path) -> None:
    """Neither an error nor a warning, whatever the fault that its twin has."""
    if key(file) in ACCUSED:
        pytest.xfail(ACCUSED[key(file)])
    report = watched(file)[0].report
    assert report is not None
    assert not [finding for finding in report.findings if finding.severity != "note"], report.findings


@pytest.mark.soak
@pytest.mark.parametrize("file", cases("healthy", "lookalike"))
def test_a_healthy_module_is_left_alone(file: Path) -> None:
    """Checked by its module, data and recipe: nor then."""
    try:
        report = checked(file)
    except DataError:  # a class for each position of a sequence, in arrays, is for watch alone
        return
    graver = {one.code for one in report.findings if one.severity != "note"} if report is not None else set()
    known = ACCUSED_BY_CHECK.get(key(file))
    assert graver == ({known.split(":")[0]} if known else set())


def test_every_fault_has_a_sick_program_and_a_healthy_twin() -> None:
    """All ninety, fifty-eight of them starred."""
    assert len(CODES) == 90
    assert {folder.name for folder in FOLDER.iterdir() if (folder / "sick.py").is_file()} == set(CODES)
    assert {folder.name for folder in FOLDER.iterdir() if (folder / "healthy.py").is_file()} == set(CODES)


def test_recall_is_high() -> None:
    """At least 95 % of the starred faults and 85 % of all are found in their commonest form."""
    missed = {name.split("/")[0] for name in UNSEEN if name.endswith("/sick")}
    assert 1 - len(missed & STARRED) / len(STARRED) >= 0.95
    assert 1 - len(missed) / len(CODES) >= 0.85
