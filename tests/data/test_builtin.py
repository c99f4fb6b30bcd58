"""Data sets by name: the counts that were published, and damaged files refused."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import netwright.data as nd
from netwright.data.builtin import CIFAR_CLASSES, NAMES, PUBLISHED, read_cifar, read_idx
from netwright.errors import DataError

# LeCun, Cortes & Burges, "The MNIST database": samples of each digit in the two published files, as counted in them by
# many; the sums are the published 60,000 and 10,000.
MNIST_TRAIN = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
MNIST_TEST = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)


def idx(values: np.ndarray) -> bytes:
    """The format as published: two zeros, type, number of dimensions, sizes, values."""
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content))
    return path


def test_digits_are_those_of_scikit_learn() -> None:
    """1,797 grey images of 8 x 8, split 70/10/20 by class; 0 to 16 became 0 to 255."""
    data = nd.load("digits")
    assert {name: split.count for name, split in data.spec.splits.items()} == {"train": 1258, "val": 180, "test": 359}
    assert data.spec.classes == tuple("0123456789")
    assert data.spec.inputs[0].shape == (1, 8, 8)
    published = load_digits()
    pixels = {image.astype(np.uint8).tobytes() for image in np.rint(published.images * 255 / 16)}
    counts = np.zeros(10, dtype=int)
    for split in ("train", "val", "test"):
        source = data.split(split)
        stored = source.gather(np.arange(len(source)))[0]["image"].numpy()
        assert all(image.tobytes() in pixels for image in stored)
        counts += np.bincount(source.targets, minlength=10)
    assert counts.tolist() == np.bincount(published.target).tolist()


def test_digits_keep_their_labels() -> None:
    """Each image has the label that scikit-learn gives the same pixels."""
    published = load_digits()
    labels = {
        image.astype(np.uint8).tobytes(): label
        for image, label in zip(np.rint(published.images * 255 / 16), published.target, strict=True)
    }
    data = nd.load("digits")
    stored, targets = data.train.gather(np.arange(len(data.train)))
    assert [labels[image.tobytes()] for image in stored["image"].numpy()] == targets.tolist()


def test_mnist_has_its_published_counts(store: Path) -> None:
    """55,000 train, 5,000 val, and the published test set of 10,000 untouched; class counts add up."""
    data = nd.load("mnist")
    assert {name: split.count for name, split in data.spec.splits.items()} == {
        "train": 55_000, "val": 5_000, "test": 10_000,
    }  # fmt: skip
    counts = {name: np.asarray(split.class_counts) for name, split in data.spec.splits.items()}
    assert tuple(counts["train"] + counts["val"]) == MNIST_TRAIN
    assert tuple(counts["test"]) == MNIST_TEST
    assert data.test is not None
    assert np.array_equal(data.test.targets, read_idx(store / "mnist" / "t10k-labels-idx1-ubyte.gz", 1))
    normalise = data.spec.preprocess.tensor[1].model_dump()
    assert normalise["mean"] == pytest.approx((0.1307,), abs=0.001)  # the mean and deviation that everybody uses
    assert normalise["std"] == pytest.approx((0.3081,), abs=0.001)


@pytest.mark.parametrize("shape", [(5, 4, 3), (0, 28, 28), (7,)])
def test_idx_files_are_read(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Values come back in their shape, also where there are none."""
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = write(tmp_path / "a.gz", idx(values))
    assert np.array_equal(read_idx(path, len(shape)), values)


IMAGES = idx(np.zeros((5, 4, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0\0\x0d\x03" + IMAGES[4:], "header 00000d03"),  # floats
        (b"\1" + IMAGES[1:], "header 01000803"),
        (idx(np.zeros(5, dtype=np.uint8)), "header 00000801"),  # labels where images should be
        (IMAGES[:-1], "59 bytes"),
        (IMAGES + b"\0", "61 bytes"),
        (IMAGES[:9], "header"),
        (b"", "header"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "0 bytes"),  # a size beyond all memory
        (b"\0\0\x08\x03" + b"\x80\0\0\0" * 2 + b"\0\0\0\x04", "0 bytes"),  # 2^64, which is 0 in 64 bits
    ],
)
def test_a_spoilt_idx_file_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    """A wrong magic number, sizes that do not fit the bytes, or a header cut short."""
    path = write(tmp_path / "a.gz", content)
    with pytest.raises(DataError, match="a.gz") as caught:
        read_idx(path, 3)
    assert words in caught.value.got


def test_a_file_that_is_not_gzip_is_named(tmp_path: Path) -> None:
    """The page of a hotel's network in a file's place; an archive cut short; bits turned over."""
    packed = gzip.compress(IMAGES)
    for content in (
        b"<html>Log in</html>",
        packed[:-10],
        packed[:12],
        packed[:15] + b"\xff\xff\xff" + packed[18:],
        b"",
    ):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(DataError, match="a.gz"):
            read_idx(tmp_path / "a.gz", 3)


def fill(root: Path, name: str, *, train: int = 60, test: int = 20, labels: int = 10) -> None:
    for stem, count in (("train", train), ("t10k", test)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write(root / name / f"{stem}-images-idx3-ubyte.gz", idx(images))
        write(root / name / f"{stem}-labels-idx1-ubyte.gz", idx((np.arange(count) % labels).astype(np.uint8)))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_files_in_the_store_are_used(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files put into NETWRIGHT_DATA by hand are read without a network; a choice says where they were found."""
    monkeypatch.setenv("NETWRIGHT_DATA", str(tmp_path))
    fill(tmp_path, name, train=120)
    data = nd.load(name)
    assert {key: split.count for key, split in data.spec.splits.items()} == {"train": 110, "val": 10, "test": 20}
    assert data.spec.classes == PUBLISHED[name].classes
    assert str(tmp_path / name) in next(choice.value for choice in data.spec.choices if choice.name == "store")


def test_labels_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label of 11 in a set of ten classes, or fewer labels than images."""
    monkeypatch.setenv("NETWRIGHT_DATA", str(tmp_path))
    fill(tmp_path, "mnist", labels=12)
    with pytest.raises(DataError, match="labels up to 11"):
        nd.load("mnist")
    fill(tmp_path, "mnist")
    write(tmp_path / "mnist" / "train-labels-idx1-ubyte.gz", idx(np.zeros(59, dtype=np.uint8)))
    with pytest.raises(DataError, match="59 labels"):
        nd.load("mnist")


def archive(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def records(count: int, seed: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Records as published: a byte of label, then 1,024 red, 1,024 green and 1,024 blue, row by row."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), (np.arange(count) % 10).astype(np.uint8)
    content = b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))
    return content, images, labels


def cifar(path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    batches = {f"data_batch_{i}": records(24, i) for i in range(1, 6)}
    test = records(20, 9)
    members = {f"cifar-10-batches-bin/{name}.bin": one[0] for name, one in batches.items()}
    members |= {
        "cifar-10-batches-bin/batches.meta.txt": "\n".join(CIFAR_CLASSES).encode(),
        "cifar-10-batches-bin/readme.html": b"<html></html>",
        "cifar-10-batches-bin/test_batch.bin": test[0],
    }
    return archive(path, members), np.concatenate([one[1] for one in batches.values()]), test[1]


def test_cifar_is_read_in_its_binary_layout(tmp_path: Path) -> None:
    """Five training batches in order, the test batch apart, planes as channels."""
    path, train, test = cifar(tmp_path / "cifar.tar.gz")
    splits = read_cifar(path)
    assert np.array_equal(splits["train"][0], train)
    assert np.array_equal(splits["test"][0], test)
    assert splits["train"][1].tolist() == [i % 10 for i in range(24)] * 5


def test_cifar_loads_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour images of 32 x 32, ten named classes, the published test batch as test split."""
    monkeypatch.setenv("NETWRIGHT_DATA", str(tmp_path))
    _, _, test = cifar(tmp_path / "cifar10" / "cifar-10-binary.tar.gz")
    data = nd.load("cifar10")
    assert data.spec.inputs[0].shape == (3, 32, 32)
    assert data.spec.classes == CIFAR_CLASSES
    assert {key: split.count for key, split in data.spec.splits.items()} == {"train": 110, "val": 10, "test": 20}
    assert data.test is not None
    assert np.array_equal(data.test.gather(np.arange(20))[0]["image"].numpy(), test)
    assert [entry.name for entry in (tmp_path / "cifar10").iterdir()] == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"data_batch_1.bin": b"\0" * 3073}, "other members"),
        ({"test_batch.bin": b"\0" * 3073}, "other members"),
        ({"data_batch_1.bin": b"\0" * 3072, "test_batch.bin": b"\0" * 3073}, "3,072 in data_batch_1.bin"),
        ({}, "other members: none"),
        (
            {f"data_batch_{i}.bin": b"\0" * 3073 for i in (1, 2, 3, 4)} | {"test_batch.bin": b"\0" * 3073},
            "other members",
        ),
    ],
)
def test_an_archive_of_something_else_is_named(members: dict[str, bytes], words: str, tmp_path: Path) -> None:
    """A missing batch, or records that are cut short."""
    path = archive(tmp_path / "cifar.tar.gz", members)
    with pytest.raises(DataError) as caught:
        read_cifar(path)
    assert words in caught.value.got


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    """Cut short, bytes turned over, or no archive at all."""
    path, _, _ = cifar(tmp_path / "cifar.tar.gz")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:1000] + b"\0" * 50 + whole[1050:], b"<html>", b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"cifar\.tar\.gz"):
            read_cifar(path)


def test_members_outside_the_archive_are_never_written(tmp_path: Path) -> None:
    """A member called ../../evil.bin is refused by its name; nothing lands on the disk."""
    folder = tmp_path / "a" / "b"
    archive(folder / "cifar.tar.gz", {"../../evil.bin": records(1, 0)[0], "test_batch.bin": records(1, 1)[0]})
    with pytest.raises(DataError, match=r"evil\.bin"):
        read_cifar(folder / "cifar.tar.gz")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "cifar.tar.gz"]


def test_every_published_file_has_a_digest() -> None:
    """Nothing that is downloaded goes unchecked, and no name stands for two sets."""
    assert NAMES == ("digits", "mnist", "fashion_mnist", "kmnist", "cifar10")
    for published in PUBLISHED.values():
        assert len(published.classes) == len(set(published.classes)) == 10
        for file in published.files:
            assert file.urls
            assert len(file.sha256 or "") == 64 or len(file.md5 or "") == 32
