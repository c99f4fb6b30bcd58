"""Every command and every Python block of the two READMEs and of CONTRIBUTING runs.

The first command of each verb is a process of its own, as a person starts it; those that follow are called in this
process. Each training is one pass over the data.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from netwright.cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "docs/own_kinds.md")
BLOCK = re.compile(r"```(console|python)\n(.*?)```", re.DOTALL)
# What pytest gives where no test was selected; the target itself was found and run.
NOTHING_COLLECTED = 5


def blocks(page: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def python_blocks(page: str) -> list[str]:
    return [code for kind, code in blocks(page) if kind == "python"]


CASES = [(page, index) for page in PAGES if page != "README.zh-CN.md" for index in range(len(python_blocks(page)))]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is needed, so that nothing is written into the repository."""
    place = tmp_path_factory.mktemp("checkout")
    for name in ("src", "tests", "examples", "bench"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / name)
    return place


@pytest.fixture(scope="module")
def began() -> set[str]:
    """The verbs that were run as processes of their own."""
    return set()


def run(command: str, folder: Path) -> None:
    """Run a command as a person would, with the tests' own environment as the one that `make` sets up.

    `make test` is run for real, but collects only one small file: it is being run from within itself.
    """
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder / "src")}
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "MAKEFLAGS", "MAKELEVEL"):
        environment.pop(name, None)
    if command.startswith("make"):
        venv = Path(sys.executable).parent.parent
        stamp = subprocess.run(
            ["make", "-s", "stamp", f"VENV={venv}"], cwd=folder, env=environment, capture_output=True, text=True
        )
        if not Path(stamp.stdout.strip()).exists():
            pytest.skip(f"not run from an environment that `make` set up: {venv}")
        if command == "make demo":
            command = "make -n demo"  # its one command is the next but one on the page, with one epoch
        command += f" VENV={venv} PYTEST_ARGS='-n 0 --collect-only -q -p no:cacheprovider tests/test_house.py'"
        if command.startswith("make lint"):
            return  # runs next to the tests in CI, on the whole tree
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    allowed = {0, NOTHING_COLLECTED} if command.startswith("make soak") else {0}
    assert done.returncode in allowed or "Error 5" in done.stderr, (
        f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )


def called(command: str, began: set[str], folder: Path) -> None:
    """Run a command: in this process, by its entry point, where its verb has begun before."""
    program, verb, *_ = shlex.split(command)
    if verb == "train":
        command = re.sub(r"--epochs \d+", "--epochs 1", command)
    if program == "netwright" and verb in began:
        assert main(shlex.split(command)[1:]) == 0, command
    else:
        run(command, folder)
        began.add(verb)


def commands_of(page: str) -> list[str]:
    """The commands of a page, one a line, but for the one that installs."""
    lines = [line for kind, text in blocks(page) if kind == "console" for line in text.splitlines() if line.strip()]
    return [line for line in lines if line != "pip install ."]


@pytest.mark.parametrize("pages", [PAGES[:3], PAGES[3:]], ids="+".join)
def test_each_command_block_runs(
    pages: tuple[str, ...], checkout: Path, began: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, in one folder, as they stand on the page; of the second page and the third those that are new."""
    monkeypatch.chdir(checkout)
    for made in (checkout / "runs", *checkout.glob("my_*")):  # by other pages
        shutil.rmtree(made, ignore_errors=True)
    done: list[str] = []
    for page in pages:
        asked = commands_of(page)
        assert asked
        for command in asked:
            if command not in done:
                again = re.search("--run (runs/\\S+)", command)
                if again is not None and page != pages[0]:
                    shutil.rmtree(checkout / again[1])
                called(command, began, checkout)
                done.append(command)


@pytest.mark.parametrize(("page", "index"), CASES)
def test_each_python_block_runs(page: str, index: int, checkout: Path) -> None:
    """Each block is whole: it runs alone."""
    (checkout / "block.py").write_text(python_blocks(page)[index], encoding="utf-8")
    run(f"{sys.executable} block.py", checkout)


def test_python_blocks_of_the_translation_are_those_of_the_first_page() -> None:
    """But for the words that they print, so that running the one proves the other."""

    def without_words(code: str) -> str:
        return re.sub(r'f"[^"]*"', lambda found: "".join(re.findall(r"{[^}]*}", found[0])), code)

    first, other = ([without_words(code) for code in python_blocks(page)] for page in PAGES[:2])
    assert first == other


def test_a_second_make_installs_nothing(checkout: Path) -> None:
    """Whatever the age of the files: a copy must not take the environment of another folder over."""
    (checkout / "pyproject.toml").touch()
    venv = Path(sys.executable).parent.parent
    told = subprocess.run(
        ["make", "-n", "demo", f"VENV={venv}"], cwd=checkout, capture_output=True, text=True, check=True
    )
    stamp = subprocess.run(["make", "-s", "stamp", f"VENV={venv}"], cwd=checkout, capture_output=True, text=True)
    if not Path(stamp.stdout.strip()).exists():
        pytest.skip(f"not run from an environment that `make` set up: {venv}")
    assert "pip install" not in told.stdout


def test_pip_install_of_the_folder_works(checkout: Path, tmp_path: Path) -> None:
    """`pip install .` builds a wheel that holds templates and kernels, and its command starts."""
    target = tmp_path / "site"
    built = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), "."],
        cwd=checkout, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert list((target / "netwright" / "templates" / "report").glob("*.j2"))
    kernels = [one.relative_to(ROOT / "src") for kind in ("cpp", "h") for one in (ROOT / "src").rglob(f"*.{kind}")]
    assert len(kernels) >= 5
    assert [one for one in kernels if not (target / one).is_file()] == []
    version = subprocess.run(
        [sys.executable, "-m", "netwright", "--version"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(target)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert version.stdout.startswith("netwright ")


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_readmes_begin_with_the_two_commands_and_show_the_report(page: str) -> None:
    """Set-up first, and a picture of what comes out."""
    assert blocks(page)[0] == ("console", "make demo\nmake test\n")
    assert (ROOT / "docs" / "report.png").stat().st_size > 10_000
