"""Make records of options out of what a person gave, with errors in the house's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from netwright.errors import UsageError, unknown_name
from netwright.records import LoadOptions, Sampling, Settings

Options = TypeVar("Options", Settings, LoadOptions, Sampling)


def make_options(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """A record of options.

    Raises:
        UnknownNameError: A name that is no field; the nearest is given.
        UsageError: A value of the wrong kind or range.
    """
    for name in given:
        if name not in kind.model_fields:
            raise unknown_name("option", name, kind.model_fields, where=name)
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise UsageError(
            where=f"--{name.replace('_', '-')}",
            expected=(kind.model_fields[name].description or "another value").rstrip("."),
            got=repr(given[name]),
            cure=f"{first['msg']}.",
        ) from error
