"""``netwright check`` and ``netwright watch`` as a person calls them: exit codes, JSON, SARIF, what is silenced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from netwright.checks.catalogue import fold, in_order
from netwright.cli import main
from netwright.records import Finding

SICK = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x):
        return torch.softmax(self.layers(x), dim=1)
"""
LOOP = """
import sys
import torch
from torch import nn

torch.manual_seed(0)
images = torch.rand(600, 64)
labels = (images @ torch.randn(64, 10)).argmax(1)
net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))
optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images[:480], labels[:480]), 32, shuffle=True)
net.train()
for epoch in range(4):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
with torch.no_grad():
    print("accuracy", (net(images[480:]).argmax(1) == labels[480:]).float().mean().item(), *sys.argv[1:])
sys.exit(7)
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    file = tmp_path / "net.py"
    file.write_text(SICK)
    return file


def test_an_error_gives_exit_code_1_and_its_line(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The place is the person's own line."""
    assert main(["check", f"{net}:Net", "--data", "digits", "--loss", "CrossEntropyLoss", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    (found,) = [one for one in report["findings"] if one["code"] == "L01"]
    assert (found["severity"], found["line"]) == ("error", 12)
    assert "1.461" in found["evidence"]


def test_sarif_names_file_line_and_rule(net: Path, tmp_path: Path) -> None:
    """As SARIF 2.1.0 wants it."""
    out = tmp_path / "found.sarif"
    main(["check", f"{net}:Net", "--data", "digits", "--loss", "CrossEntropyLoss", "--sarif", str(out)])
    log = json.loads(out.read_text())
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    result = next(one for one in run["results"] if one["ruleId"] == "L01")
    assert result["level"] == "error"
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "L01"
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"].endswith("net.py")
    assert place["region"]["startLine"] == 12


def test_a_comment_in_the_source_silences_one_code(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said that it was; another code's comment silences nothing."""
    line = "        return torch.softmax(self.layers(x), dim=1)"
    command = ["check", f"{net}:Net", "--data", "digits", "--loss", "CrossEntropyLoss"]
    net.write_text(SICK.replace(line, f"{line}  # netwright: ignore[M05]"))
    assert main(command) == 1
    net.write_text(SICK.replace(line, f"{line}  # netwright: ignore[L01]"))
    assert main(command) == 0
    assert "skipped as asked: L01" in " ".join(capsys.readouterr().out.split())


def test_skip_takes_codes_and_refuses_others(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt code is wrong usage, exit code 2, and the nearest is named."""
    command = ["check", f"{net}:Net", "--data", "digits", "--loss", "CrossEntropyLoss"]
    assert main([*command, "--skip", "l01"]) == 0
    assert main([*command, "--skip", "L0X"]) == 2
    assert '"L0' in capsys.readouterr().err


def test_train_stops_at_an_error_and_goes_on_where_it_is_skipped(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No run folder is made before that; the message says what to mend and how to go on."""
    command = ["train", f"{net}:Net", "--data", "digits", "--loss", "CrossEntropyLoss", "--epochs", "1", "--no-report"]
    assert main([*command, "--run", str(tmp_path / "run")]) == 1
    assert not (tmp_path / "run").exists()
    assert "--skip L01" in capsys.readouterr().err
    assert main([*command, "--run", str(tmp_path / "run"), "--skip", "L01"]) == 0


def test_a_run_is_checked_by_its_history(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options of training are refused there."""
    run = tmp_path / "run"
    main(["train", f"{net}:Net", "--data", "digits", "--epochs", "1", "--no-report", "--run", str(run)])
    capsys.readouterr()
    assert main(["check", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["subject"] == str(run)
    assert main(["check", str(run), "--lr", "0.1"]) == 2


def test_watch_keeps_output_and_exit_code(tmp_path: Path) -> None:
    """Standard output is the script's to the byte, with its own arguments; findings go to standard error."""
    script = tmp_path / "loop.py"
    script.write_text(LOOP)
    plain, seen = (
        subprocess.run([sys.executable, *command, str(script), "--json", "x"], capture_output=True, timeout=300)
        for command in ((), ("-m", "netwright.watch"))
    )
    assert (plain.returncode, seen.returncode) == (7, 7)
    assert plain.stdout == seen.stdout
    assert b"E01 error" in seen.stderr
    assert plain.stdout.endswith(b"--json x\n")


def test_a_watched_script_warns_as_python_does(tmp_path: Path) -> None:
    """Each warning as often and in the same words, and none more from the examination afterwards."""
    script = tmp_path / "loop.py"
    script.write_text(LOOP.replace("nn.Dropout(", "nn.Dropout2d("))
    plain, seen = (
        subprocess.run([*command, str(script)], capture_output=True, text=True, timeout=300).stderr
        for command in ([sys.executable], [str(Path(sys.executable).parent / "netwright"), "watch"])
    )
    assert plain.count("UserWarning") == 1
    assert seen.startswith(plain)
    assert seen.count("Warning") == plain.count("Warning")


def test_watch_shows_what_the_script_raised(tmp_path: Path) -> None:
    """As Python does, with exit code 1 and no line of ours in the traceback."""
    script = tmp_path / "broken.py"
    script.write_text("def fail():\n    raise ValueError('mine')\n\nfail()\n")
    done = subprocess.run(
        [sys.executable, "-m", "netwright.watch", str(script)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "ValueError: mine" in done.stderr
    assert "netwright/watch" not in done.stderr
    assert done.stderr.index("broken.py") < done.stderr.index("in fail")


def test_watch_names_a_missing_script(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage, exit code 2."""
    assert main(["watch", "nothing.py"]) == 2
    assert "nothing.py" in capsys.readouterr().err


def test_one_cause_is_one_finding() -> None:
    """Followers are folded under a graver or equal cause, never under a note; what to mend first stands first."""

    def made(code: str, severity: str) -> Finding:
        return Finding.model_validate(
            {"code": code, "severity": severity, "title": "t", "where": "w", "evidence": "e", "cure": "c"}
        )

    found = [made("O02", "warning"), made("L01", "error"), made("D06", "error")]
    assert [one.code for one in in_order(fold(found))] == ["D06", "L01"]
    noted = [made("L01", "note"), made("O02", "warning")]
    assert {one.code for one in fold(noted)} == {"L01", "O02"}


def test_of_two_causes_that_follow_from_each_other_one_stays() -> None:
    """The graver; of equal ones the first in the table."""

    def codes(*found: tuple[str, str]) -> list[str]:
        texts = {"title": "t", "where": "w", "evidence": "e", "cure": "c"}
        made = [Finding.model_validate({"code": code, "severity": grave, **texts}) for code, grave in found]
        return [one.code for one in fold(made)]

    assert codes(("T08", "error"), ("T01", "error")) == ["T01"]
    assert codes(("T08", "error"), ("T01", "warning")) == ["T08"]
    assert codes(("O07", "warning"), ("O02", "error")) == ["O07", "O02"]
