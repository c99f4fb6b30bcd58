"""Bundles and a server over all of them, made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import bundles
from serving.running import Running, serving


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bundles of each kind."""
    folder = tmp_path_factory.mktemp("bundles")
    bundles.digits(folder / "digits")
    bundles.texts(folder / "texts")
    bundles.texts(folder / "apart", together=False)
    bundles.rows(folder / "rows")
    bundles.sounds(folder / "sounds")
    return folder


@pytest.fixture(scope="session")
def server(made: Path) -> Iterator[Running]:
    """A server over all kinds, with deadlines that a test can wait for."""
    names = ("digits", "texts", "apart", "rows", "sounds")
    with serving(*(made / name for name in names), "--receive-timeout", "2", "--max-connections", "600") as one:
        yield one
