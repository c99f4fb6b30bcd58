"""schemathesis walks the description: what it allows and what it forbids, sent to the real server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from serving.running import Running

# Not `positive_data_acceptance`: a schema cannot say which bytes make a picture, nor which names a model has.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,missing_required_header"
)


def walk(server: Running, examples: int) -> None:
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{server.address}/openapi.json", "--checks", CHECKS,
        "--max-examples", str(examples), "--no-color", "--seed", "1",
        "--suppress-health-check", "all", "--phases", "examples,coverage,fuzzing",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_description_is_kept(server: Running) -> None:
    """A few examples of each address."""
    walk(server, 3)


@pytest.mark.soak
def test_the_description_is_kept_at_length(server: Running) -> None:
    """300 examples of each address."""
    walk(server, 300)
