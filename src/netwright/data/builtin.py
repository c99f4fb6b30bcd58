"""Data sets by name: digits from scikit-learn, and four published ones in their published file formats."""

from __future__ import annotations

import gzip
import math
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from netwright.data.download import fetch, store
from netwright.data.sources import RawData, RawSplit
from netwright.errors import DataError
from netwright.randomness import unchanged_random
from netwright.records import Choice, LoadOptions

DIGITS = tuple("0123456789")
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR_RECORD = 1 + 3 * 32 * 32  # one byte of class, then red, green and blue planes


@dataclass(frozen=True, slots=True)
class File:
    """A published file: its name, where it is, and its digest as published."""

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A published data set."""

    classes: tuple[str, ...]
    files: tuple[File, ...]
    layout: Literal["idx", "cifar"] = "idx"


def _idx(base: str, digests: dict[str, str], kind: Literal["sha256", "md5"]) -> tuple[File, ...]:
    return tuple(File(name, (f"{base}/{name}",), **{kind: digest}) for name, digest in digests.items())


PUBLISHED: dict[str, Published] = {
    "mnist": Published(
        DIGITS,
        _idx(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            {
                "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            },
            "sha256",
        ),
    ),
    "fashion_mnist": Published(
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        _idx(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            {
                "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
                "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
                "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
            },
            "md5",
        ),
    ),
    "kmnist": Published(
        tuple("おきすつなはまやれを"),
        _idx(
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist",
            {
                "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
                "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
                "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
                "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
            },
            "md5",
        ),
    ),
    "cifar10": Published(
        CIFAR_CLASSES,
        (
            File(
                "cifar-10-binary.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                md5="c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
        "cifar",
    ),
}
NAMES = ("digits", *PUBLISHED)


def read(name: str, options: LoadOptions) -> RawData:
    """Read a data set by name, downloading it where it is not in the store.

    Raises:
        DownloadError: It is not there and did not arrive whole.
        DataError: A file is not what it was published as.
    """
    del options
    if name == "digits":
        return _digits()
    published = PUBLISHED[name]
    folder = store() / name
    paths = {
        file.name: fetch(file.urls, folder / file.name, sha256=file.sha256, md5=file.md5) for file in published.files
    }
    if published.layout == "cifar":
        splits = read_cifar(paths["cifar-10-binary.tar.gz"])
    else:
        splits = {
            split: (
                read_idx(paths[f"{stem}-images-idx3-ubyte.gz"], 3),
                read_idx(paths[f"{stem}-labels-idx1-ubyte.gz"], 1),
            )
            for split, stem in (("train", "train"), ("test", "t10k"))
        }
    raw = {split: _split(images, labels, split, published.classes) for split, (images, labels) in splits.items()}
    where = Choice(name="store", value=str(folder), reason="NETWRIGHT_DATA, or the user's cache folder")
    return RawData(
        name=name,
        source=name,
        classes=published.classes,
        train=raw["train"],
        test=raw["test"],
        mode="RGB" if published.layout == "cifar" else "L",
        choices=(where,),
    )


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes: big-endian header, then the values.

    Source:
        The format's description in "The MNIST database of handwritten digits", LeCun, Cortes & Burges.

    Raises:
        DataError: The header or the size is not that of such a file.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise _spoilt(path, "a gzip file", str(error)) from error
    head = 4 + 4 * dimensions
    if len(content) < head or content[:4] != bytes((0, 0, 8, dimensions)):
        raise _spoilt(path, f"an IDX file of bytes in {dimensions} dimension(s)", f"a header {content[:4].hex()}")
    shape = tuple(int(size) for size in np.frombuffer(content[4:head], dtype=">u4"))
    if len(content) - head != math.prod(shape):
        raise _spoilt(path, f"{shape} values, as its header says", f"{len(content) - head:,} bytes")
    values: NDArray[np.uint8] = np.frombuffer(content, dtype=np.uint8, offset=head).reshape(shape).copy()
    return values  # a copy, since torch wants it writable


def read_cifar(path: Path) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Read CIFAR-10's binary version from its archive, member by member; nothing is unpacked to the disk.

    Raises:
        DataError: The archive is damaged, or its members are not as published.
    """
    found: dict[str, NDArray[np.uint8]] = {}
    try:
        with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() and member.name.endswith(".bin") else None
                if file is not None:
                    content = np.frombuffer(file.read(), dtype=np.uint8)
                    if len(content) % CIFAR_RECORD:
                        raise _spoilt(path, f"records of {CIFAR_RECORD:,} bytes", f"{len(content):,} in {member.name}")
                    found[Path(member.name).name] = content.reshape(-1, CIFAR_RECORD)
            while stream.read(1 << 20):  # the checksum stands behind the end of the archive
                pass
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise _spoilt(path, "a gzipped tar archive", str(error)) from error
    if sorted(found) != sorted((*CIFAR_TRAIN, "test_batch.bin")):
        raise _spoilt(path, "data_batch_1.bin to 5 and test_batch.bin", f"other members: {', '.join(found) or 'none'}")
    parts = {"train": [found[name] for name in CIFAR_TRAIN], "test": [found["test_batch.bin"]]}
    whole = {split: np.concatenate(records) for split, records in parts.items()}
    return {split: (values[:, 1:].reshape(-1, 3, 32, 32), values[:, 0]) for split, values in whole.items()}


def _digits() -> RawData:
    with unchanged_random(torch.device("cpu")):
        from sklearn.datasets import load_digits

    found = load_digits()
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)  # they come as 0 to 16
    split = _split(images, found.target, "digits", DIGITS)
    reason = "embedded in scikit-learn: 1,797 pictures of 8 x 8"
    return RawData(
        name="digits",
        source="digits",
        classes=DIGITS,
        train=split,
        mode="L",
        choices=(Choice(name="store", value="none", reason=reason),),
    )


def _split(images: NDArray[np.uint8], labels: NDArray[np.integer], split: str, classes: tuple[str, ...]) -> RawSplit:
    if len(images) != len(labels) or int(labels.max(initial=0)) >= len(classes):
        raise DataError(
            where=f"{split} split",
            expected=f"a label below {len(classes)} for each of {len(images):,} images",
            got=f"{len(labels):,} labels up to {int(labels.max(initial=0))}",
            cure="Remove these files; they will be downloaded again.",
        )
    pictures = images[:, None] if images.ndim == 3 else images
    names = tuple(f"{split}[{index}]" for index in range(len(labels)))
    return RawSplit(np.ascontiguousarray(pictures), None, labels.astype(np.int64), names)


def _spoilt(path: Path, expected: str, got: str) -> DataError:
    return DataError(where=str(path), expected=expected, got=got, cure="Remove the file; it will be downloaded again.")
