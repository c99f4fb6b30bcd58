"""``netwright check`` and ``netwright watch``: what they take, do and print."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from netwright import __version__
from netwright.errors import NetwrightError, UsageError
from netwright.flags import add_arg, add_fields, make, settings_given

if TYPE_CHECKING:
    from netwright.records import CheckReport

CHECK_EXAMPLE = "netwright check net.py:Net --data mnist --optimizer SGD --lr 0.001"
WATCH_EXAMPLE = "netwright watch train.py --epochs 3"


def add_check(parser: argparse.ArgumentParser) -> None:
    """Options of ``check``: the module, the data and the recipe, as ``train`` takes them."""
    parser.add_argument("net", metavar="NET", help="file.py:Class, as for train; or the folder of a run")
    parser.add_argument("--data", metavar="SOURCE", help="as for train; a run needs none")
    add_arg(parser)
    _add_output(parser, seconds=10.0)
    add_fields(parser, "training")
    add_fields(parser, "data")


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Options of ``watch``; what follows the script is the script's."""
    parser.add_argument("script", metavar="SCRIPT", help="a Python script that trains with PyTorch, run as it is")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="ARGS", help="its own arguments")
    parser.add_argument("--skip", action="append", default=[], metavar="CODE", help="findings to pass over, as E01,T06")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 where an error was found; else as the script"
    )
    _add_output(parser, seconds=20.0)


def _add_output(parser: argparse.ArgumentParser, *, seconds: float) -> None:
    parser.add_argument(
        "--sarif", type=Path, metavar="FILE", help="also write the findings there, for editors and code hosts"
    )
    parser.add_argument(
        "--seconds", type=float, default=seconds, metavar="S", help=f"most time that checking takes; {seconds:.0f}"
    )


def run_check(arguments: argparse.Namespace) -> int:
    """Check a module with its data, or a run; 1 where an error was found."""
    from netwright.checks.asked import refuse_seconds

    refuse_seconds(arguments.seconds, where="--seconds")
    sarif = _sarif_file(arguments.sarif)
    report = _of_run(arguments) if Path(arguments.net).is_dir() else _of_net(arguments)
    _print(report, as_json=arguments.json, stream=sys.stdout)
    if sarif is not None:
        _write_sarif(report, sarif)
    return 1 if report.errors else 0


def _of_net(arguments: argparse.Namespace) -> CheckReport:
    if arguments.data is None:
        raise UsageError(where="netwright check", expected="--data", got="nothing", cure=f"Give it, as {CHECK_EXAMPLE}")
    from netwright.checks.assemble import check

    made = make(arguments)
    name = f"{arguments.net} on {arguments.data}"
    return check(made.model, made.data, settings=made.settings, skip=made.skip, seconds=arguments.seconds, name=name)


def _of_run(arguments: argparse.Namespace) -> CheckReport:
    given = {**settings_given(arguments), "data": arguments.data, "arg": arguments.arg or None}
    asked = given.pop("skip", None)
    others = [name for name, value in given.items() if value is not None]
    if others:
        raise UsageError(
            where=f"--{others[0].replace('_', '-')}",
            expected="no option of training beside a run, which keeps its own",
            got="one",
            cure=f"netwright check {arguments.net}",
        )
    from netwright.checks.asked import known_codes
    from netwright.checks.history import check_run
    from netwright.options import make_options
    from netwright.records import Settings
    from netwright.run import open_run

    settings = make_options(Settings, {} if asked is None else {"skip": asked})
    return check_run(open_run(arguments.net), skip=known_codes(settings.skip, where="--skip"))


def run_watch(arguments: argparse.Namespace) -> int:
    """Run the script, then tell on standard error what was found; the script's exit code."""
    from netwright.checks.asked import known_codes, refuse_seconds
    from netwright.watch import run_script

    refuse_seconds(arguments.seconds, where="--seconds")
    sarif = _sarif_file(arguments.sarif)
    skip = known_codes(arguments.skip, where="--skip")
    stream = sys.stderr  # which the script may replace
    watched = run_script(arguments.script, arguments.rest, seconds=arguments.seconds, skip=skip)
    if watched.report is None:
        return watched.code
    with contextlib.suppress(ValueError, BrokenPipeError):  # closed by the script, or nobody reads: its code is kept
        _print(watched.report, as_json=arguments.json, stream=stream)
    if sarif is not None:
        try:
            _write_sarif(watched.report, sarif)
        except NetwrightError as error:
            print(f"error: {error.message}", file=stream)
    return 1 if arguments.strict and watched.report.errors and not watched.code else watched.code


def _sarif_file(file: Path | None) -> Path | None:
    """Where to write, wherever a script goes meanwhile; refused now where it cannot be."""
    if file is None or (file.absolute().parent.is_dir() and not file.is_dir()):
        return None if file is None else file.absolute()
    raise UsageError(
        where=f"--sarif {file}",
        expected="a file in a folder that is there",
        got="a folder" if file.is_dir() else f"no folder {file.parent}",
        cure="As --sarif found.sarif, or make the folder first.",
    )


def _print(report: CheckReport, *, as_json: bool, stream: TextIO) -> None:
    from rich.console import Console

    from netwright.checks.shown import render_report

    if as_json:
        print(report.model_dump_json(), file=stream)
    else:
        render_report(report, Console(file=stream))


def _write_sarif(report: CheckReport, file: Path) -> None:
    from netwright.checks.sarif import sarif
    from netwright.disk import atomic_write_text

    text = json.dumps(sarif(report, version=__version__), indent=1, ensure_ascii=False)
    atomic_write_text(file, text + "\n")
