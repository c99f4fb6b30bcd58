"""Requests a second and their times: the tutorial network behind netwright serve, plain FastAPI, and LitServe.

    python bench/serving.py                    # some four minutes; --write keeps the table in bench/results
    python bench/serving.py --rounds 1 --seconds 1 --concurrency 8

One core for the servers, one for the load. All servers run all the time; those that are not asked are stopped
(SIGSTOP), so that they take nothing. Rounds are interleaved: each server in turn, the order changing, for each
concurrency. The same PNGs are sent to all as a form with a file; answers are compared. The rivals run eager PyTorch,
one thread, as tutorials write them, with uvloop and httptools (``serving_rivals.py``); netwright runs the exported
bundle of the same weights.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import serving_rivals
from common import ROOT, machine, use_shared_data

HERE = Path(__file__).resolve().parent
SERVER_CORE, LOAD_CORE = 0, 1
START_S = 60
SAME = 1e-4  # of probabilities, between programs
WARM_S = 0.5
PICTURES = 64
NETWRIGHT, FASTAPI, LITSERVE, LITSERVE_BATCHED = (
    "netwright serve",
    "FastAPI, eager",
    "LitServe, eager",
    "LitServe, eager, batches of 16",
)


@dataclass(slots=True)
class Server:
    """A server that runs, stopped unless it is asked."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def group(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def make(folder: Path) -> Path:
    """A bundle of the tutorial network, trained a little on the embedded digits, and pictures of these beside it."""
    from PIL import Image
    from sklearn.datasets import load_digits

    netwright = [sys.executable, "-m", "netwright"]
    net = f"{ROOT / 'examples' / 'tutorial' / 'net.py'}:Net"
    run, bundle = str(folder / "run"), folder / "bundle"
    train = [*netwright, "train", net, "--data", "digits", "--image-size", "28", "--epochs", "2", "--no-report"]
    for command in ([*train, "--run", run], [*netwright, "export", run, "--out", str(bundle)]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pictures = folder / "pictures"
    pictures.mkdir()
    for place, image in enumerate(load_digits().images[:PICTURES]):
        small = Image.fromarray((image / 16 * 255).astype("uint8"))
        small.resize((28, 28), Image.Resampling.BILINEAR).save(pictures / f"{place:03d}.png")
    return bundle


def start(name: str, command: list[str], port: int, bundle: Path) -> Server:
    """Start a server on its core, and wait until it answers."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "BENCH_BUNDLE": str(bundle), "PYTHONWARNINGS": "ignore"}
    pinned = ["taskset", "-c", str(SERVER_CORE), *command]
    process = subprocess.Popen(
        pinned,
        env=environment,
        cwd=HERE / "servers",
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = Server(name, port, process)
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            if load(server, 1, 0.2, bundle.parent / "pictures")["failed"] == 0:
                return server
        except (subprocess.CalledProcessError, ValueError):
            time.sleep(0.3)
    server.group(signal.SIGKILL)
    raise SystemExit(f"{name} does not answer")


def load(server: Server, concurrency: int, seconds: float, pictures: Path) -> dict[str, Any]:
    """Ask a server for some seconds, from the other core."""
    asked = [str(server.port), "/predict", str(concurrency), str(seconds), str(pictures)]
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, str(HERE / "serving_load.py"), *asked]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60)
    return dict(json.loads(done.stdout))


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def servers(bundle: Path) -> Iterator[list[Server]]:
    """All servers, stopped."""
    rival = str(serving_rivals.PYTHON)
    ports = [free_port() for _ in range(4)]
    commands = {
        NETWRIGHT: [
            sys.executable,
            "-m",
            "netwright",
            "serve",
            "--no-supervise",
            str(bundle),
            "--port",
            str(ports[0]),
            "--quiet",
        ],
        FASTAPI: [rival, "fastapi_eager.py", str(ports[1])],
        LITSERVE: [rival, "litserve_eager.py", str(ports[2]), "1"],
        LITSERVE_BATCHED: [rival, "litserve_eager.py", str(ports[3]), "16"],
    }
    running: list[Server] = []
    try:
        for (name, command), port in zip(commands.items(), ports, strict=True):
            running.append(start(name, command, port, bundle))
            running[-1].group(signal.SIGSTOP)
        yield running
    finally:
        for one in running:
            one.group(signal.SIGCONT)
            one.group(signal.SIGKILL)
            one.process.wait()


def compared(answers: dict[str, dict[str, Any]]) -> float:
    """The largest difference between the probabilities of all servers; each picture's must have come from each."""
    first, *others = answers.values()
    worst = 0.0
    for other in others:
        for picture in first.keys() & other.keys():
            worst = max(worst, *(abs(first[picture][name] - other[picture][name]) for name in first[picture]))
    return worst


def table(found: dict[tuple[str, int], list[dict[str, Any]]], concurrencies: list[int]) -> list[str]:
    """Medians over the rounds, least and greatest in brackets, and how many times FastAPI's requests a second."""
    lines = ["| at once | server | requests/s | 50 % ms | 99 % ms | times FastAPI |", "|--:|---|--:|--:|--:|--:|"]
    for concurrency in concurrencies:
        base = statistics.median(one["per_second"] for one in found[FASTAPI, concurrency])
        for (name, own), runs in found.items():
            if own != concurrency:
                continue
            rates = [one["per_second"] for one in runs]
            middle, late = (statistics.median(one[key] for one in runs) for key in ("p50_ms", "p99_ms"))
            rate = statistics.median(rates)
            lines.append(
                f"| {concurrency} | {name} | {rate:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) "
                f"| {middle:.2f} | {late:.2f} | {rate / base:.2f} |"
            )
    return lines


def main() -> None:
    """Measure, print, and keep the table where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    use_shared_data()
    serving_rivals.install()
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    answers: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bundle = make(Path(folder))
        pictures = bundle.parent / "pictures"
        with servers(bundle) as running:
            for turn in range(asked.rounds):
                for concurrency in asked.concurrency:
                    for place in range(len(running)):
                        one = running[(place + turn) % len(running)]
                        one.group(signal.SIGCONT)
                        load(one, concurrency, WARM_S, pictures)
                        told = load(one, concurrency, asked.seconds, pictures)
                        one.group(signal.SIGSTOP)
                        if told["failed"] or told["differ"]:
                            raise SystemExit(
                                f"{one.name}: {told['failed']} failed, {told['differ']} answered otherwise"
                            )
                        answers.setdefault(one.name, {}).update(told.pop("answers"))
                        found.setdefault((one.name, concurrency), []).append(told)
                print(f"round {turn + 1} of {asked.rounds}", file=sys.stderr)
    difference = compared(answers)
    if difference > SAME:
        raise SystemExit(f"answers differ by {difference:.1e}")
    how = f"{asked.rounds} rounds of {asked.seconds:g} s, interleaved; medians"
    lines = [
        "# Serving the tutorial network",
        "",
        f"{machine()}; rivals: {serving_rivals.versions()}.",
        "",
        f"Core {SERVER_CORE} for the server, core {LOAD_CORE} for the load; {how}.",
        f"Largest difference between the answers of all servers: {difference:.1e}.",
        "",
        *table(found, asked.concurrency),
    ]
    print("\n".join(lines))
    if asked.write:
        file = HERE / "results" / "serving.md"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
