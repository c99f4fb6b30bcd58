"""run.py in a process of its own, as on a machine that only answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# What a machine that only answers does not have.
ABSENT = ("torch", "pydantic", "scipy", "pandas", "sklearn", "yaml", "rich", "onnx")


def alone(bundle: Path, *arguments: str, given: str = "", absent: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """run.py in a process of its own, in which imports of ``ABSENT`` fail; exit code, stdout, stderr."""
    script = (
        f"import runpy, sys\nsys.modules.update(dict.fromkeys({(*ABSENT, *absent)!r}))\n"
        f"sys.argv[:] = {['run.py', *arguments]!r}\nrunpy.run_path({str(bundle / 'run.py')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], input=given.encode(), capture_output=True, check=False, timeout=120
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()
