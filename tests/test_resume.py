"""A run that was stopped and resumed is the unbroken one, bit for bit, whatever stopped it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import netwright as nw
from netwright import checkpoints
from netwright.checkpoints import digest_of
from netwright.cli import main
from netwright.errors import CheckpointError, DataError, RunLockedError
from netwright.progress import Silent
from netwright.run import locked

NET = '''
import torch
from torch import nn


class Net(nn.Module):
    """Dropout, batch normalisation and a buffer: all that a careless resume forgets."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, 10)
        )
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, image):
        if self.training:
            self.seen += 1
        return self.body(image)
'''
OPTIONS = ["--epochs", "3", "--batch-size", "32", "--ema-decay", "0.9", "--max-grad-norm", "1", "--threads", "1",
           "--checkpoint-every-steps", "7", "--no-report"]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "netwright", "train", *arguments]


def start(folder: Path, run: str) -> list[str]:
    return command(f"{folder / 'net.py'}:Net", "--data", "digits", "--run", str(folder / run), *OPTIONS)


def whole_state(run: Path) -> dict[str, object]:
    """Digest of the weights the run ends with, and of everything in its last checkpoint."""
    state = checkpoints.load(run / "checkpoints").state
    return {"weights": digest_of(checkpoints.read_weights(run / "weights.safetensors")), "state": flat(state)}


def flat(value: object, path: str = "") -> dict[str, object]:
    """A nested state as one level of comparable values."""
    if isinstance(value, dict):
        return {key: leaf for name, item in value.items() for key, leaf in flat(item, f"{path}/{name}").items()}
    if isinstance(value, list | tuple):
        return {key: leaf for i, item in enumerate(value) for key, leaf in flat(item, f"{path}/{i}").items()}
    if isinstance(value, torch.Tensor):
        return {path: value.numpy().tobytes() if value.dtype != torch.bfloat16 else value.float().numpy().tobytes()}
    if isinstance(value, np.ndarray):
        return {path: value.tobytes()}
    return {path: value}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.py and the finished, unbroken run ``whole``."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "net.py").write_text(NET)
    subprocess.run(start(folder, "whole"), check=True, capture_output=True, timeout=120)
    return folder


def kill_when(process: subprocess.Popen[bytes], due: Callable[[], bool], number: int) -> None:
    """Send a signal as soon as ``due`` says so, or let the process end."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if due():
            process.send_signal(number)
            break
        time.sleep(0.0005)
    process.wait(timeout=60)


def moments(run: Path, index: int, generator: np.random.Generator) -> Callable[[], bool]:
    """When to kill, by turns: at the first step, in an epoch, in an evaluation, in a checkpoint's write, any time."""
    folder = run / "checkpoints"
    begun: list[float] = []
    wait = float(generator.uniform(0.0, 0.6))

    def evaluating() -> bool:
        rows = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
        return bool(rows) and '"split": "train"' in rows[-1] and json.loads(rows[-1])["step"] % 40 == 0

    def any_time() -> bool:
        if run.exists() and not begun:
            begun.append(time.monotonic())
        return bool(begun) and time.monotonic() - begun[0] > wait

    kinds = (
        lambda: (folder / "step-00000000").exists(),
        any_time,
        evaluating,
        lambda: any(".tmp" in entry.name for entry in folder.glob(".*")) and generator.random() < 0.2,
    )
    return kinds[index % len(kinds)]


def resume(run: Path, *, in_process: bool) -> str:
    """Resume a run to its end by the command, in this process or in one of its own; what it said."""
    arguments = ["--resume", str(run), "--no-report"]
    if in_process:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            assert main(["train", *arguments]) == 0, said.getvalue()
        return said.getvalue()
    resumed = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120)
    assert resumed.returncode == 0, resumed.stderr
    return resumed.stderr


def rows_of(run: Path) -> list[tuple[object, ...]]:
    """What is the same in the metrics of equal runs."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["split"], row["loss"], row["accuracy"]) for row in lines]


def kill_and_resume(
    folder: Path, name: str, index: int, generator: np.random.Generator, *, in_process: bool = False
) -> Path:
    """Start a run, kill it with SIGKILL at a moment, resume it to its end."""
    run = folder / name
    process = subprocess.Popen(start(folder, name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kill_when(process, moments(run, index, generator), signal.SIGKILL)
    if not run.exists():  # killed before the run took its name: nothing is there, so nothing is broken
        subprocess.run(start(folder, name), check=True, capture_output=True, timeout=120)
        return run
    resume(run, in_process=in_process)
    return run


# By default each kind of moment once; the same at other moments by `make soak`.
MOMENTS = [pytest.param(at, marks=[pytest.mark.soak] if at > 3 else []) for at in range(20)]


@pytest.mark.parametrize("index", MOMENTS)
def test_a_run_killed_at_any_moment_ends_as_the_unbroken_one(unbroken: Path, index: int) -> None:
    """SIGKILL, resume, and the whole last state is equal: weights, averages, optimizer, generators, position.

    Rows of metrics written after the last checkpoint are dropped and written again: no step stands twice.
    """
    generator = np.random.default_rng(index)
    run = kill_and_resume(unbroken, f"killed-{index}", index, generator, in_process=index in (1, 2, 3))
    assert whole_state(run) == whole_state(unbroken / "whole")
    assert rows_of(run) == rows_of(unbroken / "whole")


@pytest.mark.soak
def test_two_hundred_killed_runs_end_as_the_unbroken_one(unbroken: Path) -> None:
    """The same 200 times."""
    expected = whole_state(unbroken / "whole")
    for index in range(200):
        generator = np.random.default_rng(1000 + index)
        assert whole_state(kill_and_resume(unbroken, f"soak-{index}", index, generator)) == expected


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_says_how_to_resume_and_sets_the_exit_code(unbroken: Path, number: int, code: int) -> None:
    """SIGTERM ends with 143, Ctrl-C with 130; the resumed run ends as the unbroken one."""
    name = f"signalled-{number}"
    run = unbroken / name
    process = subprocess.Popen(start(unbroken, name), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (run / "checkpoints" / "step-00000007").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"--resume {run}" in errors
    resume(run, in_process=True)
    assert whole_state(run) == whole_state(unbroken / "whole")


def stop_after(steps: int) -> object:
    """A progress display that presses Ctrl-C after so many updates."""

    class Stop(Silent):
        def step(self, done: int) -> None:
            if done == steps:
                os.kill(os.getpid(), signal.SIGINT)

    return Stop()


@pytest.mark.parametrize("steps", [5, 10])
def test_a_run_stopped_in_an_evaluation_only_has_that_left(tmp_path: Path, steps: int) -> None:
    """Ctrl-C at the last update of an epoch, the last one too: no update is done twice or more, no row stands twice."""
    data = nw.load("digits")
    options = {"epochs": 2, "batch_size": 256, "progress": Silent(), "report": False}
    whole = nw.train(small(), data, run=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        nw.train(small(), data, run=tmp_path / "part", **(options | {"progress": stop_after(steps)}))
    run = nw.resume(tmp_path / "part", model=small(), data=data, progress=Silent(), report=False)
    assert whole_state(run.path) == whole_state(whole.path)
    places = [(row["step"], row["split"]) for row in run.read_metrics()]
    assert places == [(row["step"], row["split"]) for row in whole.read_metrics()]


def small() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10))


def own_loader(kind: str) -> DataLoader:
    generator = torch.Generator().manual_seed(2)
    images, labels = torch.randn(60, 1, 8, 8, generator=generator), torch.randint(0, 10, (60,), generator=generator)
    own = torch.Generator().manual_seed(3) if kind == "own generator" else None
    return DataLoader(TensorDataset(images, labels), batch_size=12, shuffle=True, generator=own)


@pytest.mark.parametrize("kind", ["own generator", "global generator"])
def test_a_persons_loader_goes_on_where_it_was(tmp_path: Path, kind: str) -> None:
    """Stopped at every update of three epochs, a shuffling DataLoader is resumed in its own order."""
    options = {"epochs": 3, "progress": Silent(), "report": False, "keep": "last"}
    whole = nw.train(small(), own_loader(kind), run=tmp_path / "whole", **options)
    for steps in range(1, 15):
        with pytest.raises(KeyboardInterrupt):
            nw.train(
                small(), own_loader(kind), run=tmp_path / str(steps), **(options | {"progress": stop_after(steps)})
            )
        run = nw.resume(tmp_path / str(steps), model=small(), data=own_loader(kind), progress=Silent(), report=False)
        assert whole_state(run.path) == whole_state(whole.path), f"stopped after {steps}"


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "LBFGS", "RMSprop"])
def test_every_kind_of_optimizer_state_is_resumed(tmp_path: Path, optimizer: str) -> None:
    """Stopped in the second epoch and resumed: equal, with momenta, histories and step counts."""
    data = nw.load("digits")
    options = {"epochs": 2, "batch_size": 256, "optimizer": optimizer, "progress": Silent(), "report": False}
    whole = nw.train(small(), data, run=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        nw.train(small(), data, run=tmp_path / "part", **(options | {"progress": stop_after(7)}))
    run = nw.resume(tmp_path / "part", model=small(), data=data, progress=Silent(), report=False)
    assert whole_state(run.path) == whole_state(whole.path)


def test_a_damaged_last_checkpoint_is_named_and_the_one_before_is_used(unbroken: Path) -> None:
    """A flipped bit in the newest generation costs its steps, and nothing else."""
    name = "damaged"
    process = subprocess.Popen(start(unbroken, name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = unbroken / name / "checkpoints"
    kill_when(process, lambda: (folder / "step-00000014").exists(), signal.SIGKILL)
    newest = max(folder.glob("step-*"))
    file = max(newest.iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    said = resume(unbroken / name, in_process=True)
    assert newest.name in said
    assert file.name in said
    assert whole_state(unbroken / name) == whole_state(unbroken / "whole")


def test_a_run_of_another_model_is_refused(unbroken: Path) -> None:
    """The difference is named, and the run is left as it was."""
    with pytest.raises(CheckpointError) as caught:
        nw.resume(unbroken / "whole", model=small(), progress=Silent())
    assert "another one" in caught.value.got
    assert caught.value.cure


def test_a_run_whose_data_changed_is_refused(tmp_path: Path) -> None:
    """The digest of the data is part of the run."""
    inputs, labels = np.random.default_rng(0).normal(size=(60, 64)).astype("float32"), np.arange(60) % 10
    run = nw.train(small(), (inputs, labels), run=tmp_path / "run", epochs=1, progress=Silent(), report=False)
    inputs[3, 3] += 1
    with pytest.raises(DataError) as caught:
        nw.resume(run, model=small(), data=(inputs, labels), progress=Silent())
    assert "digest" in caught.value.got


def test_two_trainings_in_one_folder_are_refused(unbroken: Path) -> None:
    """The second says which process holds the run."""
    run = nw.open_run(unbroken / "whole")
    with locked(run), pytest.raises(RunLockedError) as caught, locked(run):
        pass
    assert str(os.getpid()) in caught.value.got
