"""``netwright serve``: what it takes and does."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netwright.errors import UsageError, missing_extra

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from netwright.serving.limits import Limits
    from netwright.serving.logs import Log
    from netwright.serving.place import Place

SERVE_EXAMPLE = "netwright serve bundle\n         netwright serve digits=bundle reviews@2=reviews.zip --port 8080"
# Options of the limits: name, field, kind, and what it is.
BOUNDS = (
    ("--max-batch", "batch", int, "inputs that the model gets at once"),
    ("--max-wait-ms", "wait_ms", float, "longest wait of a batch for inputs that are being decoded"),
    ("--max-queue", "waiting", int, "inputs that wait before more are refused with 429"),
    ("--max-body-mb", "body", float, "size of a request's body, in MiB"),
    ("--max-pixels", "pixels", int, "pixels of a picture"),
    ("--max-text", "text", int, "characters of a text"),
    ("--max-inputs", "inputs", int, "inputs of one request to /predict/batch"),
    ("--max-connections", "connections", int, "connections at once"),
    ("--receive-timeout", "receive_s", float, "seconds within which a request must have come, and a reply be read"),
    ("--answer-timeout", "answer_s", float, "seconds within which it is answered"),
    ("--drain-timeout", "drain_s", float, "seconds to finish what was accepted, after SIGTERM"),
)


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Options of ``serve``."""
    parser.add_argument(
        "bundles", nargs="+", metavar="BUNDLE", help="a folder or .zip; NAME=BUNDLE, NAME@VERSION=BUNDLE"
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; other than loopback needs --keys")
    parser.add_argument("--port", type=int, default=8000, help="8000; 0 for any that is free")
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="a host requests may name")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="a key a line; each request must bring one")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of one model; 1")
    parser.add_argument("--quiet", action="store_true", help="no line in the log for each request")
    parser.add_argument(
        "--no-supervise", action="store_true", help="one process alone, which nobody starts again where it dies"
    )
    for option, field, kind, text in BOUNDS:
        parser.add_argument(option, dest=f"bound_{field}", type=kind, metavar="N", help=text)


def run_serve(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from netwright.serving.access import is_loopback, read_keys
    from netwright.serving.logs import Log
    from netwright.serving.place import Place
    from netwright.serving.supervising import told

    keys = tuple(read_keys(arguments.keys)) if arguments.keys is not None else ()
    if not keys and not is_loopback(arguments.host):
        raise UsageError(
            where=f"--host {arguments.host}",
            expected="--keys beside an address that others reach",
            got="no keys",
            cure="umask 077; openssl rand -hex 24 > keys.txt; netwright serve … --keys keys.txt",
        )
    place = Place(arguments.host, _port(arguments.port), tuple(arguments.allow_host), keys, told())
    limits = _limits(arguments)
    log = Log(sys.stderr, requests=not arguments.quiet)
    # A child of this process, so that this one needs none of what a server imports. Windows hands no sockets on.
    if place.handed is None and not arguments.no_supervise and sys.platform != "win32":
        return _supervise(arguments.given, place, limits, log)
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise missing_extra("serve", error) from error

    from netwright.answering.model import load_runtime
    from netwright.serving.models import wanted
    from netwright.serving.running import serve

    load_runtime("serve")

    def announce(address: str) -> None:
        log.say("info", "serving", address=address, models=[one.name for one in asked])

    asked = wanted(arguments.bundles)
    return _run(serve(asked, place, limits, log, threads=max(1, arguments.threads), announce=announce))


def _run(served: Coroutine[Any, Any, int]) -> int:
    """On uvloop where it is installed: a twentieth of a request's time."""
    import asyncio

    try:
        import uvloop
    except ImportError:
        return asyncio.run(served)
    return int(uvloop.run(served))


def _supervise(given: list[str], place: Place, limits: Limits, log: Log) -> int:
    from netwright.serving.place import listening
    from netwright.serving.supervising import supervise

    with listening(place) as listener:
        return supervise(given, listener, log.say, drain_s=limits.drain_s)


def _port(port: int) -> int:
    if 0 <= port < 1 << 16:
        return port
    raise UsageError(where=f"--port {port}", expected="0 to 65535", got=str(port), cure="Leave it out.")


def _limits(arguments: argparse.Namespace) -> Limits:
    from netwright.serving.limits import MIB, Limits

    given: dict[str, Any] = {}
    for option, field, kind, _ in BOUNDS:
        value = getattr(arguments, f"bound_{field}")
        if value is None:
            continue
        if not value > 0 and field != "wait_ms":
            raise UsageError(where=option, expected="a number above 0", got=str(value), cure="Leave it out.")
        given[field] = int(value * MIB) if field == "body" else kind(value)
    if "receive_s" in given:
        given["send_s"] = given["receive_s"]
    return dataclasses.replace(Limits(), **given)
