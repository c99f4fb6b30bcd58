"""Kernels that are compiled where they run."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from netwright.native import COMPILERS, MADE, NoKernelsError, begin, is_built, library, wait

compiled_here = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler is here")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of one function, and a cache of its own."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    file = tmp_path / "number.cpp"
    file.write_text('extern "C" long number(void) { return NUMBER; }\n')
    return file


@compiled_here
def test_kernels_are_compiled_once(source: Path, tmp_path: Path) -> None:
    assert not is_built(source, "NUMBER=3")
    assert library(source, "NUMBER=3").number() == 3
    assert is_built(source, "NUMBER=3")
    assert not is_built(source, "NUMBER=4")
    (kept,) = (tmp_path / "cache" / "kernels").iterdir()
    before = kept.stat().st_mtime_ns
    MADE.clear()
    assert library(source, "NUMBER=3").number() == 3
    assert kept.stat().st_mtime_ns == before


@compiled_here
def test_kernels_that_are_begun_are_waited_for(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not compiled once more; those that cannot be are left to whoever asks for them."""
    MADE.clear()
    compiler, calls = tmp_path / "compiler", tmp_path / "calls"
    compiler.write_text(f'#!/bin/sh\necho >>{calls}\nsleep 0.3\nexec {shutil.which("g++") or "c++"} "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    begin(source, "NUMBER=8")
    until = time.monotonic() + 60
    while not calls.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not is_built(source, "NUMBER=8")
    wait(source, "NUMBER=8")
    assert is_built(source, "NUMBER=8")
    assert library(source, "NUMBER=8").number() == 8
    begin(source, "NUMBER=8")
    assert len(calls.read_text().splitlines()) == 1
    begin(source)  # which does not compile
    for _ in range(2):
        with pytest.raises(NoKernelsError, match="NUMBER"):
            library(source)
    assert len(calls.read_text().splitlines()) == 2


@compiled_here
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_forked_off_meanwhile_compiles_for_itself(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that does it in its parent does nothing there."""
    MADE.clear()
    compiler = tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\nsleep 1\nexec {shutil.which("g++") or "c++"} "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    begin(source, "NUMBER=9")
    child = os.fork()
    if not child:
        signal.alarm(60)  # which ends it, where it waits for ever
        os._exit(library(source, "NUMBER=9").number())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert library(source, "NUMBER=9").number() == 9


@compiled_here
@pytest.mark.parametrize("spoilt", [b"", b"\x7fELF no more", None])
def test_what_is_kept_and_spoilt_is_made_again(source: Path, tmp_path: Path, spoilt: bytes | None) -> None:
    """Also a library that was cut off, which would end the process when it is loaded."""
    MADE.clear()
    library(source, "NUMBER=5")
    (kept,) = (tmp_path / "cache" / "kernels").iterdir()
    before = kept.read_bytes()
    kept.unlink()  # what is loaded stays as it is
    kept.write_bytes(before[:8000] if spoilt is None else spoilt)
    MADE.clear()
    assert library(source, "NUMBER=5").number() == 5
    assert len(kept.read_bytes()) == len(before)


@compiled_here
def test_a_cache_that_cannot_be_written_is_done_without(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, where a folder should be")
    MADE.clear()
    assert library(source, "NUMBER=6").number() == 6


@compiled_here
def test_what_the_compiler_says_is_told(source: Path) -> None:
    MADE.clear()
    with pytest.raises(NoKernelsError, match=r"number.cpp cannot be compiled: .*NUMBER"):
        library(source)


def test_no_compiler_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MADE.clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(NoKernelsError, match=r"no C\+\+ compiler"):
        library(source)
    assert is_built(source)  # there is nothing to wait for


@compiled_here
@pytest.mark.parametrize("compiler", ['g++ "', "true", "words"])
def test_a_compiler_that_is_none_is_told(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    """An open quote; one that makes nothing; one that says no text and fails."""
    MADE.clear()
    words = tmp_path / "words"
    words.write_text("#!/bin/sh\nprintf 'x.cpp: error: caf\\351\\n' >&2\nexit 1\n")
    words.chmod(0o755)
    monkeypatch.setenv("CXX", str(words) if compiler == "words" else compiler)
    with pytest.raises(NoKernelsError, match="cannot be"):
        library(source, "NUMBER=7")
    is_built(source, "NUMBER=7")


@compiled_here
def test_whoever_has_no_home_has_kernels_too(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    MADE.clear()
    assert not is_built(source, "NUMBER=8")
    assert library(source, "NUMBER=8").number() == 8
    assert is_built(source, "NUMBER=8")


def test_a_source_that_is_missing_is_told(source: Path) -> None:
    source.unlink()
    MADE.clear()
    assert is_built(source)  # there is nothing to wait for
    with pytest.raises(NoKernelsError):
        library(source)


def test_a_folder_that_may_not_be_entered(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 raises there, where it is asked whether a file is."""

    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refused)
    assert is_built(source, "NUMBER=9")
