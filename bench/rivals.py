"""The rivals of bench/faults.py: how they are installed, which of their rules names which fault, how they are run.

They live in an environment of their own, ``.venv-bench``. It reads torch and scikit-learn out of the project's, through
a .pth file, so that all tools meet the same versions; nothing is ever installed into the project's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from common import ROOT

VENV = ROOT / ".venv-bench"
PYTHON = VENV / "bin" / "python"
RIVALS = {"torchtest2": "0.1.0", "torch-preflight": "0.5.0", "preflight-ml": "0.1.1"}

# Which of our codes a message of a rule names; read out of the packages' rule texts and README tables, and read
# generously: a rule counts for every fault whose cause its message, hint or documented purpose speaks of.
NAMES: dict[str, dict[str, str]] = {
    "torchtest2": {
        "forward": "M20 M26",  # "raised": train or eval overridden, a tensor changed in place
        "output_finite": "M22 M24 M27 D13",
        "output_varies": "M02 M14 M22 M23 M25 M28",  # "input ignored, collapsed activations"
        "eval_determinism": "M11 M19 M20 M26 M28",  # "two forward passes in eval mode differ"
        "loss": "M14 M20 M27 L04 L09 D13",  # finite, a scalar, connected to the graph
        "initial_loss": "M22 L04 L07 L09 D01 D14",  # "over-confident at init, check normalisation", "leak"
        "optimizer_coverage": "M10 M11 O03 O04 O05 O06",
        "gradient_flow": "M02 M10 M13 M14 M17 M22 M23 O05",
        "gradient_magnitude": "M22 M24 M27 L09 L14 D01 D13 O01 T04",
        "params_change": "M02 M11 M13 M14 M22 M23 M24 O02 O03 O04 O05 O06 T05",
        "frozen_params": "T09",
        "input_dependency": "M02 M09 M14 M25",
        "batch_independence": "M01 M03 M05 M06 M07 M28",
        # "lr, loss/target mismatch, capacity", and NaN on the way
        "overfit_batch": "M02 M16 M17 M22 M23 M24 M27 L01 L03 L04 L05 L06 L11 D13 O01 O02 O07 O08 O09",
        "gradcheck": "M15",
    },
    "torch-preflight": {
        "TG001": "T10",  # graph kept in a container
        "TG002": "E08",  # evaluation builds graphs: none of the ninety
        "TG003": "T01",
        "TG004": "",  # workers of a DataLoader
        "TG005": "L01 L02 L04",
        "TG006": "L03 L04",
        "TG007": "",  # waits for the GPU
        "TG008": "",  # no seed
        "TG010": "",  # memory of a GPU
        "TG011": "T07",
        "TG012": "",  # DistributedSampler
        "TG013": "",  # copies to the GPU
        "TG014": "T03",
    },
    "preflight-ml": {
        "nan_inf_detection": "D13",
        "normalisation_sanity": "D01 D02 D13 L14",  # of inputs and of real targets alike
        "channel_ordering": "D15",
        "shape_mismatch": "M20",
        "gradient_check": "M02 M10 M13 M14 M17 M22 M23 M24 M27 L09 L14 O05",  # none, zero, over 1,000
        "vram_estimation": "",
        "class_imbalance": "D10",
        "label_leakage": "D06 D08 E04",
        "split_sizes": "D08",
    },
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool said of a program.

    Attributes:
        found: Rule or code, and severity: error, warning or note.
        note: Why it could not run; empty where it did.
    """

    file: Path
    found: tuple[tuple[str, str], ...]
    seconds: float
    note: str = ""

    def codes(self, tool: str) -> set[str]:
        """Our codes that its findings name."""
        rules = NAMES.get(tool)
        if rules is None:
            return {code for code, _ in self.found}
        return {code for rule, _ in self.found for code in rules.get(rule, "").split()}

    def accuses(self, severities: tuple[str, ...] = ("error", "warning")) -> bool:
        """Whether anything of these severities was said."""
        return any(severity in severities for _, severity in self.found)


def install() -> dict[str, str]:
    """Set the environment up once; why a rival could not be installed, by name."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        site = next(VENV.glob("lib/python*/site-packages"))
        # after the environment's own folder, so what is installed here comes first
        (site / "project.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n", encoding="utf-8")
    failed = {}
    for name, version in RIVALS.items():
        stamp = VENV / f".installed-{name}-{version}"
        if stamp.exists():
            continue
        command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{name}=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            failed[name] = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        else:
            stamp.touch()
    return failed


def run_rival(name: str, files: Sequence[Path], jobs: int) -> tuple[list[Outcome], str]:
    """What a rival says of the files, and why it does not run at all; that is empty where it does."""
    lots = [files[start::jobs] for start in range(jobs)]
    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(lambda lot: _run(name, lot), [lot for lot in lots if lot]))
    broken = next((why for _, why in done if why), "")
    return [outcome for outcomes, _ in done for outcome in outcomes], broken


def _run(name: str, files: Sequence[Path]) -> tuple[list[Outcome], str]:
    """One process after another: a program that ends the process is noted, and the others still run."""
    outcomes: list[Outcome] = []
    left = list(files)
    while left:
        done = subprocess.run(
            [str(PYTHON), str(ROOT / "bench" / "rival_runs.py"), name, *map(str, left)],
            capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if lines and "broken" in lines[0]:
            return [], lines[0]["broken"]
        for line in lines:
            found = tuple((rule, severity) for rule, severity, _ in line["found"])
            outcomes.append(Outcome(Path(line["file"]), found, line["seconds"], line["note"]))
        if len(lines) < len(left):
            outcomes.append(Outcome(left[len(lines)], (), 0.0, f"ended with exit code {done.returncode}"))
        left = left[len(lines) + 1 :]
    return outcomes, ""
