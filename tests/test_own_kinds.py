"""A person's own task and own data, from files: used, kept in the run, and told by name where something is wrong."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import netwright as nw
from netwright.cli import main
from netwright.data.own import names_function
from netwright.errors import DataError, MissingFileError, ModelError, UnknownNameError, UsageError
from netwright.progress import Silent

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "own"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the example, and visits to read."""
    shutil.copytree(EXAMPLE, tmp_path / "own", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    module = load_file(tmp_path / "own" / "visits.py")
    (tmp_path / "visits.txt").write_text(module.made_up(count=400), encoding="utf-8")
    return tmp_path


def load_file(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TRAIN = ["train", "own/net.py:Net", "--data", "own/visits.py:load", "--task", "own/stars.py:Stars", "--run", "run"]


def test_a_run_of_own_kinds_is_whole_without_the_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained, and then evaluated, asked and reported from its folder, when the person's files have gone."""
    assert main([*TRAIN, "--epochs", "12"]) == 0
    shown = capsys.readouterr()
    assert "mean rank error" in shown.out
    assert "own/stars.py:Stars" in shown.err
    first = json.loads((here / "run" / "evaluation.json").read_text())
    scores = {score["name"]: score for score in first["scores"]}
    (median,) = first["baselines"]
    assert scores["mean_rank_error"]["high"] < median["score"]["low"]
    shutil.rmtree(here / "own")
    assert main(["evaluate", "run", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["scores"] == first["scores"]
    assert main(["report", "run"]) == 0
    page = (here / "run" / "report.html").read_text(encoding="utf-8")
    assert "mean rank error" in page
    assert first["worst"][0]["name"] in page
    (answer,) = nw.predict("run", [np.array([9, 2.7, 0.5, 50, 0, 0, 0, 1])])
    assert answer.label in ("4 stars", "5 stars")


def test_an_interrupted_run_goes_on_with_its_own_copies(here: Path) -> None:
    """The files may have been changed meanwhile: what the run was started with counts."""

    class Stop(Silent):
        def step(self, done: int) -> None:
            if done == 20:
                raise KeyboardInterrupt

    from netwright import training
    from netwright.models import load_model
    from netwright.randomness import seed_all
    from netwright.records import Settings

    def started(run: str, progress: Silent) -> torch.nn.Module:
        seed_all(0)
        net = load_model("own/net.py:Net")
        data = nw.load("own/visits.py:load", task="own/stars.py:Stars")
        settings = Settings(epochs=4, checkpoint_every_steps=3)
        training.train(net, data, run=run, progress=progress, reference="own/net.py:Net", settings=settings)
        return net

    whole = started("whole", Silent())
    with pytest.raises(KeyboardInterrupt):
        started("part", Stop())
    (here / "own" / "stars.py").write_text("raise ValueError('changed')")
    (here / "own" / "visits.py").write_text("raise ValueError('changed')")
    nw.resume("part", progress=Silent(), report=False)
    from netwright.checkpoints import read_weights

    for name, value in read_weights(here / "part" / "weights.safetensors").items():
        assert torch.equal(value, whole.state_dict()[name])


def test_from_python_the_class_itself_is_taken(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And found again by the run."""
    monkeypatch.syspath_prepend(str(here / "own"))
    for name in ("net", "stars", "visits"):
        sys.modules.pop(name, None)
    from net import Net
    from stars import Stars
    from visits import load

    data = nw.load(load(), task=Stars)
    net = Net()
    run = nw.train(net, data, epochs=2, run=here / "run", progress=Silent(), report=False)
    shutil.rmtree(here / "own")
    assert nw.evaluate(run, data, model=net).headline == "mean_rank_error"
    for name in ("net", "stars", "visits"):
        sys.modules.pop(name, None)


def test_a_class_of_a_running_script_is_refused() -> None:
    """It could not be found again without running the script once more."""

    class Local:
        pass

    with pytest.raises(UsageError, match="file of its own"):
        nw.load("digits", task=Local)


def test_the_same_data_are_found_beside_the_function(here: Path) -> None:
    """As long as the file is as it was, it is used where it lies: it may look for data beside itself."""
    (here / "own" / "beside.py").write_text(
        "from pathlib import Path\nimport numpy as np\n\n"
        "def load():\n    rows = np.loadtxt(Path(__file__).with_name('rows.txt'), dtype=np.float32)\n"
        "    return rows[:, :2], rows[:, 2].astype(np.int64)\n"
    )
    rows = np.random.default_rng(0).normal(size=(90, 3))
    rows[:, 2] = rows[:, 0] > 0
    np.savetxt(here / "own" / "rows.txt", rows)
    (here / "own" / "plain.py").write_text("from torch import nn\n\ndef net():\n    return nn.Linear(2, 2)\n")
    command = ["train", "own/plain.py:net", "--data", "own/beside.py:load", "--run", "run", "--epochs", "1"]
    assert main([*command, "--no-report"]) == 0
    assert main(["evaluate", "run"]) == 0


def write(here: Path, name: str, code: str) -> str:
    (here / f"{name}.py").write_text(code)
    return f"{name}.py"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def load():\n    return None", "None"),
        ("def load():\n    return {'a': 1}", "a dict of a"),
        ("def load():\n    return [1, 2, 3][7]", r"bad0?\.py:2.*IndexError"),
        ("def load(path):\n    return path", "without arguments"),
        ("def load():\n    return open('gone.txt')", "folder you are in"),
        ("def load():\n    return 3", "int"),
    ],
)
def test_a_function_that_gives_no_data_is_told(here: Path, code: str, message: str) -> None:
    """By its name and line, with what would be right."""
    with pytest.raises(DataError, match=message):
        nw.load(f"{write(here, 'bad', code)}:load")


def test_names_that_are_not_there_are_told(here: Path) -> None:
    """With the nearest that is."""
    with pytest.raises(UnknownNameError, match='"load"'):
        nw.load("own/visits.py:lod")
    with pytest.raises(UnknownNameError, match='"Stars"'):
        nw.train(torch.nn.Linear(8, 4), nw.load("own/visits.py:load", task="own/stars.py:Star"), progress=Silent())
    with pytest.raises(MissingFileError):
        nw.load("own/visit.py:load")


def test_splits_of_a_functions_own_are_kept(here: Path) -> None:
    """A dict by split; nothing is split off then."""
    reference = write(
        here, "parts",
        "import numpy as np\n\ndef load():\n    def part(n):\n"
        "        return np.ones((n, 2), np.float32), np.arange(n) % 2\n"
        "    return {'train': part(40), 'val': part(8), 'test': part(6)}\n",
    )  # fmt: skip
    data = nw.load(f"{reference}:load")
    assert {split: spec.count for split, spec in data.spec.splits.items()} == {"train": 40, "val": 8, "test": 6}
    assert data.spec.name == "parts"


def test_options_beside_loaded_data_are_refused(here: Path) -> None:
    """They could change nothing."""
    reference = write(here, "loaded", "import netwright as nw\n\ndef load():\n    return nw.load('digits')\n")
    assert nw.load(f"{reference}:load").spec.classes is not None
    with pytest.raises(UsageError, match="already"):
        nw.load(f"{reference}:load", test_fraction=0.5)


@pytest.mark.parametrize(
    ("source", "is_one"),
    [("a.py:load", True), ("pkg.data:load", True), ("python:arrays", False), ("digits", False), ("C:\\data", False),
     ("a.py:", True), ("folder/x", False)],
)  # fmt: skip
def test_references_are_told_from_paths(source: str, is_one: bool) -> None:
    """A drive's letter is none, nor what was handed over in Python."""
    assert names_function(source) is is_one


TASK = (EXAMPLE / "stars.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("    def running(", "    def runing(", "without running"),
        ('    metric = "rank_error"\n', "", "without metric"),
        ('    metric = "rank_error"\n', "    metric = 3\n", r"Stars\.metric: expected a str, got int '3'"),
        ("        return cls(count)", "        return None", r"\.fit: expected an instance of Stars, got None"),
        ("        return Objective(nn.BCEWithLogitsLoss(), beyond,", "        return (nn.BCEWithLogitsLoss(), beyond,",
         r"\.propose_loss: expected a netwright\.tasks\.Objective"),
        ('return {"rank_error": ', 'return {"error": ', r'\.running.*"rank_error" among.*got the names error'),
        (".abs().sum(), len(batch))}", ".abs(), len(batch))}", r'\.running: expected a 0-d tensor.*shape \(\d+,\)'),
        (".abs().sum(), len(batch))}", ".abs().sum())}", r"\.running: expected a 0-d tensor"),
        ("outputs.sigmoid().cpu().numpy())", "outputs.sigmoid())", r"`probs` as a NumPy array, got a tensor of shape"),
        ('headline="mean_rank_error"', 'headline="mean"', r'\.score: expected a score called "mean", its headline'),
        ("        return (Baseline(", "        return ('median', ", "SyntaxError|unmatched|baselines"),
        ("        given = self.stars(predictions)\n        error = given - predictions.targets\n        return tuple(",
         "        return None\n        tuple(", r"\.worst: expected a tuple of netwright\.records\.WorstSample"),
        ('middle = np.median(data.train.targets)', 'middle = np.median(data.trains.targets)',
         r"\.baselines, own/stars\.py:\d+: .*AttributeError"),
    ],
)  # fmt: skip
def test_what_a_task_gets_wrong_is_told_by_its_method(
    here: Path, old: str, new: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what was wanted and what came, and no traceback of ours."""
    assert old in TASK
    (here / "own" / "stars.py").write_text(TASK.replace(old, new, 1), encoding="utf-8")
    assert main([*TRAIN, "--epochs", "1", "--no-report"]) in (1, 2)
    shown = capsys.readouterr().err
    message = shown[shown.index("error: ") :]
    assert re.search(wanted, message, re.DOTALL), message
    assert "Traceback" not in shown


def test_an_answer_of_the_wrong_kind_is_told(here: Path) -> None:
    """When it is served."""
    broken = TASK.replace("return Prediction(name=name, label=", "return dict(name=name, label=")
    (here / "own" / "stars.py").write_text(broken, encoding="utf-8")
    assert main([*TRAIN, "--epochs", "1", "--no-report"]) == 0
    with pytest.raises(ModelError, match=r"\.answer: expected a netwright\.records\.Prediction, got dict"):
        nw.predict("run", [np.zeros(8, np.float32)])
