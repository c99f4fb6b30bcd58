"""The rivals of the server, in an environment of their own, ``.venv-bench-serving``.

    python bench/serving_rivals.py          # install them

The environment reads torch and what else the project's has through a .pth file, so that all meet the same torch;
nothing is ever installed into the project's. Its uvicorn has uvloop and httptools, as ``uvicorn[standard]`` has.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig

from common import ROOT

VENV = ROOT / ".venv-bench-serving"
PYTHON = VENV / "bin" / "python"
RIVALS = {"litserve": "0.2.19", "uvloop": "0.23.0", "httptools": "0.9.0", "python-multipart": "0.0.34"}
SHOWN = ("torch", "fastapi", "uvicorn", "uvloop", "httptools", "litserve")
HAVE = """
import json, sys
from importlib import metadata
print(json.dumps({name: metadata.version(name) for name in sys.argv[1:]}))
"""


def install() -> None:
    """Set the environment up once."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        site = next(VENV.glob("lib/python*/site-packages"))
        # after the environment's own folder, so what is installed here comes first
        (site / "project.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n", encoding="utf-8")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for name, version in RIVALS.items():
        stamp = VENV / f".installed-{name}-{version}"
        if not stamp.exists():
            subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), f"{name}=={version}"], check=True)
            stamp.touch()


def versions() -> str:
    """The versions that are there, on a line."""
    done = subprocess.run([str(PYTHON), "-c", HAVE, *SHOWN], capture_output=True, text=True, check=True)
    return ", ".join(f"{name} {version}" for name, version in json.loads(done.stdout).items())


if __name__ == "__main__":
    install()
    print(versions())
