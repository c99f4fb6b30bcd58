"""Decoded pictures are kept on disk: later runs read no file, and never get a wrong pixel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import netwright.data as nd
from netwright.data import decoded, pictures
from netwright.data.batches import eval_batches, train_batches
from netwright.data.dataset import Data
from netwright.data.facts import channel_statistics
from netwright.data.sources import PathSource
from netwright.preprocess import DecodeImage, Preprocess, Resize, decode
from netwright.records import LoadOptions

OPTIONS = LoadOptions(val_fraction=0, test_fraction=0, image_size=(9, 8), image_mode="RGB", max_unreadable=0.1)
DECODER = Preprocess(operations=(DecodeImage(), Resize(height=9, width=8)))
COUNT = 24
ROW = 9 * 8 * 3


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of 12 JPEGs, and a store of their own; the cache is for small sets too, and files may be new."""
    monkeypatch.setenv("NETWRIGHT_DATA", str(tmp_path / "store"))
    monkeypatch.setattr(decoded, "FROM_BYTES", 0)
    monkeypatch.setattr(decoded, "SETTLED_S", 0.0)
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "root" / label).mkdir(parents=True)
        for index in range(COUNT // 2):
            picture(rng).save(tmp_path / "root" / label / f"{index:02}.jpg")
    return tmp_path / "root"


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the set: whether it lies in memory."""
    if request.param == "large":
        monkeypatch.setattr(pictures, "MEMORY_LIMIT_BYTES", 0)
    return str(request.param)


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded."""
    found: list[Path] = []
    lock = threading.Lock()

    def counted(preprocess: Preprocess, path: Path, *how: Any) -> Any:
        with lock:
            found.append(path)
        return decode(preprocess, path, *how)

    monkeypatch.setattr(decoded, "decode", counted)
    return found


def picture(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (14, 17, 3), dtype=np.uint8))


def files(root: Path) -> list[Path]:
    return sorted(root.glob("*/*.jpg"))


def cache(root: Path) -> Path:
    (found,) = (root.parent / "store" / "decoded").iterdir()
    return found


def right(data: Data, root: Path) -> bool:
    """Whether the data hold what each file holds now."""
    wanted = np.stack([decode(DECODER, path) for path in files(root)])
    inputs, _ = data.train.gather(np.arange(len(data.train)))
    return np.array_equal(inputs["image"].numpy(), wanted)


def chosen(data: Data) -> str:
    return next(f"{one.value}: {one.reason}" for one in data.spec.choices if one.name == "cache")


def test_later_runs_decode_nothing(root: Path, size: str, decodings: list[Path]) -> None:
    """The first run decodes each file once, in all its epochs too; the next one none, and has the same batches."""

    def batches(data: Data) -> list[torch.Tensor]:
        options: dict[str, Any] = {"batch_size": 5, "seed": 0, "workers": 0}
        trained = [train_batches(data, epoch=epoch, augment=("flip",), **options) for epoch in (0, 1)]
        passes = (*trained, eval_batches(data, "train", batch_size=5, workers=2))
        return [batch.inputs["image"] for one in passes for batch in one]

    first = nd.load(root, options=OPTIONS)
    seen = batches(first)
    assert sorted(decodings) == files(root)
    second = nd.load(root, options=OPTIONS)
    again = batches(second)
    assert len(decodings) == COUNT
    assert isinstance(second.train, PathSource) == (size == "large")
    assert right(second, root)
    assert all(torch.equal(one, other) for one, other in zip(seen, again, strict=True))
    assert first.spec == second.spec
    assert "kept in" in chosen(first)


def test_splits_take_their_own_rows(root: Path, size: str) -> None:
    """Of the cache of the whole folder, and of one in which a file could not be read."""
    files(root)[3].write_bytes(b"none")
    options = OPTIONS.model_copy(update={"val_fraction": 0.3, "test_fraction": 0.3})
    for _ in range(2):
        data = nd.load(root, options=options)
        assert [one.name for one in data.spec.unreadable] == [str(files(root)[3])]
        for split in ("train", "val", "test"):
            source = data.split(split)
            for index in range(len(source)):
                inputs, targets = source.gather(np.array([index]))
                name = source.name(index)
                assert np.array_equal(inputs["image"][0].numpy(), decode(DECODER, root / name))
                assert targets.tolist() == [int(name.startswith("dog"))]  # type: ignore[union-attr]


def test_a_changed_file_is_decoded_again(root: Path, size: str) -> None:
    """Though its name, size and time of writing are as they were."""
    nd.load(root, options=OPTIONS)
    victim = files(root)[5]
    before = victim.stat()
    old = victim.read_bytes()
    new = files(root)[6].read_bytes()
    padded = new + bytes(len(old) - len(new)) if len(new) <= len(old) else old[:-40] + bytes(40)
    victim.write_bytes(padded)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (victim.stat().st_size, victim.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert right(nd.load(root, options=OPTIONS), root)


@pytest.mark.parametrize("what", ["size", "mode", "file"])
def test_other_pixels_are_other_files_of_the_cache(root: Path, what: str) -> None:
    """Another size or colour, or a further picture."""
    nd.load(root, options=OPTIONS)
    if what == "file":
        picture(np.random.default_rng(9)).save(root / "cat" / "99.jpg")
        assert right(nd.load(root, options=OPTIONS), root)
    else:
        update = {"image_size": (8, 9)} if what == "size" else {"image_mode": "L"}
        data = nd.load(root, options=OPTIONS.model_copy(update=update))
        assert data.spec.inputs[0].shape == {"size": (3, 8, 9), "mode": (1, 9, 8)}[what]
    assert len(list((root.parent / "store" / "decoded").iterdir())) == 2


def flip(place: int) -> Any:
    def harm(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)

    return harm


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 3 * ROW])


def without_pixels(path: Path) -> None:
    path.write_bytes(path.read_bytes()[ROW:])


HARMS = {
    "first pixel": flip(0),
    "a pixel": flip(7 * ROW + 3),
    "record": flip(-200),
    "end": flip(-1),
    "short": shorten,
    "shifted": without_pixels,
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_cache_is_made_anew(root: Path, size: str, harm: str) -> None:
    """Whatever was harmed: no wrong pixel is seen, and the next run has a whole one again."""
    nd.load(root, options=OPTIONS)
    whole = cache(root).read_bytes()
    HARMS[harm](cache(root))
    assert right(nd.load(root, options=OPTIONS), root)
    assert right(nd.load(root, options=OPTIONS), root)
    assert cache(root).read_bytes() == whole


LOADING = """
import os, signal, sys
import netwright.data as nd
from netwright.data import decoded
from netwright.records import LoadOptions
decoded.FROM_BYTES, decoded.SETTLED_S, left, decode = 0, 0.0, int(sys.argv[2]), decoded.decode

def counted(preprocess, path, *how):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(preprocess, path, *how)

decoded.decode = counted
options = LoadOptions(val_fraction=0, test_fraction=0, image_size=(9, 8), image_mode="RGB")
print(nd.load(sys.argv[1], options=options).spec.digest)
"""


def loading(root: Path, die_after: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", LOADING, str(root), str(die_after)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_run_that_is_killed_leaves_nothing_wrong(root: Path) -> None:
    """What it had written has no name that anyone believes, and goes with the next run."""
    process = loading(root, 20)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    left = list((root.parent / "store" / "decoded").iterdir())
    assert len(left) == 1
    assert ".tmp-" in left[0].name
    assert right(nd.load(root, options=OPTIONS), root)
    assert cache(root) != left[0]


def test_two_runs_at_once_agree(root: Path) -> None:
    """Both write, each its own file, and the last one's name stays."""
    runs = [loading(root, 10**6) for _ in range(2)]
    said = {run.communicate(timeout=60)[0] for run in runs}
    data = nd.load(root, options=OPTIONS)
    assert said == {f"{data.spec.digest}\n"}
    assert right(data, root)
    assert cache(root).suffix == ".pixels"


def test_too_much_is_not_kept_and_the_reason_is_told(root: Path, size: str, decodings: list[Path]) -> None:
    """By the limit that was asked for; the data are as ever."""
    for limit in (0.0, COUNT * ROW / 1e9 * 0.99):
        data = nd.load(root, options=OPTIONS.model_copy(update={"cache_gb": limit}))
        assert right(data, root)
        assert chosen(data).startswith("none: ")
        assert "--cache-gb" in chosen(data)
    assert not (root.parent / "store").exists()


def test_the_longest_unused_make_room(root: Path) -> None:
    """As many as are needed: the limit is that of the whole folder."""
    room = OPTIONS.model_copy(update={"cache_gb": 2.5 * COUNT * ROW / 1e9 + 2e-6})
    folder = root.parent / "store" / "decoded"
    nd.load(root, options=room)
    first = cache(root)
    nd.load(root, options=room.model_copy(update={"image_size": (8, 9)}))
    (second,) = set(folder.iterdir()) - {first}
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    nd.load(root, options=room)  # used again
    nd.load(root, options=room.model_copy(update={"image_size": (12, 6)}))
    assert first.exists()
    assert not second.exists()
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("harm", ["no folder", "new files", "no room"])
def test_where_nothing_can_be_kept_the_data_are_as_ever(
    root: Path, size: str, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the reason is among the choices."""
    if harm == "no folder":
        (root.parent / "store").mkdir()
        (root.parent / "store" / "decoded").write_text("a file")
    if harm == "new files":
        monkeypatch.setattr(decoded, "SETTLED_S", 1e6)
    if harm == "no room":

        class Full(type(decoded.DISK)):  # type: ignore[misc]
            """A disk without space; all else is the real one's."""

            def free_bytes(self, path: Path) -> int:
                return 10

        monkeypatch.setattr(decoded, "DISK", Full())
    data = nd.load(root, options=OPTIONS)
    assert right(data, root)
    told = {"no folder": "cannot be used", "new files": "a moment ago", "no room": "GB free"}
    assert chosen(data).startswith("none: ")
    assert told[harm] in chosen(data)


def test_small_sets_are_not_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything said of it."""
    monkeypatch.setattr(decoded, "FROM_BYTES", COUNT * ROW + 1)
    data = nd.load(root, options=OPTIONS)
    assert not (root.parent / "store").exists()
    assert "cache" not in {one.name for one in data.spec.choices}


def test_writing_into_pictures_does_not_reach_the_disk(root: Path) -> None:
    """The tensors of a run are its own."""
    data = nd.load(root, options=OPTIONS)
    whole = cache(root).read_bytes()
    data.train.inputs["image"].zero_()  # type: ignore[attr-defined]
    assert cache(root).read_bytes() == whole
    assert right(nd.load(root, options=OPTIONS), root)


def test_facts_are_those_of_the_pixels(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics and digest come out alike from the cache, from its first writing, and where nothing is kept."""
    options = OPTIONS.model_copy(update={"val_fraction": 0.25})
    kept = [nd.load(root, options=options) for _ in range(2)]
    monkeypatch.setattr(decoded, "FROM_BYTES", 10**9)
    plain = nd.load(root, options=options)
    mean, std = channel_statistics(plain.train.gather(np.arange(len(plain.train)))[0]["image"].numpy())
    for data in (plain, *kept):
        assert data.spec.preprocess == plain.spec.preprocess
        assert data.spec.digest == plain.spec.digest
    normalise = plain.spec.preprocess.operations[-1]
    assert normalise.mean == tuple(round(one / 255, 6) for one in mean)  # type: ignore[union-attr]
    assert normalise.std == tuple(round(one / 255, 6) for one in std)  # type: ignore[union-attr]
