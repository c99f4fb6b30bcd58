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
from netwright.data.images import read_folder
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
    """A pipe with an image's ending would hang for ever; like links to nowhere it counts as an unreadable image."""
    fill(tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "nowhere.png").symlink_to(tmp_path / "absent.png")
    (tmp_path / "cat" / "round.png").symlink_to(tmp_path / "cat" / "round.png")
    with pytest.raises(DataError, match="3 of 23 images"):
        nd.load(tmp_path)
    data = nd.load(tmp_path, options=LoadOptions(max_unreadable=0.2))
    assert sum(split.count for split in data.spec.splits.values()) == 20
    assert [Path(one.name).name for one in data.spec.unreadable] == ["nowhere.png", "pipe.png", "round.png"]
    assert [one.reason for one in data.spec.unreadable[:2]] == ["a link to nowhere", "not a regular file"]


def left_out(data: nd.Data) -> tuple[int, str]:
    (choice,) = [choice for choice in data.spec.choices if choice.name == "left out"]
    return choice.value, choice.reason


def test_nothing_is_left_out_in_silence(tmp_path: Path) -> None:
    """Files that are no images, and images beside the class folders, are counted and named; none: not a word."""
    fill(tmp_path)
    assert all(choice.name != "left out" for choice in nd.load(tmp_path).spec.choices)
    (tmp_path / "cat" / "notes.txt").write_text("notes")
    draw(tmp_path / "loose.png")
    (tmp_path / "dog" / "no\x1b[2Jending").write_bytes(b"")
    count, reason = left_out(nd.load(tmp_path))
    assert count == 3
    assert "loose.png" in reason and "cat/notes.txt" in reason and "\x1b" not in reason


def test_a_link_back_to_the_root_is_no_class(tmp_path: Path) -> None:
    """It would hold every image of every class a second time."""
    fill(tmp_path / "animals")
    (tmp_path / "animals" / "loop").symlink_to(tmp_path / "animals", target_is_directory=True)
    (tmp_path / "animals" / "cat" / "up").symlink_to(tmp_path, target_is_directory=True)
    data = nd.load(tmp_path / "animals")
    assert data.spec.classes == ("cat", "dog")
    assert sum(split.count for split in data.spec.splits.values()) == 20
    assert left_out(data)[0] == 2


def test_a_class_folder_may_be_a_link(tmp_path: Path) -> None:
    """Elsewhere on the disk is as good; only links upwards are none."""
    fill(tmp_path / "store")
    fill(tmp_path / "animals", classes=("emu",))
    for name in ("cat", "dog"):
        (tmp_path / "animals" / name).symlink_to(tmp_path / "store" / name, target_is_directory=True)
    assert nd.load(tmp_path / "animals").spec.classes == ("cat", "dog", "emu")


def test_splits_without_train_are_no_classes(tmp_path: Path) -> None:
    """Folders val and test alone would teach a network to tell val from test."""
    for split in ("val", "test"):
        fill(tmp_path / split)
    with pytest.raises(DataError, match="no train folder"):
        nd.load(tmp_path)


def test_splits_of_loose_images_are_no_classes(tmp_path: Path) -> None:
    """Neither are train and test with images but no classes in them."""
    fill(tmp_path, classes=("train", "test"))
    with pytest.raises(DataError, match="no train folder with class folders"):
        nd.load(tmp_path)


def test_a_test_folder_without_classes_is_refused(tmp_path: Path) -> None:
    """Without labels nothing can be scored, and a test of no samples proves nothing."""
    fill(tmp_path / "train")
    draw(tmp_path / "test" / "1.png")
    with pytest.raises(DataError, match="test: expected a folder for each class"):
        nd.load(tmp_path)


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    """Of val and valid one would be left out."""
    for split in ("train", "val", "valid"):
        fill(tmp_path / split)
    with pytest.raises(DataError, match="one folder for val, got val, valid"):
        nd.load(tmp_path)


def test_a_folder_beside_the_splits_is_told(tmp_path: Path) -> None:
    """A holdout that no split takes is named as left out."""
    for split in ("train", "test", "holdout"):
        fill(tmp_path / split)
    assert left_out(nd.load(tmp_path)) == (1, "no images of a class: holdout")


def test_trains_are_a_class_beside_buses_and_cars(tmp_path: Path) -> None:
    """A single folder called as a split, with images right in it and other classes beside it, is a class."""
    data = nd.load(fill(tmp_path, classes=("bus", "car", "train")))
    assert data.spec.classes == ("bus", "car", "train")
    assert data.spec.splits["train"].class_counts == (7, 7, 7)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list everything")
def test_a_class_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    """Its images would be missing unseen."""
    fill(tmp_path)
    draw(tmp_path / "cat" / "summer" / "a.png")
    (tmp_path / "cat" / "summer").chmod(0)
    try:
        with pytest.raises(DataError, match="summer: expected a folder that can be listed"):
            nd.load(tmp_path)
    finally:
        (tmp_path / "cat" / "summer").chmod(0o700)


def test_one_coloured_image_among_thousands_is_seen(tmp_path: Path) -> None:
    """All headers are read where there are a few thousand, so no colour is lost to a sample of them."""
    fill(tmp_path)
    for name in ("cat", "dog"):
        for path in sorted((tmp_path / name).iterdir()):
            Image.open(path).convert("L").save(path)
        for index in range(2500):
            os.link(tmp_path / name / "00.png", tmp_path / name / f"more{index:04}.png")
    (tmp_path / "cat" / "more1001.png").unlink()
    draw(tmp_path / "cat" / "more1001.png", size=(8, 8))
    raw = read_folder(tmp_path, LoadOptions())
    assert (raw.mode, raw.size) == ("RGB", (6, 5))
    assert "median of 2 sizes" in next(choice.reason for choice in raw.choices if choice.name == "image_size")


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
