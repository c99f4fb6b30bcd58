"""What each verb of the command line takes, does and prints. Imports what a verb needs only when it runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netwright.asking import PREDICT_EXAMPLES, add_predict, run_predict
from netwright.checking import CHECK_EXAMPLE, WATCH_EXAMPLE, add_check, add_watch, run_check, run_watch
from netwright.errors import UsageError
from netwright.flags import add_arg, add_fields, load_options, make, settings_given
from netwright.serving.command import SERVE_EXAMPLE, add_serve, run_serve
from netwright.shipping.command import EXPORT_EXAMPLES, add_export, run_export

if TYPE_CHECKING:
    from rich.console import Console

PLAN_EXAMPLE = "netwright plan net.py:Net --data mnist --epochs 20"
PLAN_EXAMPLES = f"{PLAN_EXAMPLE}\n         netwright plan net.py:Net --data table.csv --batch-size 64 --json"


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", nargs="?", metavar="NET", help="file.py:Class, package.module:Class or file.py:function")
    parser.add_argument("--data", metavar="SOURCE", help="digits, mnist, fashion_mnist, kmnist, cifar10, or a folder")
    add_arg(parser)
    parser.add_argument("--run", dest="folder", metavar="DIR", help="new folder for the run")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run that was stopped; takes no other option")
    parser.add_argument("--no-report", action="store_true", help="write no report.html")
    parser.add_argument("--lang", choices=("en", "zh"), default="en", help="language of the report")
    add_fields(parser, "training")
    add_fields(parser, "data")


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", metavar="NET", help="file.py:Class, as for train")
    parser.add_argument("--data", metavar="SOURCE", help="as for train")
    add_arg(parser)
    add_fields(parser, "training")
    add_fields(parser, "data")


def _add_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("starter", nargs="?", metavar="NAME", help="which one; --list names them")
    parser.add_argument("folder", nargs="?", metavar="DIR", type=Path, help="where to write it")
    parser.add_argument("--list", action="store_true", help="name the starters")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="digits, mnist, fashion_mnist, kmnist, cifar10, or a folder")
    add_fields(parser, "data")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", help="folder of a run")
    parser.add_argument("--split", metavar="NAME", help="train, val or test; test where there is one")
    parser.add_argument("--no-baselines", action="store_true", help="leave out the simple methods")
    _add_beam(parser)


def _add_beam(parser: argparse.ArgumentParser) -> None:
    text = "beginnings kept when a transcript is searched for; 1 takes the likeliest path"
    parser.add_argument("--beam", type=int, default=1, metavar="WIDTH", help=text)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", help="folder of a run")
    parser.add_argument("--lang", choices=("en", "zh"), default="en", help="language")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write; report.html in the run otherwise")


def _train(arguments: argparse.Namespace) -> int:
    if arguments.resume is not None:
        return _resume(arguments)
    for name, value, example in (("NET", arguments.net, "net.py:Net"), ("--data", arguments.data, "--data mnist")):
        if value is None:
            raise UsageError(
                where="netwright train",
                expected=f"{name}",
                got="nothing",
                cure=f"Give it, as {example}: netwright train net.py:Net --data mnist",
            )
    from netwright.api import finish
    from netwright.given import Given
    from netwright.plans import ahead

    progress = _progress(arguments)
    model, made_with, data, settings, _ = make(arguments, say=progress.say)
    ahead.begin(model, data, settings, Given())
    from netwright import training

    run = training.train(
        model,
        data,
        run=arguments.folder,
        progress=progress,
        reference=arguments.net,
        arguments=made_with,
        settings=settings,
    )
    evaluation = finish(run, model, data, write_report=not arguments.no_report, lang=arguments.lang)
    return _show_run(arguments, run.path, evaluation)


def _plan(arguments: argparse.Namespace) -> int:
    if arguments.data is None:
        raise UsageError(where="netwright plan", expected="--data", got="nothing", cure=f"Give it, as {PLAN_EXAMPLE}")
    from netwright.journal import describe_choices
    from netwright.plans.shown import render_plans
    from netwright.plans.surveying import survey

    progress = _progress(arguments)
    made = make(arguments, say=progress.say)
    name = f"{arguments.net} on {arguments.data}"
    report = survey(made.model, made.data, settings=made.settings, say=progress.say, name=name)
    if arguments.json:
        print(report.model_dump_json())
        return 0
    render_plans(report, _console())
    print("\n".join(describe_choices((*made.data.spec.choices, *report.choices))))
    return 0


def _resume(arguments: argparse.Namespace) -> int:
    from netwright import training
    from netwright.api import finish
    from netwright.records import LoadOptions

    names = ("net", "data", "folder", *LoadOptions.model_fields)
    others = [name for name in names if getattr(arguments, name) is not None] + (["arg"] if arguments.arg else [])
    if others or settings_given(arguments):
        raise UsageError(
            where="--resume",
            expected="a run to go on with, and no other option",
            got=f"also {', '.join([*others, *settings_given(arguments)])}",
            cure="A resumed run keeps what it was started with; leave the others out.",
        )
    run = training.resume(arguments.resume, progress=_progress(arguments))
    evaluation = finish(run, None, None, write_report=not arguments.no_report, lang=arguments.lang)
    return _show_run(arguments, run.path, evaluation)


def _new(arguments: argparse.Namespace) -> int:
    from netwright.starters import STARTERS, write_starter

    if arguments.list:
        if arguments.json:
            print(json.dumps({name: starter.title for name, starter in STARTERS.items()}))
        else:
            print("\n".join(f"{name:<6} {starter.title}" for name, starter in STARTERS.items()))
        return 0
    if arguments.starter is None or arguments.folder is None:
        raise UsageError(
            where="netwright new",
            expected="a starter and a folder",
            got="less",
            cure=f"As netwright new cnn my_cnn. Starters: {', '.join(STARTERS)}.",
        )
    files = write_starter(arguments.starter, arguments.folder)
    if arguments.json:
        print(json.dumps({"files": [str(file) for file in files]}))
        return 0
    print("\n".join(map(str, files)))
    print(f"\nnetwright train {files[0]}:Net --data {STARTERS[arguments.starter].data}")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from netwright.api import evaluate
    from netwright.tables import render_evaluation

    evaluation = evaluate(
        arguments.folder, split=arguments.split, with_baselines=not arguments.no_baselines, beam=arguments.beam
    )
    if arguments.json:
        print(evaluation.model_dump_json())
    else:
        render_evaluation(evaluation, _console())
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from netwright.run import open_run

    run = open_run(arguments.folder)
    from netwright.reporting import report

    path = report(run.path, lang=arguments.lang, out=arguments.out)
    print(json.dumps({"report": str(path)}) if arguments.json else f"report  {path}")
    return 0


def _data(arguments: argparse.Namespace) -> int:
    from netwright.data import load
    from netwright.data.describe import describe, render

    data = load(arguments.source, options=load_options(arguments))
    if arguments.json:
        print(json.dumps(describe(data), ensure_ascii=False))
    else:
        render(data, _console())
    return 0


def _show_run(arguments: argparse.Namespace, path: Path, evaluation: Any) -> int:
    from netwright.run import Run
    from netwright.tables import render_evaluation

    run = Run(path)
    if arguments.json:
        print(json.dumps({"run": str(path), "evaluation": evaluation.model_dump(mode="json")}, ensure_ascii=False))
        return 0
    render_evaluation(evaluation, _console())
    print(f"\nrun     {path}")
    if run.report_file.is_file():
        print(f"report  {run.report_file}")
    elif not arguments.no_report:
        print("report  not written: pip install 'netwright[report]'")
    return 0


def _progress(arguments: argparse.Namespace) -> Any:
    from netwright.progress import Silent, choose_progress

    return Silent() if arguments.json else choose_progress(sys.stderr)


def _console() -> Console:
    from rich.console import Console

    return Console()


VERBS = (
    ("check", "find silent faults of a network, its data and recipe, or of a run", CHECK_EXAMPLE, add_check, run_check),
    ("watch", "find faults of your own training script while it runs", WATCH_EXAMPLE, add_watch, run_watch),
    ("plan", "measure how updates would be executed here, without training", PLAN_EXAMPLES, _add_plan, _plan),
    ("new", "write a short network to start from", "netwright new cnn my_cnn", _add_new, _new),
    ("data", "show what is understood of data", "netwright data digits", _add_data, _data),
    ("train", "train a network and evaluate it", "netwright train net.py:Net --data mnist", _add_train, _train),
    ("evaluate", "score a run on a split", "netwright evaluate runs/2026-11-23-mnist-net", _add_evaluate, _evaluate),
    ("predict", "answer new inputs", PREDICT_EXAMPLES, add_predict, run_predict),
    ("export", "write a run as what answers anywhere, with proof", EXPORT_EXAMPLES, add_export, run_export),
    ("serve", "answer over HTTP, with a page to try it", SERVE_EXAMPLE, add_serve, run_serve),
    ("report", "write a run's report", "netwright report runs/2026-11-23-mnist-net --lang zh", _add_report, _report),
)
