"""Folders of class folders: ``root/class/*.png``, or ``root/{train,val,test}/class/*``. Any format Pillow reads."""

from __future__ import annotations

import math
import re
import stat
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netwright.data.sources import RawData, RawSplit
from netwright.errors import DataError, UsageError
from netwright.preprocess import MAX_PIXELS, Preprocess, decode
from netwright.records import Choice, LoadOptions, Unreadable

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
# Headers read to learn sizes and colours; more tell nothing new.
HEADERS = 2000
LAYOUT = "root/class/*.png, or root/train/class/*.png and root/test/class/*.png"


def read_folder(root: Path, options: LoadOptions) -> RawData:
    """Find the images of a folder, their classes and splits; only headers are read.

    Raises:
        DataError: It holds no class folders with images, or a class only where it cannot be learned.
    """
    folders = _split_folders(root)
    by_split = {name: _class_folders(folder) for name, folder in folders.items()}
    classes = tuple(sorted({name for found in by_split.values() for name in found}))
    _check_classes(root, by_split, classes)
    splits = {name: _raw_split(root, found, classes) for name, found in by_split.items()}
    paths = [path for split in splits.values() for path in split.paths or ()]
    if not paths:
        raise _nothing(root, f"{len(classes)} class folders without an image")
    size, mode, choices = _look(paths, options)
    train = splits["train"]
    return RawData(
        name=root.resolve().name,
        source=str(root),
        classes=classes,
        train=train,
        val=splits.get("val"),
        test=splits.get("test"),
        mode=mode,
        size=size,
        choices=choices,
        groups=_groups(train.names, options.group_by),
    )


def decode_all(
    paths: Sequence[Path], preprocess: Preprocess, max_workers: int | None = None
) -> tuple[NDArray[np.uint8], list[int], tuple[Unreadable, ...]]:
    """Decode images with several threads.

    Returns:
        uint8 (N, C, H, W) of those that could be read, their places in ``paths``, and the others with the reason.
    """

    def one(path: Path) -> NDArray[np.uint8] | Unreadable:
        try:
            return decode(preprocess, path)
        except DataError as error:
            return Unreadable(name=str(path), reason=error.got)

    with ThreadPoolExecutor(max_workers) as pool:
        results = list(_watched(pool.map(one, paths), len(paths)))
    kept = [index for index, result in enumerate(results) if not isinstance(result, Unreadable)]
    bad = tuple(result for result in results if isinstance(result, Unreadable))
    good = [result for result in results if not isinstance(result, Unreadable)]
    images = np.stack(good) if good else np.zeros((0, 1, 1, 1), dtype=np.uint8)
    return images, kept, bad


def check_unreadable(unreadable: tuple[Unreadable, ...], total: int, options: LoadOptions) -> None:
    """Refuse data of which too many samples cannot be read.

    Raises:
        DataError: The first ten are named, with the reasons.
    """
    if not unreadable or len(unreadable) <= options.max_unreadable * total:
        return
    listing = "; ".join(f"{one.name}: {one.reason}" for one in unreadable[:10])
    enough = math.ceil(100 * len(unreadable) / total) / 100  # rounded up, or following it would not help
    raise DataError(
        where=f"{len(unreadable)} of {total} images",
        expected=f"at most {options.max_unreadable:.3g} of them to be unreadable",
        got=listing + ("; …" if len(unreadable) > 10 else ""),
        cure=f"Mend or remove them, or go on without them by --max-unreadable {enough:g}.",
    )


def _split_folders(root: Path) -> dict[str, Path]:
    entries = {entry.name.casefold(): entry for entry in sorted(root.iterdir()) if entry.is_dir()}
    found = {split: entries[name] for split, names in SPLITS.items() for name in names if name in entries}
    if "train" not in found:
        return {"train": root}
    return found


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """Images by class. Hidden files are left out, and whatever is no regular file is never opened."""
    return {
        entry.name: sorted(path for path in entry.rglob("*") if _is_image(path, entry))
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }


def _is_image(path: Path, below: Path) -> bool:
    if any(part.startswith(".") for part in path.relative_to(below).parts):
        return False
    if path.suffix.casefold() not in Image.registered_extensions():
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:  # a link that points nowhere, or round in a circle
        return False


def _check_classes(root: Path, by_split: dict[str, dict[str, list[Path]]], classes: tuple[str, ...]) -> None:
    if not classes:
        loose = [entry.name for entry in sorted(root.iterdir()) if entry.is_file()]
        raise _nothing(root, f"no folders, and files {', '.join(loose[:3])}" if loose else "an empty folder")
    empty = [name for name in classes if not by_split["train"].get(name)]
    if empty:
        elsewhere = any(found.get(empty[0]) for found in by_split.values())
        raise DataError(
            where=f"class {', '.join(empty[:5])}",
            expected="images of each class in the training data",
            got="none" + (", but some in another split" if elsewhere else ""),
            cure="Add images to it, or remove its folder.",
        )
    if len(classes) == 1:
        raise DataError(
            where=str(root),
            expected="at least two classes",
            got=f'one class folder, "{classes[0]}"',
            cure=f"Arrange the images as {LAYOUT}.",
        )


def _raw_split(root: Path, found: dict[str, list[Path]], classes: tuple[str, ...]) -> RawSplit:
    pairs = [(path, index) for index, name in enumerate(classes) for path in found.get(name, ())]
    return RawSplit(
        None,
        tuple(path for path, _ in pairs),
        np.asarray([index for _, index in pairs], dtype=np.int64),
        tuple(str(path.relative_to(root)) for path, _ in pairs),
    )


def _look(
    paths: list[Path], options: LoadOptions
) -> tuple[tuple[int, int] | None, Literal["L", "RGB"], tuple[Choice, ...]]:
    """Size and colour from the headers of up to 2,000 images."""
    sizes, modes = [], set()
    for path in paths[:: max(1, len(paths) // HEADERS)]:
        try:
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    continue
                turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations that swap height and width
                sizes.append((image.width, image.height) if turned else (image.height, image.width))
                modes.add(image.mode)
        except Exception:  # whatever a damaged file leads Pillow to; decoding names the file and the reason
            continue
    grey = bool(modes) and modes <= {"1", "L", "LA", "I", "I;16", "I;16B", "F"}
    mode: Literal["L", "RGB"] = "L" if grey else "RGB"
    reason = f"the images are {', '.join(sorted(modes))}" if modes else "no header could be read"
    choices = [Choice(name="image_mode", value=mode, reason=reason, asked=options.image_mode is not None)]
    if not sizes or options.image_size is not None:
        return options.image_size, mode, tuple(choices)
    heights, widths = zip(*sizes, strict=True)
    size = (round(float(np.median(heights))), round(float(np.median(widths))))
    distinct = len(set(sizes))
    why = "all images have it" if distinct == 1 else f"the median of {distinct} sizes; images are resized to it"
    choices.append(Choice(name="image_size", value=size, reason=why))
    return size, mode, tuple(choices)


def _groups(names: Sequence[str], pattern: str | None) -> tuple[str, ...] | None:
    if pattern is None:
        return None
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            where="--group-by",
            expected="a regular expression",
            got=f"{pattern!r}: {error}",
            cure="Mend the expression.",
        ) from error
    found = []
    for name in names:
        match = expression.search(name)
        if match is None:
            raise UsageError(
                where="--group-by",
                expected="an expression that matches each file's name",
                got=f"{pattern!r}, which does not match {name}",
                cure=r"For example (\w+)_\d+ for speaker_12.png.",
            )
        found.append(match.group(1) if match.groups() else match.group(0))
    return tuple(found)


def _nothing(root: Path, got: str) -> DataError:
    return DataError(
        where=str(root),
        expected="a folder for each class, with images in it",
        got=got,
        cure=f"Arrange them as {LAYOUT}.",
    )


def _watched(results, total: int):  # type: ignore[no-untyped-def]
    """Pass results on; show a bar where it takes long and somebody looks."""
    if total < 2000 or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(results, "decoding images", total=total, console=Console(stderr=True), transient=True)
