"""What every benchmark prints: machine, versions, medians and spread."""

from __future__ import annotations

import importlib
import os
import platform
import statistics
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


def use_shared_data() -> None:
    """Point NETWRIGHT_DATA at the data beside the checkout, where it is not set and they are there."""
    if not os.environ.get("NETWRIGHT_DATA") and SHARED.is_dir():
        os.environ["NETWRIGHT_DATA"] = str(SHARED)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # run from its source
        return str(importlib.import_module(name).__version__)


def machine() -> str:
    """Processor, cores and versions on a line."""
    from netwright.journal import processor

    versions = ", ".join(f"{name} {_version(name)}" for name in ("netwright", "torch", "numpy"))
    return f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def spread(values: Sequence[float], unit: str, digits: int = 3) -> str:
    """Median, and least to greatest, of n values."""
    return (
        f"median {statistics.median(values):.{digits}f} {unit} "
        f"({min(values):.{digits}f} to {max(values):.{digits}f}, n={len(values)})"
    )
