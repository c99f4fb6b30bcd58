"""The rivals of the benchmarks of training speed, in an environment of their own, ``.venv-bench-speed``.

    python bench/speed_rivals.py          # install them

The environment reads torch and what else the project's has through a .pth file, so that all meet the same torch;
nothing is ever installed into the project's. fastai is not among them: it asks for torchvision, which asks for a
torch of its own.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig

from common import ROOT

VENV = ROOT / ".venv-bench-speed"
PYTHON = VENV / "bin" / "python"
# The first three stand in the project's constraints too, at these versions.
RIVALS = {
    "pytorch-lightning": "2.6.6",
    "skorch": "1.4.0",
    "scikit-learn": "1.9.1",
    "keras": "3.15.1",
    "jax": "0.10.2",
    "optax": "0.2.8",
}
HAVE = """
import json, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


def install() -> dict[str, str]:
    """Set the environment up once; why a rival could not be installed, by name."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        site = next(VENV.glob("lib/python*/site-packages"))
        # after the environment's own folder, so what is installed here comes first
        (site / "project.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n", encoding="utf-8")
    failed = {}
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for name, version in RIVALS.items():
        stamp = VENV / f".installed-{name}-{version}"
        if stamp.exists():
            continue
        command = [*pip, "-c", str(ROOT / "constraints.txt"), f"{name}=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            failed[name] = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        else:
            stamp.touch()
    return failed


def versions() -> str:
    """The versions that are there, on a line."""
    import json

    if not PYTHON.exists():
        return "not installed"
    done = subprocess.run([str(PYTHON), "-c", HAVE, *RIVALS], capture_output=True, text=True, check=True)
    return ", ".join(f"{name} {version or 'not installed'}" for name, version in json.loads(done.stdout).items())


if __name__ == "__main__":
    broken = install()
    print(versions())
    for rival, why in broken.items():
        print(f"{rival} could not be installed: {why}")
