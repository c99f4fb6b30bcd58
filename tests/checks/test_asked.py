"""What is asked of checking and cannot be is refused, and so is what a comment in the source asks in vain."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.checks.catalogue import CODES
from netwright.checks.held import held_output
from netwright.checks.runner import TimeUpError, time_limit, untouched
from netwright.checks.sarif import sarif
from netwright.checks.sourcecode import Sources
from netwright.cli import main
from netwright.errors import UnknownNameError, UsageError
from netwright.records import CheckReport, Finding


class Net(nn.Module):
    """A module for the digits."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("forward")
        return self.last(x.flatten(1))


def test_unknown_codes_are_refused_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the nearest known one; ``ALL`` passes over all."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(UnknownNameError, match='Did you mean "E0'):
        nw.check(net, "digits", skip=("E0l",))
    with pytest.raises(UnknownNameError), nw.watching(skip={"NOPE"}):
        pass
    with nw.watching(skip={"e01,T06"}) as seen:
        pass
    assert seen.report is not None
    run = nw.train(Net(), nw.load("digits"), epochs=1, run=tmp_path / "run", skip=("ALL",), report=False)
    assert nw.check(run, skip=("all",)).findings == ()
    with pytest.raises(UnknownNameError):
        nw.check(run, skip=("NOPE",))
    capsys.readouterr()
    assert main(["check", str(run.path), "--skip", "NOPE"]) == 2
    assert "NOPE" in capsys.readouterr().err
    with pytest.raises(UnknownNameError):
        nw.train(Net(), nw.load("digits"), epochs=1, run=tmp_path / "none", skip=("NOPE",), report=False)
    assert main(["train", "net.py:Net", "--data", "digits", "--skip", "NOPE", "--run", str(tmp_path / "none")]) == 2
    assert "NOPE" in capsys.readouterr().err and not (tmp_path / "none").exists()


@pytest.mark.parametrize("seconds", [0, -5, float("nan"), float("inf")])
def test_a_time_in_which_nothing_can_be_done_is_refused(seconds: float) -> None:
    """Before anything runs."""
    with pytest.raises(UsageError, match="seconds"):
        nw.check(Net(), "digits", seconds=seconds)
    with pytest.raises(UsageError, match="seconds"), nw.watching(seconds=seconds):
        pass


def test_a_class_is_no_module() -> None:
    """An instance is wanted, and the message shows how it is made."""
    with pytest.raises(UsageError, match=r"nw\.check\(Net\(\), data\)"):
        nw.check(Net, "digits")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a Linear|a int"):
        nw.check(3, "digits")  # type: ignore[arg-type]


def sources_of(tmp_path: Path, comment: str) -> tuple[Sources, str]:
    file = tmp_path / "net.py"
    file.write_text(f"x = 1  {comment}\n")
    sources = Sources()
    sources.add(str(file))
    return sources, str(file)


@pytest.mark.parametrize(
    ("comment", "silenced"),
    [
        ("# netwright: ignore", {"M05", "T01"}),
        ("# netwright: ignore since it is meant", {"M05", "T01"}),
        ("# netwright: ignore[M05]", {"M05"}),
        ("# netwright:ignore [m05, T01]", {"M05", "T01"}),
        ("# netwright: ignore[M05; T01]", {"M05", "T01"}),
        ("# netwright: ignore[M05 T01]", {"M05", "T01"}),
        ("# netwright: ignored in the paper", set()),
        ("# netwright: ignore[]", set()),
        ("# netwright: ignore[M-05]", set()),
    ],
)
def test_a_comment_silences_what_it_names(tmp_path: Path, comment: str, silenced: set[str]) -> None:
    """Without brackets all, with brackets the codes in them, and of these none that there is not."""
    sources, file = sources_of(tmp_path, comment)
    assert {code for code in ("M05", "T01") if sources.ignored(file, 1, code)} == silenced


def test_a_comment_that_silences_nothing_is_told(tmp_path: Path) -> None:
    """With its line, by ``check`` as well."""
    for comment, words in (("ignore[]", "no code is named"), ("ignore[M05, E-01]", "no code E-01")):
        (sentence,) = sources_of(tmp_path, f"# netwright: {comment}")[0].misread(CODES)
        assert words in sentence
        assert "net.py:1" in sentence
    for comment in ("ignore", "ignore[M05;T01]", "ignored[X]"):
        assert sources_of(tmp_path, f"# netwright: {comment}")[0].misread(CODES) == []
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):  # netwright: ignore[E-01]\n"
        "    def __init__(self):\n        super().__init__(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    report = nw.check(nw.load_model(f"{file}:Net"), "digits", seconds=2)
    assert [one for one in report.not_checked if "E-01" in one and "net.py:4" in one]


def test_json_stays_json_where_the_module_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it prints while it is checked is held."""
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.last = nn.Linear(64, 10)\n\n"
        "    def forward(self, x):\n        print('forward')\n        return self.last(x.flatten(1))\n"
    )
    assert main(["check", f"{file}:Net", "--data", "digits", "--json", "--seconds", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["subject"].endswith("net.py:Net on digits")


def test_the_check_before_training_prints_nothing_of_the_module(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As often as where nothing is checked; what training tells itself is shown all the same."""
    printed = []
    for skip in (("ALL",), ()):
        nw.train(Net(), nw.load("digits"), epochs=1, run=tmp_path / f"run{len(printed)}", skip=skip, report=False)
        out, told = capsys.readouterr()
        printed.append(out.count("forward"))
        assert "epoch" in told
    assert printed[0] == printed[1] > 0


def test_what_is_held_is_dropped_and_later_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    """A stream that was kept meanwhile, as a logger does, writes to the real one afterwards."""
    with held_output():
        kept = sys.stdout
        sys.stdout.buffer.write(b"bytes")
        print("inside", file=sys.stderr)
        print("inside", flush=True)
    print("after", file=kept, flush=True)
    assert capsys.readouterr() == ("after\n", "")


def test_checks_begin_with_torch_as_it_starts_and_all_is_put_back() -> None:
    """A default dtype that the model has is the model's own."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.inference_mode(), torch.autograd.set_detect_anomaly(True):
            with untouched():
                assert torch.is_grad_enabled()
                assert not torch.is_anomaly_enabled()
                assert not torch.is_inference_mode_enabled()
                assert (torch.ones(1).dtype, torch.ones(1).device.type) == (torch.float32, "cpu")
                torch.use_deterministic_algorithms(False)
            assert torch.is_inference_mode_enabled()
            assert torch.is_anomaly_enabled()
        with untouched(nn.Linear(2, 2)):
            assert torch.get_default_dtype() == torch.float64
        assert (torch.get_default_dtype(), torch.get_default_device().type) == (torch.float64, "meta")
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.use_deterministic_algorithms(False)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such timers")
def test_a_timer_of_the_persons_goes_on_after_a_limit() -> None:
    """With what was left of it and with its handler; it does not end what has a limit of ours."""
    rung: list[float] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    try:
        signal.alarm(100)
        with pytest.raises(TimeUpError), time_limit(0.05):
            time.sleep(5)
        assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] < 100
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with time_limit(5):
            time.sleep(0.05)
            assert not rung
        time.sleep(0.05)
        assert rung
        with pytest.raises(TimeUpError), time_limit(0.1):  # nor does one limit end another
            with time_limit(5):
                pass
            time.sleep(3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_sarif_encodes_paths() -> None:
    """As RFC 3986 wants; an absolute one as a file URI."""

    def uri(file: str) -> str:
        texts = {"severity": "error", "title": "t", "where": "w", "evidence": "e", "cure": "c"}
        report = CheckReport(subject="s", findings=(Finding.model_validate({"code": "M05", "file": file, **texts}),))
        place = sarif(report, version="1")["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
        return str(place["artifactLocation"]["uri"])

    assert uri("my proj#1 100%/net.py") == "my%20proj%231%20100%25/net.py"
    assert uri(str(Path("/a b/net.py"))) == "file:///a%20b/net.py"
