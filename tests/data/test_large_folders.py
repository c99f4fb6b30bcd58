"""Folders of images that do not fit into memory: what small ones promise holds for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import netwright.data as nd
from netwright.data import pictures
from netwright.data.batches import eval_batches
from netwright.data.sources import PathSource
from netwright.errors import DataError
from netwright.records import LoadOptions


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of 60, of which one file lacks its end: its header is whole."""
    monkeypatch.setattr(pictures, "MEMORY_LIMIT_BYTES", 0)
    monkeypatch.setattr(pictures, "SAMPLE_FOR_STATISTICS", 4)
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for index in range(60):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
                tmp_path / label / f"{index:02}.png"
            )
    damage(tmp_path / "cat" / "07.png")
    return tmp_path


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def test_a_damaged_image_is_left_out_and_named_when_loading(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a small folder: the same samples, and nothing is left to be found while training."""
    large = nd.load(root)
    assert isinstance(large.train, PathSource)
    assert [one.name for one in large.spec.unreadable] == [str(root / "cat" / "07.png")]
    assert sum(len(list(eval_batches(large, split, batch_size=1, workers=0))) for split in large.spec.splits) == 119
    monkeypatch.setattr(pictures, "MEMORY_LIMIT_BYTES", 2**30)
    small = nd.load(root)
    assert large.spec.unreadable == small.spec.unreadable
    assert large.spec.splits == small.spec.splits
    for split in small.spec.splits:
        source, other = large.split(split), small.split(split)
        assert [source.name(i) for i in range(len(source))] == [other.name(i) for i in range(len(other))]


def test_too_many_damaged_images_are_refused(root: Path) -> None:
    """By the share that was asked for."""
    with pytest.raises(DataError, match=r"07\.png") as caught:
        nd.load(root, options=LoadOptions(max_unreadable=0))
    assert "--max-unreadable" in caught.value.cure


def test_groups_stay_with_their_images(root: Path) -> None:
    """Where one of them is left out."""
    data = nd.load(root, options=LoadOptions(group_by=r"\d(?=\.png)"))
    seen = [{data.split(name).name(i)[-5] for i in range(len(data.split(name)))} for name in data.spec.splits]
    assert sum(map(len, seen)) == len(set().union(*seen)) == 10


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("harm", [damage, Path.unlink])
def test_an_image_that_is_harmed_later_is_named(root: Path, workers: int, harm: object) -> None:
    """With the cure, from a worker process as well."""
    data = nd.load(root)
    assert isinstance(data.train, PathSource)
    harm(data.train.paths[5])
    with pytest.raises(DataError) as caught:
        list(eval_batches(data, "train", batch_size=4, workers=workers))
    assert caught.value.where == str(data.train.paths[5])
    assert "remove" in caught.value.cure
