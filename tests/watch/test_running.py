"""A watched script runs and ends as ``python script.py`` does: its module, paths, arguments, exceptions, exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from netwright.cli import main

Ran = tuple[int, str, str]
Run = Callable[..., Ran]

TRAINS = """
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(200, 8)
targets = (inputs @ torch.randn(8, 3)).argmax(1)
net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.Adam(net.parameters(), lr=0.00001)
for _ in range(40):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(inputs), targets).backward()
    optimizer.step()
"""


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Watch a script of some text in this process: its exit code, what it printed and what was told."""
    monkeypatch.chdir(tmp_path)
    for name in ("excepthook", "stdout", "stderr"):  # which a script may replace
        monkeypatch.setattr(sys, name, getattr(sys, name))

    def run(text: str, *arguments: str, name: str = "script.py", options: tuple[str, ...] = ()) -> Ran:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        code = main(["watch", *options, name, *arguments])
        return code, *capsys.readouterr()

    return run


def both(script: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """A script as Python runs it and as it is watched, in processes of their own, from the folder above its own."""
    command = (str(script.relative_to(script.parent.parent)), *arguments)
    plain, seen = (
        subprocess.run(
            [sys.executable, *before, *command], cwd=script.parent.parent, capture_output=True, text=True, timeout=120
        )
        for before in ((), ("-m", "netwright.watch"))
    )
    return plain, seen


def test_the_main_module_is_as_python_makes_it(tmp_path: Path) -> None:
    """Its names, absolute path and loader, pickling of its classes, and processes that are spawned."""
    script = tmp_path / "sub" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "import os, pickle, sys\n"
        "os.chdir(os.path.dirname(os.path.abspath(__file__)))\n"
        "from multiprocessing import get_context\n"
        "class Here:\n    pass\n"
        "def work(queue):\n    queue.put(__name__)\n"
        "if __name__ == '__main__':\n"
        "    print(__file__, __spec__, __package__, __doc__, type(__loader__).__name__, type(__builtins__).__name__)\n"
        "    print(__annotations__, sys.argv, sys.path[0], open(__file__).readline(), work.__code__.co_filename)\n"
        "    print(type(pickle.loads(pickle.dumps(Here()))) is Here, vars(sys.modules['__main__']) is globals())\n"
        "    queue = get_context('spawn').Queue()\n"
        "    process = get_context('spawn').Process(target=work, args=(queue,))\n"
        "    process.start()\n"
        "    print(queue.get())\n"
        "    process.join()\n"
    )
    plain, seen = both(script, "--debug", "--json")
    assert plain.returncode == 0, plain.stderr
    assert (seen.returncode, seen.stdout) == (0, plain.stdout)
    assert "'--debug', '--json'" in seen.stdout


def test_a_script_may_change_the_folder(watch: Run, tmp_path: Path) -> None:
    """Findings and the file for them are where the person is, not where the script went."""
    text = TRAINS + "import os\nos.chdir(os.path.dirname(os.path.abspath(__file__)))\n"
    text = text.replace("optimizer.zero_grad()", "pass")
    code, _, told = watch(text, name="sub/script.py", options=("--sarif", "found.sarif"))
    assert code == 0
    assert "sub/script.py:" in told
    log = json.loads((tmp_path / "found.sarif").read_text())
    places = [result["locations"][0].get("physicalLocation") for result in log["runs"][0]["results"]]
    assert "sub/script.py" in [place["artifactLocation"]["uri"] for place in places if place]


def test_debug_behind_the_script_is_the_scripts(watch: Run) -> None:
    """As any other argument."""
    code, out, _ = watch("import sys\nprint(sys.argv)", "--debug", "--", "-x")
    assert (code, out) == (0, "['script.py', '--debug', '--', '-x']\n")


def test_debug_shows_a_traceback_before_and_after_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """Not where it stands among the arguments of a script."""
    for command, shown in (
        (["--debug", "watch", "no.py"], True),
        (["watch", "--debug", "no.py"], True),
        (["watch", "no.py", "--debug"], False),
    ):
        assert main(command) == 2
        assert ("Traceback" in capsys.readouterr().err) is shown


def test_a_closed_stdout_is_no_failure(watch: Run) -> None:
    """Python passes over it too."""
    code, _, _ = watch("import sys\nwith open('log.txt', 'w') as sys.stdout:\n    print('hi')\nsys.exit(0)")
    assert code == 0


def test_a_script_that_closes_stderr_keeps_its_code(tmp_path: Path) -> None:
    """The findings cannot be told."""
    script = tmp_path / "sub" / "script.py"
    script.parent.mkdir()
    script.write_text("import sys\nsys.stderr.close()\nsys.exit(4)\n")
    plain, seen = both(script)
    assert plain.returncode == seen.returncode == 4


def test_modules_that_cannot_be_asked_are_passed_over(watch: Run) -> None:
    """As one that raises for each name it has not, or None in the table of modules."""
    code, out, _ = watch(
        "import sys, types\n"
        "class Lazy(types.ModuleType):\n"
        "    def __getattr__(self, name):\n        raise ImportError(name)\n"
        "sys.modules['a_lazy_one'] = Lazy('a_lazy_one')\nsys.modules['a_missing_one'] = None\nprint('ok')"
    )
    sys.modules.pop("a_lazy_one"), sys.modules.pop("a_missing_one")
    assert (code, out) == (0, "ok\n")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("class Stop(BaseException):\n    pass\nraise Stop('x')\n", 1),
        ("raise KeyboardInterrupt\n", 130),
        ("print('a'\nx = \n", 1),
        ("import torch\nnet = torch.nn.Linear(8, 3)\n\n\nnet(torch.ones(2, 5))\n", 1),
        ("try:\n    {}['a']\nexcept KeyError as error:\n    raise ValueError('b') from error\n", 1),
    ],
    ids=["base", "interrupt", "syntax", "in a module", "with a cause"],
)
def test_an_exception_is_told_as_python_does(watch: Run, tmp_path: Path, text: str, code: int) -> None:
    """The same lines, with no frame of ours, above ours and among them; then the findings are told all the same."""
    ended, _, told = watch(text)
    plain = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended == code
    assert told.startswith(plain.stderr)
    assert "script.py: nothing found" in told


def test_the_scripts_own_hook_is_called(watch: Run) -> None:
    """With the script's frames only; one that fails is told with the exception that it was for."""
    hook = "import sys\ndef hook(kind, error, trace):\n    {}\nsys.excepthook = hook\nraise ValueError('bad')\n"
    code, out, told = watch(hook.format("print('hook', kind.__name__, error, trace.tb_lineno, trace.tb_next)"))
    assert (code, out) == (1, "hook ValueError bad 5 None\n")
    assert "Traceback" not in told
    code, _, told = watch(hook.format("1 / 0"))
    assert code == 1
    assert told.index("Error in sys.excepthook:") < told.index("ZeroDivisionError") < told.index("\nValueError: bad")
    assert told.count("ValueError: bad") == 1
    assert watch(hook.format("sys.exit(6)"))[0] == 6


def test_a_forked_process_ends_as_it_wants(tmp_path: Path) -> None:
    """It examines and tells nothing; the script that forked it does, once."""
    script = tmp_path / "sub" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "import os, sys\nprocess = os.fork()\nif process == 0:\n    sys.exit(3)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))\n"
    )
    plain, seen = both(script)
    assert (seen.returncode, seen.stdout) == (0, plain.stdout) == (0, "3\n")
    assert seen.stderr.count("nothing found") == 1


def test_what_is_left_set_does_not_keep_from_looking(watch: Run) -> None:
    """A script that ends without gradients, or in another precision, is examined as any other."""
    ends = "import torch\ntorch.set_grad_enabled(False)\ntorch.set_default_dtype(torch.float64)\n"
    import torch

    try:
        _, _, told = watch(TRAINS + ends)
        assert (torch.is_grad_enabled(), torch.get_default_dtype()) == (False, torch.float64)
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
    assert "O02 warning" in told


def test_nothing_of_the_examination_is_printed(watch: Run) -> None:
    """The module and the data set print as often as without us."""
    text = TRAINS.replace("net = nn", "calls = []\nnet = nn").replace(
        "for _", "net.register_forward_hook(lambda *_: print('forward', len(calls), calls.append(1)))\nfor _"
    )
    code, out, told = watch(text)
    assert code == 0
    assert out == "".join(f"forward {n} None\n" for n in range(40))
    assert "O02 warning" in told


def test_sarif_that_cannot_be_written_is_refused_before_the_script_runs(watch: Run, tmp_path: Path) -> None:
    """And what turns out later leaves the findings told and the script's exit code."""
    code, out, told = watch("print('ran')", options=("--sarif", "no/such/found.sarif"))
    assert (code, out) == (2, "")
    assert "no folder" in told
    (tmp_path / "out").mkdir()
    text = "import pathlib, sys\npathlib.Path('out').rmdir()\nsys.exit(7)"
    code, _, told = watch(text, options=("--sarif", "out/found.sarif"))
    assert code == 7
    assert told.index("nothing found") < told.index("error: ")
