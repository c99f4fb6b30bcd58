"""Starters: what ``netwright new`` writes is short, passes its own test, and is not changed by padding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netwright.cli import main
from netwright.errors import UnknownNameError, UsageError
from netwright.starters import STARTERS, write_starter

OF_TEXTS = ("rnn", "text")


# Runs the test in each folder as a process that has torch and netwright already: loading them, and plugins that these
# tests do not use, takes longer than the test.
FORKED = """
import os, sys
import pytest, torch, netwright.data

for folder in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        code = pytest.main(["-q", "-p", "no:cacheprovider", "test_net.py"])
        sys.stdout.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("ended", os.path.basename(folder), code, flush=True)
"""


def test_starters_pass_the_test_that_comes_with_them(tmp_path: Path) -> None:
    """In its folder; the first run as a person would."""
    for name in STARTERS:
        assert main(["new", name, str(tmp_path / name), "--json"]) == 0
        assert sorted(file.name for file in (tmp_path / name).iterdir()) == ["README.md", "net.py", "test_net.py"]
    first, *others = STARTERS
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 240}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_net.py"]
    done = subprocess.run(command, cwd=tmp_path / first, **options)
    assert done.returncode == 0, done.stdout
    folders = [str(tmp_path / name) for name in others]
    options["env"] = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([sys.executable, "-c", FORKED, *folders], cwd=tmp_path, **options)
    for name in others:
        assert f"ended {name} 0\n" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", STARTERS)
def test_a_starter_is_short(name: str, tmp_path: Path) -> None:
    """Under 80 lines that a student can read."""
    (net, *_) = write_starter(name, tmp_path)
    assert len(net.read_text(encoding="utf-8").splitlines()) < 80


def test_starters_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with what it is for."""
    assert main(["new", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed and starter.title in listed for name, starter in STARTERS.items())


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    """And a misspelt name is answered with the nearest."""
    (tmp_path / "net.py").write_text("mine")
    with pytest.raises(UsageError, match=r"net\.py"):
        write_starter("cnn", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["net.py"]
    assert (tmp_path / "net.py").read_text() == "mine"
    with pytest.raises(UnknownNameError, match='"cnn"'):
        write_starter("cn", tmp_path)


def test_without_a_name_the_starters_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, as for all wrong usage."""
    assert main(["new"]) == 2
    assert "mlp, cnn" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_starter_for_pictures_learns_digits(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what the data know of its constructor filled in: pictures of 8 x 8."""
    write_starter(name, tmp_path / name)
    command = ["train", f"{tmp_path / name}/net.py:Net", "--data", "digits", "--epochs", "2", "--no-report"]
    assert main([*command, "--run", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr()
    assert "num_classes=10" in shown.err
    assert "known from the data" in shown.err
