"""schemathesis walks the description: what it allows and what it forbids, sent to the real server."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from serving.running import Running

# A schema cannot say which bytes make a picture, so what it allows may be refused; and in a form all parts are bytes,
# so what it forbids there may be allowed.
EXCLUDED = "positive_data_acceptance,negative_data_rejection"


def walk(server: Running, examples: int) -> None:
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{server.address}/openapi.json", "--checks", "all",
        "--exclude-checks", EXCLUDED,
        "--max-examples", str(examples), "--no-color", "--seed", "1",
        "--suppress-health-check", "all", "--phases", "examples,coverage,fuzzing",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    walked = re.search(r"Operations: +(\d+) selected / \1 total", done.stdout)
    assert walked is not None and int(walked[1]) > 40


def test_the_description_is_kept(server: Running) -> None:
    """A few examples of each address."""
    walk(server, 3)


@pytest.mark.soak
def test_the_description_is_kept_at_length(server: Running) -> None:
    """300 examples of each address."""
    walk(server, 300)
