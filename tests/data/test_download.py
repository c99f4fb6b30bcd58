"""Downloads from a real server that truncates, corrupts, stalls, refuses and lies."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from data.loopback import serving
from netwright.data import download
from netwright.data.download import fetch, store
from netwright.disk import try_lock
from netwright.errors import DownloadError, RunError

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
quick = partial(fetch, timeout_s=5.0, pause_s=0.01)


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between the test and its server."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "set" / "file.bin"


def alone(path: Path) -> bool:
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_arrives_whole_and_alone(path: Path) -> None:
    """The file has its bytes, and neither a part nor a lock is left beside it."""
    with serving(CONTENT) as server:
        assert quick([server.url], path, sha256=SHA256) == path
    assert path.read_bytes() == CONTENT
    assert alone(path)


def test_md5_and_capital_digests_are_taken(path: Path) -> None:
    """An MD5 digest in capitals is checked like any other."""
    with serving(CONTENT) as server:
        quick([server.url], path, md5=MD5.upper())
    assert path.read_bytes() == CONTENT


def test_without_a_digest_the_length_decides(path: Path) -> None:
    """A file without a digest is whole when as many bytes came as the server promised."""
    with serving(CONTENT, "truncates", "well") as server:
        quick([server.url], path)
    assert path.read_bytes() == CONTENT


def test_a_present_file_asks_no_server(path: Path) -> None:
    """What is in the store is used as it is; no request is made."""
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with serving(CONTENT) as server:
        quick([server.url], path, sha256=SHA256)
        assert server.requests == []
    assert path.read_bytes() == b"mine"


def test_a_truncated_download_is_resumed(path: Path) -> None:
    """Half of the file came first; only the other half is asked for, so each byte is served once."""
    with serving(CONTENT, "truncates", "well") as server:
        quick([server.url], path, sha256=SHA256)
        assert server.requests == ["", "bytes=150000-"]
        assert server.served == len(CONTENT)
    assert path.read_bytes() == CONTENT


def test_a_part_of_an_earlier_call_is_resumed(path: Path) -> None:
    """What an earlier process left is not served again."""
    path.parent.mkdir(parents=True)
    path.with_name("file.bin.part").write_bytes(CONTENT[:200_000])
    with serving(CONTENT) as server:
        quick([server.url], path, sha256=SHA256)
        assert server.served == 100_000
    assert path.read_bytes() == CONTENT
    assert alone(path)


def test_a_complete_part_needs_no_bytes(path: Path) -> None:
    """A process that died before the renaming costs no second download."""
    path.parent.mkdir(parents=True)
    path.with_name("file.bin.part").write_bytes(CONTENT)
    with serving(CONTENT) as server:
        quick([server.url], path, sha256=SHA256)
        assert server.served == 0
    assert path.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(path: Path) -> None:
    """The server has nothing from there on: start over."""
    path.parent.mkdir(parents=True)
    path.with_name("file.bin.part").write_bytes(CONTENT + b"more")
    with serving(CONTENT) as server:
        quick([server.url], path, sha256=SHA256)
        assert server.served == len(CONTENT)
    assert path.read_bytes() == CONTENT


def test_a_part_is_not_resumed_without_a_digest(path: Path) -> None:
    """Old and new pieces might not fit, and nothing could tell: start over."""
    path.parent.mkdir(parents=True)
    path.with_name("file.bin.part").write_bytes(b"\0" * 200_000)
    with serving(CONTENT) as server:
        quick([server.url], path)
    assert path.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_starts_over(path: Path) -> None:
    """The whole file in answer to a range replaces the part instead of growing it."""
    path.parent.mkdir(parents=True)
    path.with_name("file.bin.part").write_bytes(CONTENT[:1000])
    with serving(CONTENT, "ignores ranges") as server:
        quick([server.url], path, sha256=SHA256)
        assert server.requests == ["bytes=1000-"]
        assert server.served == len(CONTENT)
    assert path.read_bytes() == CONTENT


def test_a_range_that_was_not_asked_for_is_not_used(path: Path) -> None:
    """A piece from elsewhere in the file is refused before it is written."""
    path.parent.mkdir(parents=True)
    path.with_name("file.bin.part").write_bytes(CONTENT[:1000])
    with serving(CONTENT, "wrong range", "well") as server:
        quick([server.url], path, sha256=SHA256)
        assert server.requests == ["bytes=1000-", ""]
    assert path.read_bytes() == CONTENT


def test_a_damaged_part_is_replaced(path: Path) -> None:
    """The digest of a part that was damaged on the disk does not fit: one fresh start mends it."""
    path.parent.mkdir(parents=True)
    path.with_name("file.bin.part").write_bytes(b"\0" * 1000)
    with serving(CONTENT) as server:
        quick([server.url], path, sha256=SHA256)
        assert server.requests == ["bytes=1000-", ""]
    assert path.read_bytes() == CONTENT


def test_a_corrupted_file_is_tried_once_more_and_then_refused(path: Path) -> None:
    """The error has the digest that was expected and the one that was found; nothing is left to resume from."""
    damaged = hashlib.sha256(bytes(byte ^ 1 for byte in CONTENT)).hexdigest()
    with serving(CONTENT, "corrupts") as server:
        with pytest.raises(DownloadError) as caught:
            quick([server.url], path, sha256=SHA256)
        assert len(server.requests) == 2
        assert server.url in str(caught.value)
    assert SHA256 in str(caught.value) and damaged in str(caught.value)
    assert list(path.parent.iterdir()) == []


def test_a_stalled_server_is_left_and_tried_again(path: Path) -> None:
    """Silence longer than the limit ends an attempt, and the next one resumes."""
    with serving(CONTENT, "stalls", "well") as server:
        start = time.monotonic()
        fetch([server.url], path, sha256=SHA256, timeout_s=0.3, pause_s=0.01)
        assert time.monotonic() - start < 5
        assert server.requests[1].startswith("bytes=")
    assert path.read_bytes() == CONTENT


def test_a_server_that_always_stalls_is_given_up(path: Path) -> None:
    """The error says how long nothing came and how often it was tried, and what arrived is kept."""
    with serving(CONTENT, "stalls") as server, pytest.raises(DownloadError) as caught:
        fetch([server.url], path, sha256=SHA256, timeout_s=0.2, pause_s=0.01, retries=1)
    assert "nothing came for 0.2 s, in 2 attempts" in str(caught.value)
    assert "goes on from there" in caught.value.cure
    assert path.with_name("file.bin.part").stat().st_size == 225_000


def test_a_missing_file_is_not_asked_for_again(path: Path) -> None:
    """404 ends it at once, and the cure names the path and NETWRIGHT_DATA."""
    with serving(CONTENT, "missing") as server, pytest.raises(DownloadError) as caught:
        quick([server.url], path, sha256=SHA256)
    assert len(server.requests) == 1
    assert f"{server.url}: status 404" in caught.value.got
    assert str(path) in caught.value.cure and "NETWRIGHT_DATA" in caught.value.cure
    assert isinstance(caught.value, ConnectionError)


def test_the_next_address_is_tried(path: Path) -> None:
    """Where the first mirror has lost the file, the second gives it."""
    with serving(CONTENT, "missing") as empty, serving(CONTENT) as full:
        quick([empty.url, full.url], path, sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_a_failing_server_is_asked_again(path: Path) -> None:
    """503 twice, then the file."""
    with serving(CONTENT, "fails", "fails", "well") as server:
        quick([server.url], path, sha256=SHA256)
        assert len(server.requests) == 3
    assert path.read_bytes() == CONTENT


def test_attempts_are_counted(path: Path) -> None:
    """A server that only fails is asked once and ``retries`` times more."""
    with serving(CONTENT, "fails") as server:
        with pytest.raises(DownloadError, match="status 503"):
            quick([server.url], path, sha256=SHA256, retries=2)
        assert len(server.requests) == 3


def test_nobody_listens(path: Path) -> None:
    """A refused connection is named with its address."""
    with serving(CONTENT) as server:
        url = server.url
    with pytest.raises(DownloadError) as caught:
        quick([url], path, sha256=SHA256, retries=0)
    assert "ConnectionRefusedError" in caught.value.got and url in caught.value.got


def test_only_the_web_is_read(path: Path, tmp_path: Path) -> None:
    """An address of another kind, given or redirected to, is never opened."""
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    with pytest.raises(DownloadError, match="not an http"):
        quick([secret.as_uri()], path, sha256=SHA256)
    with serving(CONTENT, "redirects") as server:
        server.redirect = secret.as_uri()
        with pytest.raises(DownloadError, match="302"):
            quick([server.url], path, sha256=SHA256)
    assert not path.exists()


def test_a_redirection_is_followed(path: Path) -> None:
    """Another address of the web is as good."""
    with serving(CONTENT) as target, serving(CONTENT, "redirects") as server:
        server.redirect = target.url
        quick([server.url], path, sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_waiting_for_another_process_is_told_and_ends(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that hangs with the lock does not hold this one for ever."""
    monkeypatch.setattr(download, "LONGEST_WAIT_S", 1.5)
    lock = path.with_name(f"{path.name}.lock")
    lock.parent.mkdir(parents=True)
    with lock.open("ab") as held:
        assert try_lock(held.fileno())
        with serving(CONTENT) as server, pytest.raises(DownloadError, match="lock"):
            quick([server.url], path, sha256=SHA256)
    assert capsys.readouterr().err.count("waiting for another process") == 1
    lock.unlink()


def test_two_processes_share_one_download(path: Path) -> None:
    """The second waits for the first: each byte is served once, and both have the file."""
    program = (
        "import sys; from pathlib import Path; from netwright.data.download import fetch;"
        "fetch([sys.argv[1]], Path(sys.argv[2]), sha256=sys.argv[3])"
    )
    with serving(CONTENT, "slow") as server:
        command = [sys.executable, "-c", program, server.url, str(path), SHA256]
        both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
        errors = [process.communicate(timeout=30)[1].decode() for process in both]
        assert [process.returncode for process in both] == [0, 0], errors
        assert server.served == len(CONTENT)
    assert path.read_bytes() == CONTENT
    assert alone(path)


def test_a_killed_process_leaves_a_part_and_no_lock(path: Path) -> None:
    """After SIGKILL the next call neither waits nor starts from nothing."""
    program = (
        "import sys; from pathlib import Path; from netwright.data.download import fetch;"
        "fetch([sys.argv[1]], Path(sys.argv[2]), sha256=sys.argv[3])"
    )
    part = path.with_name("file.bin.part")
    with serving(CONTENT, "slow", "well") as server:
        process = subprocess.Popen([sys.executable, "-c", program, server.url, str(path), SHA256])
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.wait()
        quick([server.url], path, sha256=SHA256)
        assert server.requests[-1].startswith("bytes=")
    assert path.read_bytes() == CONTENT
    assert alone(path)


def test_a_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands where the store should be."""
    (tmp_path / "store").write_text("a file")
    target = tmp_path / "store" / "set" / "file.bin"
    with serving(CONTENT) as server, pytest.raises(RunError) as caught:
        quick([server.url], target, sha256=SHA256)
    assert str(target.parent) in caught.value.where and "NETWRIGHT_DATA" in caught.value.cure
    assert server.requests == []


def test_too_little_room_is_told_before_anything_is_written(path: Path) -> None:
    """The server promises 2**60 bytes."""
    with serving(CONTENT, "huge") as server, pytest.raises(RunError, match="room for 1,152,921,504,606,846,976 bytes"):
        quick([server.url], path, sha256=SHA256)
    assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="no pseudo terminals")
def test_a_bar_is_shown_on_a_terminal_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a pseudo terminal the file's name and size appear; elsewhere nothing is written."""
    leader, follower = os.openpty()
    with os.fdopen(follower, "w") as terminal, serving(CONTENT) as server:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        quick([server.url], path, sha256=SHA256)
        terminal.flush()
        shown = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert "file.bin" in shown and "300.0/300.0 kB" in shown


def test_nothing_is_shown_elsewhere(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Into a file or a pipe not a character goes."""
    with serving(CONTENT) as server:
        quick([server.url], path, sha256=SHA256)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store_is_named(path: Path) -> None:
    """The folder is there but cannot be written."""
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o500)
    try:
        with serving(CONTENT) as server, pytest.raises(RunError, match="EACCES"):
            quick([server.url], path, sha256=SHA256)
    finally:
        path.parent.chmod(0o700)


def test_the_store_is_where_the_environment_says() -> None:
    """NETWRIGHT_DATA first; an empty one counts for nothing; then each system's own cache folder."""
    assert store({"NETWRIGHT_DATA": "/data"}, "linux") == Path("/data")
    assert store({"NETWRIGHT_DATA": "", "XDG_CACHE_HOME": "/c"}, "linux") == Path("/c/netwright")
    assert store({}, "linux") == Path.home() / ".cache" / "netwright"
    assert store({}, "darwin") == Path.home() / "Library" / "Caches" / "netwright"
    assert store({"LOCALAPPDATA": "/l"}, "win32") == Path("/l/netwright")
    assert store({}, "win32") == Path.home() / "AppData" / "Local" / "netwright"
