"""The sick programs and their healthy twins: where they are, which are starred, how they are run."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import warnings
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType

import torch

import netwright as nw
from netwright.api import split_given
from netwright.checks.assemble import check
from netwright.checks.runner import untouched
from netwright.options import make_options
from netwright.records import CheckReport, Settings
from netwright.watch import Watched, run_script

FOLDER = Path(__file__).resolve().parent / "programs"
ZOO = Path(__file__).resolve().parent / "zoo"
CODES = tuple(
    f"{family}{number:02}"
    for family, count in (("M", 27), ("L", 14), ("D", 16), ("O", 9), ("T", 13), ("E", 7), ("P", 4))
    for number in range(1, count + 1)
)
STARS = """
M01 M02 M03 M04 M05 M06 M07 M08 M09 M10 M12 M14 M15 M16 M17 M18 M19 M21 M22 M23
L01 L02 L03 L04 L05 L06 L07 L08 L09 L12 D01 D03 D04 D05 D06 D08 D10 D11 O01 O02
O03 O04 O05 O06 T01 T02 T04 T06 T07 T08 T09 E01 E02 E03 E04 E05 P01 P04 M90
"""
STARRED = frozenset(STARS.split())


def programs(stem: str) -> list[Path]:
    """All files whose name begins so, in the order of the catalogue."""
    return sorted(FOLDER.glob(f"*/{stem}*.py"))


def watched(script: Path, *arguments: str) -> tuple[Watched, str]:
    """A script run under the observer, in this process; what it printed."""
    printed = io.StringIO()
    with untouched(), warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("ignore")  # what torch warns the person of is not for this test
        seen = run_script(str(script), arguments, seconds=60)  # so that a busy machine cuts nothing off
    assert seen.code == 0, printed.getvalue()[-2000:]
    return seen, printed.getvalue()


def imported(file: Path) -> ModuleType:
    """A program as a module, with its Net, data and RECIPE."""
    name = f"program_{file.parent.name}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def checked(file: Path) -> CheckReport | None:
    """What ``check`` says of a program's module, data and recipe; None where it is a script alone."""
    with untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = imported(file)
        if not hasattr(module, "RECIPE"):
            return None
        train, test = module.data()
        recipe = dict(module.RECIPE)
        optimizer = recipe.pop("optimizer", None)
        if isinstance(optimizer, FunctionType) and "lr" in recipe:  # a function of parameters and rate
            optimizer = partial(optimizer, lr=recipe.pop("lr"))
        given, names = split_given(loss=recipe.pop("loss", None), optimizer=optimizer, schedule=None, step=None)
        torch.manual_seed(0)
        settings = make_options(Settings, recipe | names)
        return check(module.Net(), nw.load(train, test=test), given=given, settings=settings)
