"""How long `import netwright` and `netwright --help` take, and that neither loads torch.

python bench/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from common import machine, spread

REPEATS = 11
SCRIPT = Path(sys.executable).with_name("netwright")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import netwright": [sys.executable, "-c", "import netwright"],
    "netwright --help": [str(SCRIPT), "--help"],
    "netwright train --help": [str(SCRIPT), "train", "--help"],
    "import torch (for scale)": [sys.executable, "-c", "import torch"],
}
LIMITS_S = {"import netwright": 0.15, "netwright --help": 0.5}


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def imported(code: str) -> set[str]:
    """Top-level modules that are loaded after ``code``."""
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )


def main() -> int:
    print(machine())
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for name, command in COMMANDS.items():
        seconds(command)  # fills the disk cache
        times[name] = []
    for _ in range(REPEATS):  # interleaved, so that noise meets all alike
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    for name, values in times.items():
        limit = f"  limit {LIMITS_S[name]} s" if name in LIMITS_S else ""
        print(f"{name:26} {spread(values, 's')}{limit}")
    heavy = {"torch", "numpy", "pydantic", "rich"}
    print(f"heavy modules that `import netwright` loads: {sorted(heavy & imported('import netwright')) or 'none'}")
    late = [name for name, limit in LIMITS_S.items() if sorted(times[name])[len(times[name]) // 2] > limit]
    print(f"over the limit: {', '.join(late) or 'none'}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
