"""Folders of class folders: any format, any split, and whatever else lies in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import netwright.data as nd
from netwright.data import pictures
from netwright.data.batches import eval_batches
from netwright.data.sources import PathSource
from netwright.errors import DataError, MissingFileError, UnknownNameError, UsageError
from netwright.records import LoadOptions

WHOLE = LoadOptions(val_fraction=0, test_fraction=0)


def draw(path: Path, *, seed: int = 0, size: tuple[int, int] = (6, 5), mode: str = "RGB", **options: Any) -> Path:
    """Save a random image; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path


def fill(root: Path, *, classes: tuple[str, ...] = ("cat", "dog"), count: int = 10, **options: Any) -> Path:
    for number, name in enumerate(classes):
        for index in range(count):
            draw(root / name / f"{index:02}.png", seed=100 * number + index, **options)
    return root


def pixels(data: nd.Data, split: str = "train") -> torch.Tensor:
    return torch.cat([batch.inputs["image"] for batch in eval_batches(data, split, batch_size=7, workers=0)])


def test_a_folder_is_understood(tmp_path: Path) -> None:
    """Classes in sorted order, 70/10/20, the images' own size and colour, each with its reason."""
    data = nd.load(fill(tmp_path / "animals", classes=("dog", "ant")))
    assert data.spec.name == "animals"
    assert data.spec.classes == ("ant", "dog")
    assert {name: split.class_counts for name, split in data.spec.splits.items()} == {
        "train": (7, 7), "val": (1, 1), "test": (2, 2),
    }  # fmt: skip
    assert data.spec.inputs[0].shape == (3, 6, 5)
    assert {"image_mode", "image_size", "normalise", "test split", "val split"} <= {c.name for c in data.spec.choices}


def test_samples_keep_their_files_and_labels(tmp_path: Path) -> None:
    """What a source calls cat/03.png holds that file's pixels and cat's label."""
    data = nd.load(str(fill(tmp_path / "animals")))
    for split in ("train", "val", "test"):
        source = data.split(split)
        for index in range(len(source)):
            name = source.name(index)
            inputs, target = source.gather(np.asarray([index]))
            expected = np.asarray(Image.open(tmp_path / "animals" / name)).transpose(2, 0, 1)
            assert np.array_equal(inputs["image"][0].numpy(), expected)
            assert data.spec.classes is not None
            assert data.spec.classes[int(target)] == Path(name).parts[0]


def test_all_formats_side_by_side(tmp_path: Path) -> None:
    """PNG, JPEG, GIF, BMP, TIFF, WebP and PPM, in any spelling of the ending, are read together."""
    names = ["a.png", "b.JPG", "c.jpeg", "d.gif", "e.bmp", "f.tif", "g.TIFF", "h.webp", "i.ppm"]
    for folder in ("x", "y"):
        for name in names:
            draw(tmp_path / folder / name)
    data = nd.load(tmp_path, options=WHOLE)
    assert data.spec.splits["train"].class_counts == (9, 9)
    assert data.spec.unreadable == ()


def test_grey_files_stay_grey(tmp_path: Path) -> None:
    """Only grey images: one channel; one coloured among them, or the wish for colour: three."""
    fill(tmp_path, mode="L")
    assert nd.load(tmp_path).spec.inputs[0].shape == (1, 6, 5)
    assert nd.load(tmp_path, options=LoadOptions(image_mode="RGB")).spec.inputs[0].shape == (3, 6, 5)
    draw(tmp_path / "cat" / "colour.png")
    assert nd.load(tmp_path).spec.inputs[0].shape == (3, 6, 5)
    assert nd.load(tmp_path, options=LoadOptions(image_mode="L")).spec.inputs[0].shape == (1, 6, 5)


def test_different_sizes_are_brought_to_the_median(tmp_path: Path) -> None:
    """Every image comes to the median height and width, with the reason told; or to the size asked for."""
    for index, size in enumerate([(4, 4), (8, 6), (10, 30)] * 4):
        draw(tmp_path / "xy"[index % 2] / f"{index}.png", size=size)
    data = nd.load(tmp_path, options=WHOLE)
    assert data.spec.inputs[0].shape == (3, 8, 6)
    assert pixels(data).shape == (12, 3, 8, 6)
    assert "median of 3 sizes" in next(c.reason for c in data.spec.choices if c.name == "image_size")
    asked = nd.load(tmp_path, options=LoadOptions(image_size=(3, 2)))
    assert asked.spec.inputs[0].shape == (3, 3, 2)
    assert next(c.asked for c in asked.spec.choices if c.name == "image_size")


@pytest.mark.parametrize(
    "folders", [("train", "val", "test"), ("Training", "Validation", "testing"), ("train", "dev", "test")]
)
def test_splits_that_are_folders_are_kept(folders: tuple[str, ...], tmp_path: Path) -> None:
    """Chinese class names and usual spellings of the splits; nothing is moved between them."""
    for folder, count in zip(folders, (6, 2, 4), strict=True):
        fill(tmp_path / folder, classes=("猫", "狗", "鸟"), count=count)
    data = nd.load(tmp_path)
    assert data.spec.classes == tuple(sorted(("猫", "狗", "鸟")))
    assert {name: split.class_counts for name, split in data.spec.splits.items()} == {
        "train": (6, 6, 6), "val": (2, 2, 2), "test": (4, 4, 4),
    }  # fmt: skip
    assert data.test is not None
    assert data.test.name(0) == f"{folders[2]}/{data.spec.classes[0]}/00.png"


def test_val_is_taken_from_train_where_only_test_is_given(tmp_path: Path) -> None:
    """A twelfth of train; the test folder stays whole."""
    fill(tmp_path / "train", count=24)
    fill(tmp_path / "test", count=3)
    counts = {name: split.count for name, split in nd.load(tmp_path).spec.splits.items()}
    assert counts == {"train": 44, "val": 4, "test": 6}


def test_a_few_unreadable_images_are_left_out_and_named(tmp_path: Path) -> None:
    """Below the share that is allowed, loading goes on, and the record holds each file with its reason."""
    fill(tmp_path)
    bad = tmp_path / "cat" / "bad.png"
    bad.write_bytes(b"not an image")
    (tmp_path / "dog" / "empty.jpg").write_bytes(b"")
    data = nd.load(tmp_path, options=LoadOptions(max_unreadable=0.2))
    assert sum(split.count for split in data.spec.splits.values()) == 20
    reasons = {Path(one.name).name: one.reason for one in data.spec.unreadable}
    assert reasons.keys() == {"bad.png", "empty.jpg"}
    assert reasons["empty.jpg"] == "0 bytes"


def test_too_many_unreadable_images_are_refused(tmp_path: Path) -> None:
    """Above the share, with the first ten named and the option that would go on."""
    fill(tmp_path)
    for index in range(12):
        (tmp_path / "cat" / f"bad{index:02}.png").write_bytes(b"not an image")
    with pytest.raises(DataError) as caught:
        nd.load(tmp_path)
    assert "12 of 32 images" in str(caught.value)
    assert "bad09.png" in str(caught.value) and "bad10.png" not in str(caught.value)
    assert "--max-unreadable 0.38" in caught.value.cure


def test_the_suggested_share_is_enough(tmp_path: Path) -> None:
    """Doing what the cure says works."""
    fill(tmp_path)
    for index in range(3):
        (tmp_path / "cat" / f"bad{index}.png").write_bytes(b"not an image")
    with pytest.raises(DataError) as caught:
        nd.load(tmp_path)
    share = float(caught.value.cure.split("--max-unreadable ")[1].rstrip("."))
    assert len(nd.load(tmp_path, options=LoadOptions(max_unreadable=share)).spec.unreadable) == 3


@pytest.mark.parametrize("lost", [("cat",), ("cat", "dog")])
def test_a_class_of_which_nothing_can_be_read_is_refused(lost: tuple[str, ...], tmp_path: Path) -> None:
    """Whatever share may be unreadable, each class needs an image."""
    fill(tmp_path)
    for path in [path for name in lost for path in (tmp_path / name).iterdir()]:
        path.write_bytes(b"not an image")
    with pytest.raises(DataError, match="class " + ", ".join(f'"{name}"' for name in lost)):
        nd.load(tmp_path, options=LoadOptions(max_unreadable=1))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    """A named pipe with an image's ending would hang for ever; it is left out, as is a link to nowhere or to itself."""
    fill(tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "nowhere.png").symlink_to(tmp_path / "absent.png")
    (tmp_path / "cat" / "round.png").symlink_to(tmp_path / "cat" / "round.png")
    assert sum(split.count for split in nd.load(tmp_path).spec.splits.values()) == 20


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    """macOS's ._ files, hidden folders, notes and thumbnails' databases are no samples and no classes."""
    fill(tmp_path)
    draw(tmp_path / "cat" / ".hidden.png")
    (tmp_path / "cat" / "._00.png").write_bytes(b"macOS")
    draw(tmp_path / "cat" / ".thumbs" / "a.png")
    draw(tmp_path / ".git" / "a.png")
    (tmp_path / "cat" / "notes.txt").write_text("notes")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"db")
    (tmp_path / "README.md").write_text("notes")
    data = nd.load(tmp_path)
    assert data.spec.classes == ("cat", "dog")
    assert sum(split.count for split in data.spec.splits.values()) == 20
    assert data.spec.unreadable == ()


def test_folders_in_folders_count(tmp_path: Path) -> None:
    """Images further down belong to the class at the top."""
    fill(tmp_path)
    draw(tmp_path / "cat" / "summer" / "2019" / "a.png")
    assert sum(split.count for split in nd.load(tmp_path).spec.splits.values()) == 21


def test_a_class_that_train_lacks_is_refused(tmp_path: Path) -> None:
    """A class only in test cannot be learned."""
    fill(tmp_path / "train")
    fill(tmp_path / "test", classes=("cat", "dog", "emu"))
    with pytest.raises(DataError, match="class emu") as caught:
        nd.load(tmp_path)
    assert "another split" in caught.value.got


def test_a_class_without_images_is_refused(tmp_path: Path) -> None:
    """An empty class folder is named."""
    fill(tmp_path)
    (tmp_path / "emu").mkdir()
    with pytest.raises(DataError, match="class emu"):
        nd.load(tmp_path)


def test_one_class_is_refused(tmp_path: Path) -> None:
    """There is nothing to tell apart."""
    with pytest.raises(DataError, match="at least two classes"):
        nd.load(fill(tmp_path, classes=("cat",)))


def test_one_image_of_a_class_is_refused(tmp_path: Path) -> None:
    """It cannot be in train and in test."""
    fill(tmp_path)
    draw(tmp_path / "emu" / "only.png")
    with pytest.raises(DataError, match=r"emu \(1\)"):
        nd.load(tmp_path)


def test_folders_without_classes_say_what_they_hold(tmp_path: Path) -> None:
    """Loose files, and nothing at all."""
    with pytest.raises(DataError, match="an empty folder"):
        nd.load(tmp_path)
    draw(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"loose\.png"):
        nd.load(tmp_path)
    with pytest.raises(DataError, match="got a file"):
        nd.load(tmp_path / "loose.png")


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    """A wrong path lists what lies beside it; a wrong name gets the nearest."""
    (tmp_path / "animals").mkdir()
    with pytest.raises(MissingFileError, match="animals"):
        nd.load(tmp_path / "animal")
    with pytest.raises(UnknownNameError, match='Did you mean "mnist"'):
        nd.load("mnits")


def test_groups_stay_together(tmp_path: Path) -> None:
    """All pictures of one person lie in one split."""
    for name in ("cat", "dog"):
        for person in "abcdefgh":
            for index in range(3):
                draw(tmp_path / name / f"{person}_{index}.png", seed=index)
    data = nd.load(tmp_path, options=LoadOptions(group_by=r"(\w)_\d"))
    seen = [{Path(data.split(name).name(i)).name[0] for i in range(len(data.split(name)))} for name in data.spec.splits]
    assert sum(map(len, seen)) == len(set().union(*seen)) == 8
    with pytest.raises(UsageError, match="does not match"):
        nd.load(tmp_path, options=LoadOptions(group_by=r"speaker_\d"))
    with pytest.raises(UsageError, match="regular expression"):
        nd.load(tmp_path, options=LoadOptions(group_by="("))


def test_large_folders_are_read_from_disk_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into memory is decoded when asked for: same splits, same pixels."""
    memory = nd.load(fill(tmp_path))
    monkeypatch.setattr(pictures, "MEMORY_LIMIT_BYTES", 0)
    disk = nd.load(tmp_path)
    assert isinstance(disk.train, PathSource)
    assert disk.spec.splits == memory.spec.splits
    for split in memory.spec.splits:
        assert torch.equal(pixels(disk, split), pixels(memory, split))


def test_the_digest_knows_every_file(tmp_path: Path) -> None:
    """Another pixel in one file is another digest; loading again is not."""
    first = nd.load(fill(tmp_path)).spec.digest
    assert nd.load(tmp_path).spec.digest == first
    draw(tmp_path / "cat" / "00.png", seed=999)
    assert nd.load(tmp_path).spec.digest != first
