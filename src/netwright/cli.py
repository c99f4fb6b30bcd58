"""The command line: parse, call the verb, print.

    netwright train net.py:Net --data mnist

Knows no maths. Options of training are the fields of ``Settings`` and ``LoadOptions``, so that there is one list.
"""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from netwright import __version__
from netwright.commands import VERBS
from netwright.errors import NetwrightError, RunError, UsageError, unknown_name

EXIT_CODES = "exit codes: 0 done, 1 failed, 2 wrong usage, 130 and 143 stopped by Ctrl-C and SIGTERM"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors have the four parts of all errors."""

    def error(self, message: str) -> NoReturn:
        """Raise in place of printing the usage."""
        raise UsageError(
            where=self.prog,
            expected=self.format_usage().removeprefix("usage: ").strip().split("\n")[0].strip(),
            got=message,
            cure=f"See {self.prog} --help.",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    asked = argparse.Namespace(debug=False, given=given)
    try:
        return _run(given, asked)
    except NetwrightError as error:
        return _fail(error, error.exit_code, debug=asked.debug)
    except KeyboardInterrupt as error:
        print(f"\n{error}" if str(error) else "\nstopped", file=sys.stderr)
        return 128 + getattr(error, "signal_number", 2)
    except BrokenPipeError:
        return 1
    except OSError as error:
        place = str(error.filename) if error.filename else "the disk"
        return _fail(
            RunError(
                where=place,
                expected="a file or folder that can be read and written",
                got=error.strerror or str(error),
                cure="Free space or change its rights; what was saved before is whole.",
            ),
            1,
            debug=asked.debug,
        )


def _fail(error: NetwrightError, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {error.message}", file=sys.stderr)
    return code


def _warn_once() -> None:
    """Show each warning of torch and others once, on one line, without the path of a library."""
    shown: set[str] = set()

    def show(message: Warning | str, *details: object) -> None:
        del details
        text = " ".join(str(message).split())
        if text not in shown:
            shown.add(text)
            print(f"warning: {text}", file=sys.stderr)

    warnings.showwarning = show  # type: ignore[assignment]


def _run(argv: list[str], arguments: argparse.Namespace) -> int:
    """Parse into a namespace, so that what was read before an error is known, and call the verb."""
    parser = _parser()
    _, unknown = parser.parse_known_args(argv, arguments)
    if unknown:
        known = [option for action in _actions(parser, arguments.verb) for option in action.option_strings]
        extra = unknown[0].split("=")[0]
        if extra.startswith("-"):
            raise unknown_name(f"option of {arguments.verb}", extra, known, where="command line")
        parser.error(f"unexpected argument: {extra}")
    if arguments.verb is None:
        parser.print_help()
        return 0
    run: Callable[[argparse.Namespace], int] = arguments.run
    with warnings.catch_warnings():
        if arguments.verb != "watch":  # a script that is watched warns as Python does
            _warn_once()
        return run(arguments)


def _actions(parser: argparse.ArgumentParser, verb: str | None) -> list[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and verb in action.choices:
            return list(action.choices[verb]._actions)
    return list(parser._actions)


def _parser() -> Parser:
    parser = Parser(
        prog="netwright",
        description="From a plain torch.nn.Module to a checked, trained and evaluated model.",
        epilog=f"example: netwright train net.py:Net --data mnist\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"netwright {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    for name, help_text, example, add, run in VERBS:
        verb = verbs.add_parser(
            name,
            help=help_text,
            description=help_text[0].upper() + help_text[1:] + ".",
            epilog=f"example: {example}\n\n{EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add(verb)
        verb.add_argument("--json", action="store_true", help="print one JSON object for machines")
        # Suppressed: else what stands before the verb would be set back.
        verb.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        verb.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
