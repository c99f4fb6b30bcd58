"""What ``netwright export`` takes, does and prints. Imports what it needs only when it runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Literal

from netwright.errors import UsageError

EXPORT_EXAMPLE = "netwright export runs/2026-11-23-mnist-net"
EXPORT_EXAMPLES = (
    f"{EXPORT_EXAMPLE}\n         {EXPORT_EXAMPLE} --zip --int8 --allow-drop 0.01\n         "
    f"{EXPORT_EXAMPLE} --to html --out digits.html"
)


def add_export(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("folder", metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=Path, metavar="PATH", help="where to; bundle, bundle.zip or page.html in the run")
    text = "bundle: files that answer anywhere; html: one page that answers in a browser"
    parser.add_argument("--to", choices=("bundle", "html"), default="bundle", help=text)
    parser.add_argument("--zip", action="store_true", help="one .zip in place of a folder")
    parser.add_argument("--int8", action="store_true", help="numbers of 8 bits, ranges from the training split")
    parser.add_argument("--fp16", action="store_true", help="numbers of 16 bits")
    text = "most that --int8 and --fp16 may lose of the score; 0.005"
    parser.add_argument("--allow-drop", type=float, default=None, metavar="SHARE", help=text)


def run_export(arguments: argparse.Namespace) -> int:
    """Write the bundle, and say what was proved."""
    lighter = _lighter(arguments)
    from netwright.shipping.export import export
    from netwright.shipping.lighter import ALLOWED

    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        if not arguments.json:
            print(text, file=sys.stderr, flush=True)

    path = export(
        arguments.folder,
        arguments.out,
        to=arguments.to,
        as_zip=arguments.zip,
        lighter=lighter,
        allow_drop=ALLOWED if arguments.allow_drop is None else arguments.allow_drop,
        say=say,
    )
    if arguments.to == "html":
        print(json.dumps({"page": str(path)}) if arguments.json else f"page    {path}\nOpen it in a browser.")
        return 0
    from netwright.answering.bundle import open_bundle

    certificate = open_bundle(path).certificate
    if arguments.json:
        print(json.dumps({"bundle": str(path), "certificate": certificate}, ensure_ascii=False))
        return 0
    held, edges = certificate["validation"], certificate["edges"]
    decided = f", {held['decisions_equal']:,} of {held['decisions']:,} decisions equal" if held["decisions"] else ""
    asked = sum(one["count"] for one in edges)
    most = max((one["largest_difference"] for one in edges), default=0.0)
    gap = held["largest_difference"]
    print(f"proved  {held['count']:,} samples of {held['split']}: at most {gap:.1e} apart{decided}")
    print(f"        {asked:,} raw and edge inputs: at most {most:.1e} apart")
    print(f"bundle  {path}\n\nnetwright predict {path} INPUT\nnetwright serve {path}")
    return 0


def _lighter(arguments: argparse.Namespace) -> Literal["int8", "fp16"] | None:
    if arguments.int8 and arguments.fp16:
        raise UsageError(where="--int8", expected="one of --int8 and --fp16", got="both", cure="Leave one out.")
    if arguments.allow_drop is not None and not (arguments.int8 or arguments.fp16):
        raise UsageError(
            where="--allow-drop", expected="--int8 or --fp16, which it is for", got="neither", cure="Leave it out."
        )
    if arguments.allow_drop is not None and not 0 <= arguments.allow_drop <= 1:
        raise UsageError(
            where="--allow-drop", expected="a share from 0 to 1", got=f"{arguments.allow_drop:g}", cure="As 0.005."
        )
    return "int8" if arguments.int8 else "fp16" if arguments.fp16 else None
