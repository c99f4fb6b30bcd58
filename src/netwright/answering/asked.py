"""A predictor asked from the command line: ``netwright predict``, and run.py of a bundle."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from netwright.answering.inputs import Asked, find_inputs
from netwright.answering.predictor import Answer, Predictor
from netwright.answering.shown import FORMATS, show
from netwright.errors import NetwrightError, UsageError

EXIT_CODES = "exit codes: 0 done, 1 some input failed, 2 wrong usage"
QUIET_S, EVERY_S = 2.0, 0.5  # progress is shown of what takes longer, so often
INPUTS = (
    "files, folders, quoted patterns, texts, rows as JSON, files of rows (.csv, .tsv, .jsonl, .json); @file.txt has a "
    "text a line, - is standard input"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every way to ask takes."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=INPUTS)
    parser.add_argument("--format", choices=FORMATS, default="table", help="how answers are written; table for people")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="inputs asked at once; 64 otherwise")
    text = "beginnings kept when a transcript is searched for; 1 takes the likeliest path"
    parser.add_argument("--beam", type=int, default=1, metavar="WIDTH", help=text)


def answer_all(
    predictor: Predictor,
    given: Sequence[str],
    *,
    how: str,
    batch_size: int,
    beam: int,
    sampling: Mapping[str, Any],
) -> int:
    """Answer what the command line names, and write the answers as they come; the exit code.

    Raises:
        UsageError: An argument or an option cannot be used.
    """
    asked = Asked(predictor.kind, predictor.task, predictor.preprocess, predictor.field_names)
    progress = Progress(sys.stderr)
    with _stdin("-" in given) as stdin:
        answers = predictor.stream(
            find_inputs(asked, given, stdin), batch_size=batch_size, beam=beam, sampling=sampling
        )
        try:
            failed = show(
                progress.watched(answers), how, lambda line: progress.write(line, sys.stdout),
                lambda line: progress.write(line, sys.stderr),
            )  # fmt: skip
            sys.stdout.flush()
        finally:
            progress.clear()
    return 1 if failed else 0


@contextlib.contextmanager
def _stdin(wanted: bool) -> Iterator[TextIO]:
    """Standard input as UTF-8, whatever the terminal's own, with lines as they end; it is left open."""
    buffer = getattr(sys.stdin, "buffer", None)
    if not wanted or buffer is None:
        yield sys.stdin
        return
    text = io.TextIOWrapper(buffer, encoding="utf-8-sig", errors="replace", newline="")
    try:
        yield text
    finally:
        text.detach()


class Progress:
    """How many inputs are answered, on a terminal, on a line that what is written pushes away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty() and not sys.stdout.isatty()
        self._since = self._last = time.monotonic()
        self._count = 0
        self._shown = False

    def watched(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        """The answers, counted."""
        for answer in answers:
            self._count += 1
            now = time.monotonic()
            if self._terminal and now - self._since > QUIET_S and now - self._last > EVERY_S:
                rate = self._count / (now - self._since)
                self._stream.write(f"\r\x1b[K{self._count:,} answered, {rate:,.0f} a second")
                self._stream.flush()
                self._last, self._shown = now, True
            yield answer

    def write(self, line: str, stream: TextIO) -> None:
        """A line; what the stream's encoding has not is written as an escape."""
        if self._shown and stream is self._stream:
            self.clear()
        encoding = stream.encoding or "utf-8"
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False


SAMPLING: tuple[tuple[str, type, str], ...] = (
    ("max_new_tokens", int, "tokens to write; 200 otherwise"),
    ("temperature", float, "below 1 likelier tokens, above 1 bolder ones, 0 the likeliest; 0.8 otherwise"),
    ("top_k", int, "draw among so many of the likeliest tokens"),
    ("top_p", float, "draw among the likeliest tokens that hold so much probability"),
    ("seed", int, "of the draws"),
)


def main(folder: Path, argv: Sequence[str] | None = None) -> int:
    """What run.py does: answer inputs with the bundle that it lies in.

    Args:
        folder: Of the bundle.
        argv: Arguments; None for those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Answer inputs with this bundle's model. It needs numpy, onnxruntime and the decoder of its kind.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    add_options(parser)
    parser.add_argument("--threads", type=int, metavar="N", help="of one operation; as many as cores otherwise")
    for name, kind, text in SAMPLING:
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="VALUE", help=text)
    arguments = parser.parse_args(argv)
    sampling = {name: getattr(arguments, name) for name, _, _ in SAMPLING if getattr(arguments, name) is not None}
    try:
        if arguments.threads is not None and arguments.threads < 1:
            raise UsageError(where="--threads", expected="1 or more", got=str(arguments.threads), cure="Leave it out.")
        predictor = Predictor.open(folder, threads=arguments.threads)
        return answer_all(
            predictor,
            arguments.inputs,
            how=arguments.format,
            batch_size=arguments.batch_size,
            beam=arguments.beam,
            sampling=sampling,
        )
    except ImportError as error:  # MissingExtraError too: here there are no extras, but packages
        missing = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        package = str(missing.name).split(".")[0]
        name = {"PIL": "Pillow"}.get(package, package)
        sys.stderr.write(f"error: {name} is not installed: pip install {name}\n")
        return 2
    except NetwrightError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return error.exit_code
    except BrokenPipeError:
        return 1
    except OSError as error:
        sys.stderr.write(f"error: {error.filename or 'the disk'}: {error.strerror or error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return 130
