"""How a server begins and ends, who may ask, and how bundles are replaced; under load, without a request lost."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from netwright.cli import main
from netwright.errors import UsageError
from netwright.serving.access import is_loopback, read_keys
from serving import bundles
from serving.running import Running, error_of, read_replies, request, serving

KEY = "0123456789abcdef-first"


def netwright(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "netwright", "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def called(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """The same in this process, for what is refused before anything is served: its code and standard error.

    Without a supervisor, which would take the signals of this process.
    """
    capfd.readouterr()
    return main(["serve", "--no-supervise", *map(str, arguments)]), capfd.readouterr().err


def keys(folder: Path, *lines: str, mode: int = 0o600) -> Path:
    file = folder / "keys.txt"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    file.chmod(mode)
    return file


def test_it_listens_on_loopback_alone(server: Running) -> None:
    """The default address is 127.0.0.1, and no other of this machine answers."""
    assert server.address.startswith("http://127.0.0.1:")
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    port = f"{server.port:04X}"
    addresses = [
        line.split()[1] for line in listening if line.split()[3] == "0A" and line.split()[1].endswith(":" + port)
    ]
    assert addresses == [f"0100007F:{port}"]


def test_another_address_needs_keys(made: Path) -> None:
    """0.0.0.0 without keys is wrong usage, and says how to make some."""
    done = netwright(made / "rows", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "--keys" in done.stderr and "openssl rand" in done.stderr and "Traceback" not in done.stderr
    assert [is_loopback(host) for host in ("::", "0.0.0.0", "10.0.0.1", "::1", "127.0.0.2")] == [False] * 3 + [True] * 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nowhere"], "nothing there"),
        (["{made}/rows", "{made}/rows"], "twice"),
        (["a/b={made}/rows"], "another name"),
        (["x@y={made}/rows"], "another name"),
        (["{made}/rows", "--port", "70000"], "65535"),
        (["{made}"], "certificate.json"),
        (["{made}/rows", "--keys", "nowhere.txt"], "no such file"),
        (["{made}/rows", "--max-batch", "0"], "above 0"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(
    made: Path, arguments: list[str], word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 or 2, and no traceback."""
    code, told = called(capfd, *(argument.format(made=made) for argument in arguments))
    assert code in (1, 2)
    assert word in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("lines", "mode", "word"),
    [([KEY], 0o644, "everybody can"), ([KEY, "short"], 0o600, "shorter"), (["# a"], 0o600, "none")],
)
def test_keys_that_all_can_read_or_are_short_are_refused(
    tmp_path: Path, lines: list[str], mode: int, word: str
) -> None:
    """A file of keys is a secret, and its keys are long."""
    with pytest.raises(UsageError, match=word):
        read_keys(keys(tmp_path, *lines, mode=mode))


def test_a_port_that_is_taken_is_told(made: Path, server: Running) -> None:
    """No traceback of a library."""
    done = netwright(made / "rows", "--port", str(server.port))
    assert done.returncode == 2 and "port" in done.stderr and "Traceback" not in done.stderr


def test_with_keys_each_request_needs_one(made: Path, tmp_path: Path) -> None:
    """Either header, any of the keys; pages and probes are open; other hosts may be allowed by name."""
    file = keys(tmp_path, "# of two programs", KEY, "0123456789abcdef-second")
    with serving(made / "rows", "--keys", file, "--host", "0.0.0.0", "--allow-host", "api.example") as one:
        for headers in (
            {},
            {"X_API_Key": "0123456789abcdef-third"},
            {"Authorization": f"Basic {KEY}"},
            {"X_API_Key": KEY[:-1]},
        ):
            status, told, body = one.ask(request("/models", **headers))
            assert (status, error_of(body)["code"]) == (401, "no_key") and told["www-authenticate"] == "Bearer"
        for headers in (
            {"X_API_Key": KEY},
            {"Authorization": f"Bearer {KEY}"},
            {"X_API_Key": "0123456789abcdef-second"},
        ):
            assert one.ask(request("/models", **headers))[0] == 200
        for path in ("/", "/v2/health/live", "/v2/health/ready"):
            assert one.ask(request(path))[0] == 200
        for path in ("/metrics", "/openapi.json", "/v2", "/models/rows", "/page/../models"):
            assert one.ask(request(path))[0] in (401, 404)
        named = b"GET /v2/health/live HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"
        assert [one.ask(named % host)[0] for host in (b"api.example", b"10.1.2.3:80", b"evil.example")] == [
            200,
            200,
            421,
        ]
        assert not any(KEY in line for line in one.raw)


class Load:
    """Clients that keep asking, each over a connection that it keeps, and count what they get."""

    def __init__(self, port: int, clients: int = 8) -> None:
        self.port = port
        self.answers: list[tuple[int, str]] = []
        self.lost: list[str] = []
        self.refused = 0  # connections that were never accepted
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(clients)]
        for one in self._threads:
            one.start()

    def _ask(self, seed: int) -> None:
        data = request("/predict", bundles.png(seed), kind="image/png", close=False)
        while not self._done.is_set():
            try:
                one = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            except OSError:
                self.refused += 1
                return
            with one:
                kept = True
                first = True
                while kept and not self._done.is_set():
                    try:
                        one.sendall(data)
                        ((status, headers, body),) = read_replies(one, 1)
                    except OSError as error:
                        if first:  # accepted by the kernel alone
                            self.refused += 1
                            return
                        self.lost.append(repr(error))
                        return
                    first = False
                    self.answers.append((status, json.dumps(json.loads(body).get("probabilities"))[:60]))
                    kept = headers.get("connection") != "close"

    def stop(self) -> None:
        """End all clients."""
        self._done.set()
        for one in self._threads:
            one.join(60)


def drain(made: Path) -> None:
    with serving(made / "digits", "--quiet", supervised=True) as one:
        load = Load(one.port)
        time.sleep(0.5)
        one.term()
        code = one.process.wait(30)
        load.stop()
        assert code == 0
        assert not load.lost
        assert {status for status, _ in load.answers} == {200}
        assert one.events("drained")[0]["left"] == 0


def test_sigterm_ends_it_without_a_request_lost(made: Path) -> None:
    """Eight clients ask all the time; each request whose connection was taken is answered, and the exit code is 0."""
    drain(made)


def test_what_is_under_way_is_finished_and_slow_ones_do_not_hold_the_end_up(made: Path, tmp_path: Path) -> None:
    """A request that has begun is answered after SIGTERM; one that never ends is cut off at the deadline."""
    with serving(made / "digits", "--drain-timeout", "3") as one:
        data = request("/predict", bundles.png(1), kind="image/png", close=False)
        with one.connect() as begun, one.connect() as never:
            begun.sendall(data[:-10])
            never.sendall(data[:-10])
            time.sleep(0.2)
            one.term()
            one.wait_for("draining")
            time.sleep(0.3)
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", one.port), timeout=1).close()
            begun.sendall(data[-10:])
            ((status, headers, _),) = read_replies(begun, 1)
            assert (status, headers["connection"]) == (200, "close")
            assert one.process.wait(15) == 0
        assert one.events("drained")[0]["left"] == 1


def replace(one: Running, folder: Path, seed: int) -> None:
    """Write other weights over a bundle: all beside it first, then file by file, the certificate last."""
    new = bundles.digits(folder.parent / "new", seed=seed, made=f"2026-11-26T00:00:{seed:02d}Z")
    for name in ("model.onnx", "preprocess.json", "classes.json", "certificate.json"):
        (new / name).replace(folder / name)
    del one


def hot(tmp_path: Path, times: int) -> None:
    folder = bundles.digits(tmp_path / "digits", seed=1)
    with serving(folder, "--quiet", supervised=True) as one:
        load = Load(one.port, clients=4)
        for turn in range(times):
            before = len(load.answers)
            replace(one, folder, seed=2 + turn)
            one.wait_for("bundle replaced", count=turn + 1)
            while len(load.answers) < before + 20:
                time.sleep(0.01)
        load.stop()
        assert not load.lost and not load.refused
        assert {status for status, _ in load.answers} == {200}
        assert len({answer for _, answer in load.answers}) >= 4 * (times + 1)  # four pictures, by each of the weights


def test_bundles_are_replaced_without_a_request_lost(tmp_path: Path) -> None:
    """Two other weights under load: each request is answered by the old or the new ones."""
    hot(tmp_path, 2)


def test_a_bundle_that_is_damaged_is_refused_and_the_old_one_goes_on(tmp_path: Path) -> None:
    """Another digest, and an answer that is not the certified one; then a good one is taken by SIGHUP."""
    folder = bundles.digits(tmp_path / "digits", seed=1)
    good = tmp_path / "good"
    shutil.copytree(folder, good)
    data = request("/predict", bundles.png(1), kind="image/png")
    with serving(folder) as one:
        answer = json.loads(one.ask(data)[2])

        def refused(count: int) -> None:
            one.wait_for("bundle refused, the old one goes on", count=count)
            assert json.loads(one.ask(data)[2]) == answer
            assert one.ask(request("/v2/health/ready"))[0] == 200

        weights = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
        refused(1)
        certificate = json.loads((good / "certificate.json").read_text())
        (folder / "model.onnx").write_bytes(weights)
        certified = [{"input": base64.b64encode(bundles.png(1)).decode(), "answer": answer}]
        wrong = [certified[0] | {"answer": answer | {"label": "none"}}]
        (folder / "certificate.json").write_text(json.dumps(certificate | {"examples": wrong}))
        one.wait_for("bundle refused, the old one goes on", count=2)
        assert json.loads(one.ask(data)[2]) == answer
        moved = {name: value + 0.001 for name, value in answer["probabilities"].items()}
        wrong = [certified[0] | {"answer": answer | {"probabilities": moved}}]
        (folder / "certificate.json").write_text(json.dumps(certificate | {"examples": wrong}))
        one.wait_for("bundle refused, the old one goes on", count=3)
        assert json.loads(one.ask(data)[2]) == answer
        (good / "certificate.json").write_text(json.dumps(certificate | {"examples": certified}))
        shutil.copytree(good, folder, dirs_exist_ok=True)
        one.process.send_signal(signal.SIGHUP)
        one.wait_for("bundle replaced")
        assert json.loads(one.ask(data)[2]) == answer
        assert (
            'netwright_model_loads_total{model="digits@1",outcome="refused"}'
            in one.ask(request("/metrics"))[2].decode()
        )


def test_versions_of_a_name_are_served_beside_each_other(tmp_path: Path) -> None:
    """The newest answers by the name alone; each by its number; a .zip is as good as a folder."""
    import zipfile

    first, second = bundles.digits(tmp_path / "a", seed=1), bundles.digits(tmp_path / "b", seed=2)
    packed = tmp_path / "b.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in second.iterdir():
            archive.write(file, file.name)
    with serving(f"net={first}", f"net@2={packed}") as one:

        def ask(path: str) -> Any:
            return json.loads(one.ask(request(path, bundles.png(1), kind="image/png"))[2])["probabilities"]

        assert ask("/models/net/predict") == ask("/models/net@2/predict") == ask("/predict?model=net")
        assert ask("/models/net@1/predict") != ask("/models/net/predict")
        assert json.loads(one.ask(request("/v2/models/net"))[2])["versions"] == ["1", "2"]
        assert one.ask(request("/v2/models/net/versions/1/ready"))[0] == 200
        assert one.ask(request("/v2/models/net/versions/3"))[0] == 404


def test_readiness_falls_before_the_end(made: Path) -> None:
    """While it drains a connection that is open is told that the server is not ready, though it lives."""
    with serving(made / "rows") as one, one.connect() as kept, one.connect() as other:
        kept.sendall(request("/v2/health/ready", close=False))
        assert read_replies(kept, 1)[0][0] == 200
        other.sendall(b"GET /v2/health/live HTTP/1.1\r\n")
        time.sleep(0.2)
        one.term()
        one.wait_for("draining")
        kept.sendall(request("/v2/health/ready", close=False))
        assert read_replies(kept, 1)[0][0] == 503
        other.sendall(b"Host: localhost\r\n\r\n")
        assert read_replies(other, 1)[0][0] == 200


def test_a_server_whose_process_dies_is_followed_by_another(made: Path) -> None:
    """Killed as by a fault of a library: who asks at the same address is answered, by another process."""
    with serving(made / "rows", supervised=True) as one:
        data = request("/models/rows/predict", json.dumps({"input": {"age": 3}}).encode())
        assert one.ask(data)[0] == 200
        begun = time.monotonic()
        os.kill(one.server, signal.SIGSEGV)
        one.wait_for("server died")
        assert one.ask(data, seconds=30)[0] == 200  # it waited in the socket's queue
        print(f"answered again {time.monotonic() - begun:.1f} s after its process died")
        child = one.server
        one.process.kill()
        end = time.monotonic() + 30
        while Path(f"/proc/{child}/fd").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not Path(f"/proc/{child}/fd").exists()  # nor does it outlive the process that watches it


def test_names_after_two_dashes_are_bundles(made: Path) -> None:
    """The supervised server is not told of its socket by an option, which would be such a name."""
    with serving("--quiet", "--", made / "rows", supervised=True) as one:
        assert one.ask(request("/v2/health/ready"))[0] == 200
        assert one.server != one.process.pid
        assert not Path(f"/proc/{one.server}/task/{one.server}/children").read_text().split()


def test_a_supervisor_asked_to_end_while_it_begins_a_child_ends(tmp_path: Path) -> None:
    """The signal that came before the child was there is passed on, and one that goes on all the same is killed."""
    script = """
import os, signal, socket, subprocess, sys
from netwright.serving import supervising
supervising.LATE_S = 0.5
real = subprocess.Popen
def begun(command, **more):
    os.kill(os.getpid(), signal.SIGTERM)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    return real([sys.executable, "-c", deaf] if sys.argv[1] == "deaf" else command, **more)
supervising.subprocess.Popen = begun
one = socket.create_server(("127.0.0.1", 0))
sys.exit(supervising.supervise(["serve", "nowhere"], one, print, drain_s=0.1))
"""
    for kind, codes in (("heard", (0, 1, 2)), ("deaf", (9, 0))):
        done = subprocess.run([sys.executable, "-c", script, kind], capture_output=True, timeout=30, cwd=tmp_path)
        assert done.returncode in codes, done


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(20))
def test_sigterm_twenty_times(made: Path, turn: int) -> None:
    """No accepted request is lost in any of twenty."""
    del turn
    drain(made)


@pytest.mark.soak
def test_twenty_replacements(tmp_path: Path) -> None:
    """Nor in twenty replacements."""
    hot(tmp_path, 20)
