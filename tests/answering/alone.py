"""run.py in a process of its own, as on a machine that only answers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

# What a machine that only answers does not have.
ABSENT = ("torch", "pydantic", "scipy", "pandas", "sklearn", "yaml", "rich", "onnx")


def alone(bundle: Path, *arguments: str, given: str = "", absent: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """run.py in a process where imports of ``ABSENT`` fail and home stays empty; exit code, stdout, stderr."""
    script = (
        f"import runpy, sys\nsys.modules.update(dict.fromkeys({(*ABSENT, *absent)!r}))\n"
        f"sys.argv[:] = {['run.py', *arguments]!r}\nrunpy.run_path({str(bundle / 'run.py')!r}, run_name='__main__')"
    )
    command = [sys.executable, "-I", "-c", script]
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            command, input=given.encode(), capture_output=True, check=False, timeout=120,
            env=os.environ | {"HOME": home, "XDG_CACHE_HOME": f"{home}/cache"},
        )  # fmt: skip
        left = [str(one) for one in Path(home).rglob("*")]
    assert not left  # as events that onnxruntime would send home
    return done.returncode, done.stdout.decode(), done.stderr.decode()
