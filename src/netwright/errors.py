"""Errors a person can act on: each says where, what was expected, what was found, and the cure.

Knows nothing of torch, of the command line or of the run folder.

    NetwrightError                  exit code 1
    ├── UsageError                  exit code 2   also ValueError: an option or an argument
    │   ├── UnknownNameError                      also LookupError: a name that is not among those known
    │   └── MissingFileError                      also FileNotFoundError
    ├── DataError                                 also ValueError: what the data hold
    │   └── DownloadError                         also ConnectionError
    ├── ModelError                                also ValueError: what the person's module does
    │   ├── ShapeError                            a layer got a shape it cannot take
    │   └── BindingError                          also TypeError: arguments of `forward` and fields of the batch
    ├── LossError                                 also ValueError: outputs, targets and loss contradict
    ├── NonFiniteError                            also ArithmeticError: NaN or infinity while training
    ├── FaultError                                also ValueError: checking found that the result would be wrong
    ├── ExportRefusedError                        also ValueError: a module that does not become a graph
    ├── CertificateError                          also ValueError: a bundle does not answer as the trained module does
    ├── BundleError                               also ValueError: a bundle that is damaged or was changed
    ├── RunError                                  also OSError: the run folder and its disk
    │   ├── CheckpointError                       a checkpoint that is damaged or of another model
    │   └── RunLockedError                        another process trains in this folder
    └── MissingExtraError           exit code 2   also ImportError: an optional package
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any

# What each extra brings.
EXTRAS = {
    "export": "onnx, onnxscript and onnxruntime",
    "serve": "onnxruntime, FastAPI, uvicorn and prometheus-client",
    "report": "Jinja2 and matplotlib",
    "tables": "pandas and pyarrow",
    "text": "tokenizers, pandas and pyarrow",
    "speech": "soundfile, pandas and pyarrow",
}


class NetwrightError(Exception):
    """Tell a person what went wrong and what to do.

    Args:
        where: Place of the fault: an option, a file, a layer, ``file:line``.
        expected: What would have been right.
        got: What was found instead.
        cure: What to do now; as a command or as code when that is possible.
    """

    exit_code = 1

    def __init__(self, *, where: str, expected: str, got: str, cure: str) -> None:
        self.where = where
        self.expected = expected
        self.got = got
        self.cure = cure
        # No property: from a worker process, torch would call a class that has a `message` with nothing but that.
        self.message = f"{where}: expected {expected}, got {got}.\n{cure}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        parts = {"where": self.where, "expected": self.expected, "got": self.got, "cure": self.cure}
        return _again, (type(self), parts)


def _again(kind: type[NetwrightError], parts: dict[str, str]) -> NetwrightError:
    """An error that came from another process."""
    return kind(**parts)


class UsageError(NetwrightError, ValueError):
    """An option or an argument that cannot be used."""

    exit_code = 2


class UnknownNameError(UsageError, LookupError):
    """A name that is not among the known ones."""


class MissingFileError(UsageError, FileNotFoundError):
    """A file or folder that is not there."""


class DataError(NetwrightError, ValueError):
    """Data that cannot be used as they are."""


class DownloadError(DataError, ConnectionError):
    """A download that did not arrive whole."""


class ModelError(NetwrightError, ValueError):
    """A module that does not do what its task needs."""


class ShapeError(ModelError):
    """A layer that got a shape it cannot take."""


class BindingError(ModelError, TypeError):
    """Arguments of ``forward`` that match no field of the batch."""


class LossError(NetwrightError, ValueError):
    """Outputs, targets and loss that contradict each other."""


class NonFiniteError(NetwrightError, ArithmeticError):
    """NaN or infinity while training."""


class FaultError(NetwrightError, ValueError):
    """Faults that make the result wrong, found before training."""


class CertificateError(NetwrightError, ValueError):
    """A bundle that does not answer as the trained module does."""


class ExportRefusedError(NetwrightError, ValueError):
    """A module that cannot become a graph which answers as it does; the operation and its line are named."""


class BundleError(NetwrightError, ValueError):
    """A bundle that is damaged, was changed, or holds what no bundle may hold."""


class RunError(NetwrightError, OSError):
    """A run folder, or its disk, that cannot be used."""


class CheckpointError(RunError):
    """A checkpoint that is damaged, or of another model."""


class RunLockedError(RunError):
    """A run folder in which another process trains."""


class MissingExtraError(NetwrightError, ImportError):
    """An optional package that is not installed."""

    exit_code = 2


def require(package: str, extra: str) -> Any:
    """Import an optional package.

    Args:
        package: Its name to import.
        extra: What brings it.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise missing_extra(extra, error) from error


def missing_extra(extra: str, error: ImportError) -> MissingExtraError:
    """Make the error for an optional package that could not be imported."""
    return MissingExtraError(
        where=extra,
        expected=f"the `{extra}` extra, with {EXTRAS[extra]}",
        got=f"no {error.name}",
        cure=f"pip install 'netwright[{extra}]'",
    )


def unknown_name(what: str, name: str, known: Iterable[str], *, where: str) -> UnknownNameError:
    """Make the error for a misspelt name, with the nearest known one as the cure.

    Args:
        what: Kind of thing, as in "optimizer".
        name: As the person wrote it.
        known: All names that would do.
        where: Option or file that held the name.
    """
    names = sorted(known)
    folded = {known_name.casefold(): known_name for known_name in names}
    near = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.5)
    listing = ", ".join(names) if names else "none"
    hint = f'Did you mean "{folded[near[0]]}"? ' if near else ""
    return UnknownNameError(
        where=where,
        expected=f"the name of a known {what}",
        got=f'"{name}"',
        cure=f"{hint}Known: {listing}.",
    )
