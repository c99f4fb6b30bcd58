"""One browser for all tests of pages, and the JavaScript of the stand-alone page as a page by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromium import browser, find_chromium
from netwright.shipping.joining import joined


@pytest.fixture(scope="session")
def chromium():
    """A browser that the tests of this folder share."""
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine")
    with browser() as driven:
        yield driven


@pytest.fixture(scope="session")
def engine_page(tmp_path_factory):
    """A page without a face: what it does to inputs, under the name `nw`."""
    script = joined(Path(__file__).parent / "parity.js", instead={}, beside={})
    page = tmp_path_factory.mktemp("engine") / "engine.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><script type=module>{script}</script>", encoding="utf-8")
    return page
