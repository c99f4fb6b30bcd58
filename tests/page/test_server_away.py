"""The page when its server asks for a key, ends, and comes back."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromium import find_chromium
from page.visiting import answered, until, visit, write
from serving import bundles
from serving.running import serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.soak,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine"),
]


@contextlib.contextmanager
def back(*arguments: str | Path) -> Iterator[None]:
    """A server at a port that is given."""
    command = [sys.executable, "-m", "netwright", "serve", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def test_key_is_asked_for_and_a_server_that_comes_back_is_asked_again(chromium, tmp_path: Path) -> None:
    """A wrong key is refused in words; what was entered while the server was away is answered when it is back."""
    bundle = bundles.texts(tmp_path / "texts")
    keys = tmp_path / "keys.txt"
    keys.write_text("a-key-of-a-good-length-1234567890\n")
    keys.chmod(0o600)
    with serving(bundle, "--keys", keys) as server:
        visit(chromium, server.address, ready="document.getElementById('key')?.hidden === false")
        assert chromium.evaluate("document.getElementById('main').hidden")
        write(chromium, "#secret", "another")
        chromium.evaluate("document.querySelector('#key button').click()")
        until(chromium, "!document.getElementById('key-problem').hidden")
        write(chromium, "#secret", "a-key-of-a-good-length-1234567890")
        chromium.evaluate("document.querySelector('#key button').click()")
        until(chromium, "document.querySelector('textarea')")
        assert chromium.evaluate("document.getElementById('key').hidden")
        write(chromium, "textarea", "good")
        first, *_ = answered(chromium)
        port = str(server.port)
    write(chromium, "textarea", "bad day")
    until(chromium, "!document.getElementById('away').hidden")
    assert "does not answer" in chromium.evaluate("document.getElementById('away').textContent")
    with back(bundle, "--keys", keys, "--port", port):
        until(chromium, "asked.at(-1).sent.includes('bad day')")
        second, answer, shown = answered(chromium)
        assert (first, second) == ("good", "bad day")
        assert shown["label"] == answer["label"]
        assert chromium.evaluate("document.getElementById('away').hidden")
