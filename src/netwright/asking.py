"""The verb ``predict``: files, texts and rows in, a line an answer out; from a bundle without torch."""

from __future__ import annotations

import argparse

PREDICT_EXAMPLE = "netwright predict runs/2026-11-23-mnist-net a.png"
PREDICT_EXAMPLES = f"{PREDICT_EXAMPLE}\n         netwright predict bundle photos/ --format csv"


def add_predict(parser: argparse.ArgumentParser) -> None:
    """What ``predict`` takes."""
    from netwright.answering.asked import add_options
    from netwright.flags import add_fields

    text = "a bundle, as a folder or .zip; or the folder of a run, whose own source is executed: open no stranger's"
    parser.add_argument("folder", metavar="BUNDLE|RUN", help=text)
    add_options(parser)
    add_fields(parser, "continuing a text")


def run_predict(arguments: argparse.Namespace) -> int:
    """Answer what was named, as it is read; the exit code."""
    from netwright.answering.asked import answer_all
    from netwright.answering.predictor import Predictor
    from netwright.options import make_options
    from netwright.records import Sampling

    given = {name: getattr(arguments, name) for name in Sampling.model_fields if getattr(arguments, name) is not None}
    sampling = make_options(Sampling, given)
    return answer_all(
        Predictor.open(arguments.folder),
        arguments.inputs,
        how="jsonl" if arguments.json else arguments.format,
        batch_size=arguments.batch_size,
        beam=arguments.beam,
        sampling={name: getattr(sampling, name) for name in given},
    )
