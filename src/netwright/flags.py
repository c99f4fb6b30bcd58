"""Options of the command line that are fields of records: one list of options, wherever they are given."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import nn

    from netwright.data.dataset import Data
    from netwright.records import LoadOptions, Settings


class Made(NamedTuple):
    """What the options of a training name.

    Attributes:
        arguments: Of the module's class.
        skip: Codes of findings to pass over.
    """

    model: nn.Module
    arguments: dict[str, Any]
    data: Data
    settings: Settings
    skip: frozenset[str]


def add_arg(parser: argparse.ArgumentParser) -> None:
    """The option for arguments of the module's class."""
    parser.add_argument(
        "--arg", action="append", default=[], metavar="NAME=VALUE", help="argument of the class; may be repeated"
    )


def add_fields(parser: argparse.ArgumentParser, kind: str) -> None:
    """One option a field of the record; values stay text here and are validated by the record."""
    from netwright.records import LoadOptions, Sampling, Settings

    group = parser.add_argument_group(kind)
    records: dict[str, type[Settings] | type[LoadOptions] | type[Sampling]] = {
        "training": Settings, "data": LoadOptions, "continuing a text": Sampling,
    }  # fmt: skip
    record = records[kind]
    for name, field in record.model_fields.items():
        flag = "--" + name.replace("_", "-").removesuffix("s" if name == "optimizer_args" else "")
        if name == "optimizer_args":
            group.add_argument(flag, dest=name, action="append", metavar="NAME=VALUE", help=field.description)
        elif name == "augment":
            group.add_argument(flag, dest=name, nargs="+", metavar="NAME", help=field.description)
        elif name == "skip":
            group.add_argument(flag, dest=name, action="append", metavar="CODE", help=field.description)
        else:
            group.add_argument(flag, dest=name, metavar="VALUE", help=field.description)


def settings_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, still as text."""
    from netwright.models import parse_arguments
    from netwright.records import Settings

    given = {name: getattr(arguments, name) for name in Settings.model_fields if getattr(arguments, name) is not None}
    if "optimizer_args" in given:
        given["optimizer_args"] = parse_arguments(given["optimizer_args"])
    return given


def load_options(arguments: argparse.Namespace) -> LoadOptions:
    """How the data are to be read, as given."""
    from netwright.options import make_options
    from netwright.records import LoadOptions

    given: dict[str, Any] = {
        name: getattr(arguments, name) for name in LoadOptions.model_fields if getattr(arguments, name) is not None
    }
    if "image_size" in given:
        sizes = given["image_size"].lower().split("x")
        given["image_size"] = sizes * 2 if len(sizes) == 1 else sizes
    return make_options(LoadOptions, given)


def make(arguments: argparse.Namespace, *, say: Callable[[str], None] | None = None) -> Made:
    """Read the data and make the module, with the random generators as a training begins with them.

    Args:
        say: Told which arguments of the class the data gave.
    """
    from netwright.checks.asked import known_codes
    from netwright.data import load
    from netwright.models import arguments_from, load_model, parse_arguments
    from netwright.options import make_options
    from netwright.randomness import seed_all
    from netwright.records import Settings

    settings = make_options(Settings, settings_given(arguments))
    skip = known_codes(settings.skip, where="--skip")
    data = load(arguments.data, options=load_options(arguments))
    seed_all(settings.seed)
    known = arguments_from(arguments.net, data.spec)
    made_with = known | parse_arguments(arguments.arg)
    if known and say is not None:
        say(f"  {', '.join(f'{name}={value}' for name, value in known.items())}  – known from the data")
    return Made(load_model(arguments.net, made_with), made_with, data, settings, skip)
