"""A limit of a check's time and the libraries that it loads."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netwright.checks import runner
from netwright.checks.runner import TimeUpError, time_limit
from netwright.checks.subject import Budget

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such timers")


def work(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes a library of this name and text."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


def test_a_limit_waits_for_an_import(library: Callable[[str, str], None]) -> None:
    """Left in the middle of one, a library of C++ is broken until the process ends."""
    library("slow_library", "import time\ntime.sleep(0.3)\nwhole = True\n")
    with pytest.raises(TimeUpError), time_limit(0.1):
        importlib.import_module("slow_library")
        work(5)
    assert sys.modules["slow_library"].whole


def test_an_import_that_does_not_end_is_stopped(
    library: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MOST_IMPORTS_S", 0.3)
    library("endless_library", "import time\nwhile time.monotonic():\n    pass\n")
    began = time.monotonic()
    with pytest.raises(TimeUpError), time_limit(0.1):
        importlib.import_module("endless_library")
    assert time.monotonic() - began < 5


def test_a_limit_strikes_in_what_a_module_does_while_it_is_imported(library: Callable[[str, str], None]) -> None:
    """As in a script that another one imports for its training."""
    library(
        "script_library",
        "import time\nfrom netwright.checks.runner import TimeUpError, time_limit\n"
        "began = time.monotonic()\ntry:\n    with time_limit(0.1):\n        time.sleep(3)\n"
        "except TimeUpError:\n    took = time.monotonic() - began\n",
    )
    assert importlib.import_module("script_library").took < 2


def test_loading_is_not_counted() -> None:
    """Neither by the limit, which goes on after, nor by the time of all checks."""
    budget, began = Budget(2.0), time.monotonic()
    with pytest.raises(TimeUpError), time_limit(0.3):
        with budget.loading():
            work(0.5)
        reached = time.monotonic() - began
        work(5)
    assert reached >= 0.5
    assert budget.left() > 2.0 - (time.monotonic() - began) + 0.45
