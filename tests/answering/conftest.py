"""Bundles that several tests look at: made once."""

from __future__ import annotations

import pytest

from answering.kinds import KINDS, Made


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Of pictures."""
    return KINDS["image"](tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Of texts."""
    return KINDS["text"](tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Of rows."""
    return KINDS["table"](tmp_path_factory.mktemp("table"))
