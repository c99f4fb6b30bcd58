"""One browser for all tests of pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromium import Browser, browser, find_chromium
from netwright.shipping.joining import joined


@pytest.fixture(scope="session")
def chromium():
    """A browser that the tests of this folder share."""
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine")
    with browser() as driven:
        yield driven


@pytest.fixture(scope="module")
def engine(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """A page without a face, whose `nw` is what the stand-alone page does to inputs."""
    script = joined(Path(__file__).parent / "parity.js", instead={}, beside={})
    page = tmp_path_factory.mktemp("engine") / "engine.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><script type=module>{script}</script>", encoding="utf-8")
    chromium.show(page)
    assert chromium.evaluate("typeof nw") == "object"
    return chromium
