"""What all tests share: one thread an operation, and the store of real data where there is one."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two test processes run side by side on two cores

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
if not os.environ.get("NETWRIGHT_DATA"):
    if SHARED.is_dir():
        os.environ["NETWRIGHT_DATA"] = str(SHARED)
    else:
        os.environ.pop("NETWRIGHT_DATA", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that no process waits at the end for another that has just begun it."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")


@pytest.fixture
def store() -> Path:
    """The store of real data sets; the test skips where there is none."""
    folder = os.environ.get("NETWRIGHT_DATA")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("no real data: set NETWRIGHT_DATA to a folder that holds mnist/")
    return Path(folder)


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT
