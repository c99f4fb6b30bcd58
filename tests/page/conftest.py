"""One browser for all tests of pages."""

from __future__ import annotations

import pytest

from chromium import browser, find_chromium


@pytest.fixture(scope="session")
def chromium():
    """A browser that the tests of this folder share."""
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine")
    with browser() as driven:
        yield driven
