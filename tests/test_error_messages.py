"""Each mistake a person makes gets a message of four parts, the right exit code, and loses nothing."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import netwright as nw
from netwright.cli import main
from netwright.errors import NetwrightError
from netwright.progress import Silent

PARTS = re.compile(r"^error: (?P<where>.+?): expected (?P<expected>.+?), got (?P<got>.+)\.\n(?P<cure>.+)", re.DOTALL)
HEAD = "import torch\nfrom torch import nn\n"
GOOD = HEAD + (
    "class Net(nn.Module):\n"
    "    def __init__(self):\n"
    "        super().__init__()\n"
    "        self.fc = nn.Linear(64, 10)\n"
    "    def forward(self, x):\n"
    "        return self.fc(x.flatten(1))\n"
)

Fail = Callable[..., dict[str, str]]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A file with a good network for 8x8 digits."""
    path = tmp_path / "net.py"
    path.write_text(GOOD)
    return path


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Run a command that must fail; the four parts of what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int) -> dict[str, str]:
        assert main([str(argument) for argument in arguments]) == code
        errors = capsys.readouterr().err
        assert "Traceback" not in errors.splitlines()[0]
        found = PARTS.search(errors[errors.index("error: ") :])
        assert found is not None, errors
        return {name: text.strip() for name, text in found.groupdict().items()}

    return run


def test_a_missing_file(fail: Fail, net: Path) -> None:
    """The nearest file of the folder is named."""
    parts = fail("train", f"{net.parent / 'nett.py'}:Net", "--data", "digits", code=2)
    assert "nett.py" in parts["where"]
    assert "net.py" in parts["cure"]


def test_a_class_that_is_not_in_the_file(fail: Fail, net: Path) -> None:
    """The nearest class is named."""
    parts = fail("train", f"{net}:Nett", "--data", "digits", code=2)
    assert "Nett" in parts["got"]
    assert '"Net"' in parts["cure"]


def test_a_constructor_that_needs_arguments(fail: Fail, net: Path) -> None:
    """The argument and the way to give it are named."""
    net.write_text(GOOD.replace("__init__(self)", "__init__(self, hidden)"))
    parts = fail("train", f"{net}:Net", "--data", "digits", code=2)
    assert "hidden" in " ".join(parts.values())
    assert "--arg hidden=" in parts["cure"]


def test_eight_columns_for_ten_classes(fail: Fail, net: Path) -> None:
    """Both numbers are named before the first update."""
    net.write_text(GOOD.replace("10)", "8)"))
    parts = fail("train", f"{net}:Net", "--data", "digits", code=1)
    assert "10" in parts["expected"]
    assert "8 column" in parts["got"]
    assert "10" in parts["cure"]


def test_a_shape_mismatch_inside_the_module(fail: Fail, net: Path) -> None:
    """The layer, the shape that reached it and the size it wants."""
    net.write_text(GOOD.replace("nn.Linear(64, 10)", "nn.Linear(100, 10)"))
    parts = fail("train", f"{net}:Net", "--data", "digits", code=1)
    text = " ".join(parts.values())
    assert "fc" in text
    assert "64" in parts["got"]
    assert "100" in parts["expected"]


def test_the_size_that_would_fit_is_found(fail: Fail, root: Path) -> None:
    """The tutorial network wants 28x28; on 8x8 digits the cure is the option."""
    parts = fail("train", f"{root / 'examples/tutorial/net.py'}:Net", "--data", "digits", code=1)
    assert "--image-size 28" in parts["cure"]


def caught(call: Callable[[], object]) -> NetwrightError:
    with pytest.raises(NetwrightError) as info:
        call()
    error = info.value
    assert all((error.where, error.expected, error.got, error.cure))
    return error


def linear(inputs: int = 4, outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))


def test_labels_out_of_range() -> None:
    """A negative label is named with its place."""
    inputs = np.zeros((30, 4), dtype="float32")
    labels = np.arange(30) % 3
    labels[7] = -3
    error = caught(lambda: nw.load((inputs, labels)))
    assert "-3" in error.message
    assert error.exit_code == 1


def test_nan_in_the_input() -> None:
    """The sample is named when the data are loaded."""
    inputs = np.zeros((30, 4), dtype="float32")
    inputs[5, 2] = np.nan
    error = caught(lambda: nw.load((inputs, np.arange(30) % 3)))
    assert "5" in error.message
    assert "NaN" in error.message or "nan" in error.message


class Items(torch.utils.data.Dataset):
    """A person's data set with one input that is not a number."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        value = torch.full((4,), float(index % 3))
        return (value / 0 if index == 0 else value), index % 3


def test_nan_that_only_training_meets(tmp_path: Path) -> None:
    """The update, the field and the sample are named, and no weight is lost to it."""
    net = linear()
    items = nw.load(Items(), options=nw.LoadOptions(val_fraction=0, test_fraction=0))
    error = caught(
        lambda: nw.train(
            net, items, run=tmp_path / "run", epochs=1, batch_size=16, progress=Silent(), report=False, skip=("D13",)
        )
    )
    assert "sample 0" in error.where
    assert all(bool(torch.isfinite(value).all()) for value in net.state_dict().values())


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8), dtype="uint8")
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of twenty pictures."""
    root = tmp_path / "pictures"
    for index in range(40):
        picture(root / ("cat", "dog")[index % 2] / f"{index}.png", index)
    return root


def test_an_empty_folder(fail: Fail, tmp_path: Path) -> None:
    """The layout that is wanted is shown."""
    (tmp_path / "nothing").mkdir()
    parts = fail("data", str(tmp_path / "nothing"), code=1)
    assert "nothing" in parts["where"]
    assert "class" in parts["expected"] + parts["cure"]


def test_a_class_with_one_image(fail: Fail, folder: Path) -> None:
    """The class is named: it cannot be both learned from and tested on."""
    picture(folder / "emu" / "1.png", 99)
    parts = fail("data", str(folder), code=1)
    assert "emu" in " ".join(parts.values())


def bomb(path: Path) -> None:
    """A small PNG whose header says 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def spoil(path: Path, kind: str) -> None:
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:60])
    elif kind == "text":
        path.write_text("not a picture")
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        bomb(path)


@pytest.mark.parametrize("kind", ["truncated", "text", "empty", "bomb"])
def test_pictures_that_cannot_be_read(fail: Fail, folder: Path, kind: str) -> None:
    """Past the allowed share it is an error that names the file; below it the file is skipped and counted."""
    spoil(folder / "cat" / "0.png", kind)
    parts = fail("data", str(folder), code=1)
    assert "0.png" in " ".join(parts.values())
    assert "--max-unreadable" in parts["cure"]
    data = nw.load(folder, options=nw.LoadOptions(max_unreadable=0.1))
    assert [Path(one.name).name for one in data.spec.unreadable] == ["0.png"]
    assert sum(split.count for split in data.spec.splits.values()) == 39


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from netwright.cli import main
import netwright.training
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk(net: Path, tmp_path: Path) -> None:
    """Writes that do not fit end the run with a message; no checkpoint that is half written stays."""
    net.write_text(GOOD.replace("nn.Linear(64, 10)", "nn.Sequential(nn.Linear(64, 500), nn.Linear(500, 10))"))
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, "train", f"{net}:Net", "--data", "digits", "--run", str(tmp_path / "run"),
         "--epochs", "1"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    found = PARTS.search(done.stderr[done.stderr.index("error: ") :])
    assert found is not None, done.stderr
    assert str(tmp_path / "run") in found["where"]
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A folder that cannot be written to, even by the superuser: /proc takes no files."""
    place = Path("/proc/self")
    if not place.is_dir():
        pytest.skip("no folder here that the system keeps read-only")
    return place / "runs"


def test_a_read_only_run_folder(fail: Fail, net: Path, read_only: Path) -> None:
    """Said before training, with the folder's name."""
    parts = fail("train", f"{net}:Net", "--data", "digits", "--run", str(read_only), code=1)
    assert str(read_only) in parts["where"]
    assert "--run" in parts["cure"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the good network."""
    place = tmp_path_factory.mktemp("finished")
    (place / "net.py").write_text(GOOD)
    code = main(
        ["train", f"{place / 'net.py'}:Net", "--data", "digits", "--epochs", "1", "--run", str(place / "run"),
         "--no-report", "--json"]
    )  # fmt: skip
    assert code == 0
    return place / "run"


def test_checkpoints_that_are_all_damaged(fail: Fail, finished: Path, tmp_path: Path) -> None:
    """Each is named with what is wrong with it."""
    run = tmp_path / "copy"
    shutil.copytree(finished, run)
    for file in run.glob("checkpoints/step-*/*.safetensors"):
        file.write_bytes(file.read_bytes()[:-9])
    parts = fail("train", "--resume", str(run), code=1)
    assert "step-" in " ".join(parts.values())
    assert "safetensors" in " ".join(parts.values())


def test_damaged_weights(fail: Fail, finished: Path, tmp_path: Path) -> None:
    """A flipped bit in the weights is found when they are read."""
    run = tmp_path / "copy"
    shutil.copytree(finished, run)
    weights = bytearray((run / "weights.safetensors").read_bytes())
    weights[-5] ^= 1
    (run / "weights.safetensors").write_bytes(weights)
    parts = fail("evaluate", str(run), code=1)
    assert "weights.safetensors" in parts["where"]


def test_a_run_folder_of_another_model(finished: Path) -> None:
    """The first parameter that differs is named."""
    error = caught(lambda: nw.evaluate(finished, model=linear(64, 10)))
    assert "fc." in error.got or "1." in error.got
    assert error.exit_code == 1


def test_a_folder_that_is_no_run(fail: Fail, tmp_path: Path) -> None:
    """What a run folder is, and what lies there."""
    parts = fail("evaluate", str(tmp_path), code=2)
    assert "settings.yaml" in parts["expected"]


@pytest.mark.parametrize(
    ("option", "value", "right"),
    [
        ("--optimizer", "Adamm", "Adam"),
        ("--loss", "CrosEntropy", "CrossEntropyLoss"),
        ("--monitor", "val/acuracy", "val/accuracy"),
        ("--schedule", "cosin", "cosine"),
        ("--augment", "shfit", "shift"),
        ("--data", "mnsit", "mnist"),
        ("--epoch", "3", "--epochs"),
    ],
)
def test_misspelt_names(fail: Fail, net: Path, option: str, value: str, right: str) -> None:
    """The nearest spelling is offered; usage errors exit with 2."""
    arguments = {"--data": "digits", option: value}
    parts = fail("train", f"{net}:Net", *(word for pair in arguments.items() for word in pair), code=2)
    assert f'"{right}"' in parts["cure"]


@pytest.mark.parametrize(
    ("option", "value"), [("--epochs", "0"), ("--lr", "fast"), ("--batch-size", "-4"), ("--ema-decay", "1.5")]
)
def test_values_out_of_range(fail: Fail, net: Path, option: str, value: str) -> None:
    """The option, the value and what is wrong with it."""
    parts = fail("train", f"{net}:Net", "--data", "digits", option, value, code=2)
    assert option in parts["where"]
    assert value in parts["got"]


def test_debug_shows_the_traceback(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without it a person's mistake has none."""
    assert main(["--debug", "train", f"{net}:Nett", "--data", "digits"]) == 2
    assert "Traceback" in capsys.readouterr().err
