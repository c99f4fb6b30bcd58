"""Folders of class folders: ``root/class/*.png``, or ``root/{train,val,test}/class/*``. Any format Pillow reads."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netwright.data.decoded import decoded_or_unreadable, decoded_with_facts
from netwright.data.picture_facts import Fact, PictureFacts
from netwright.data.picture_kernels import PictureKernels
from netwright.data.sources import RawData, RawSplit
from netwright.data.threads import in_threads, watched
from netwright.errors import DataError, UsageError
from netwright.pixels import FORMATS, MAX_PIXELS, plain_jpeg
from netwright.preprocess import Preprocess
from netwright.records import Choice, LoadOptions, Unreadable

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
# Headers read to learn sizes and colours, 10 to 500 µs each; of more files every second, third … is looked at.
HEADERS = 20_000
HEADER_BYTES = 2048  # the usual tables of a JPEG are 620
LAYOUT = "root/class/*.png, or root/train/class/*.png and root/test/class/*.png"
LOOKED_AT = 2_000  # files that tell what a folder of class folders holds


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a folder: files by class, those that cannot be opened, and what is something else."""

    files: dict[str, list[Path]] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def read_folder(root: Path, options: LoadOptions) -> RawData:
    """Find the images of a folder, their classes and splits; only headers are read.

    Raises:
        DataError: It holds no class folders with images, or a class only where it cannot be learned.
    """
    folders = split_folders(root)
    suffixes = Image.registered_extensions()
    found = {name: class_folders(root, folder, suffixes) for name, folder in folders.items()}
    by_split = {name: one.files for name, one in found.items()}
    classes = tuple(sorted({name for images in by_split.values() for name in images}))
    check_classes(root, by_split, classes)
    splits = {name: _raw_split(root, images, classes) for name, images in by_split.items()}
    paths = [path for split in splits.values() for path in split.paths or ()]
    size, mode, choices = look(paths, options)
    others = left_over(root, folders, found)
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
        choices=(*choices, *left_out(others)),
        unreadable=tuple(bad for one in found.values() for bad in one.unreadable),
        groups=find_groups(train.names, options.group_by),
    )


def decode_all(
    paths: Sequence[Path], preprocess: Preprocess
) -> tuple[NDArray[np.uint8], list[int], tuple[Unreadable, ...], PictureFacts]:
    """Decode images with several threads.

    Returns:
        uint8 (N, C, H, W) of those that could be read, their places in ``paths``, the others with the reason, and what
        is known of the former.
    """

    kept: list[int] = []
    known: list[Fact] = []
    bad: list[Unreadable] = []
    images = np.zeros((0, 1, 1, 1), dtype=np.uint8)
    decoded = in_threads(partial(decoded_with_facts, preprocess, PictureKernels(len(paths))), paths)
    for index, result in enumerate(watched(decoded, len(paths), "decoding images")):
        if isinstance(result, Unreadable):
            bad.append(result)
            continue
        pixels, fact = result
        if not kept:  # made once and filled, since a list to be stacked would need the memory twice
            images = np.empty((len(paths), *pixels.shape), dtype=np.uint8)
        images[len(kept)] = pixels
        kept.append(index)
        known.append(fact)
    return images[: len(kept)], kept, tuple(bad), PictureFacts.of(known, math.prod(images.shape[2:]))


def check_all(paths: Sequence[Path], preprocess: Preprocess) -> tuple[list[int], tuple[Unreadable, ...]]:
    """As ``decode_all``, without keeping pixels. It takes what reading one epoch takes; a header would not tell."""

    kernels = PictureKernels(len(paths))

    def one(path: Path) -> Unreadable | None:
        result = decoded_or_unreadable(preprocess, kernels, path)
        return result if isinstance(result, Unreadable) else None

    results = list(watched(in_threads(one, paths), len(paths), "checking images"))
    kept = [index for index, result in enumerate(results) if result is None]
    return kept, tuple(result for result in results if result is not None)


def check_unreadable(
    unreadable: tuple[Unreadable, ...], total: int, options: LoadOptions, *, what: str = "images"
) -> None:
    """Refuse data of which too many samples cannot be read.

    Raises:
        DataError: The first ten are named, with the reasons.
    """
    if not unreadable or len(unreadable) <= options.max_unreadable * total:
        return
    listing = "; ".join(f"{one.name}: {one.reason}" for one in unreadable[:10])
    enough = math.ceil(100 * len(unreadable) / total) / 100  # rounded up, or following it would not help
    raise DataError(
        where=f"{len(unreadable)} of {total} {what}",
        expected=f"at most {options.max_unreadable:.3g} of them to be unreadable",
        got=listing + ("; …" if len(unreadable) > 10 else ""),
        cure=f"Mend or remove them, or go on without them by --max-unreadable {enough:g}.",
    )


def split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split; the root as train where the folders are classes.

    Raises:
        DataError: Folders are called as splits are, but lie as neither layout has them.
    """
    folders = [entry for entry in _visible(root) if entry.is_dir()]
    found = {split: [entry for entry in folders if entry.name.casefold() in names] for split, names in SPLITS.items()}
    named = [entry for entries in found.values() for entry in entries]
    nested = [entry for entry in named if any(below.is_dir() for below in _visible(entry))]
    if not named or (len(named) == 1 and not nested and len(folders) > 1):
        return {"train": root}  # one folder called "train", beside "bus" and "car", is a class of trains
    listing = ", ".join(entry.name for entry in named)
    if not any(entry in nested for entry in found["train"]):
        raise _nothing(root, f"folders called {listing}, and no train folder with class folders in it")
    for split, entries in found.items():
        if len(entries) > 1:
            raise DataError(
                where=str(root),
                expected=f"one folder for {split}",
                got=", ".join(entry.name for entry in entries),
                cure="Put them together, or move the others out of the folder.",
            )
        if entries and entries[0] not in nested:
            raise _nothing(entries[0], "no class folders, so nothing says what is right")
    return {split: entries[0] for split, entries in found.items() if entries}


def mostly_of(folder: Path, suffixes: Collection[str]) -> bool:
    """Whether most of the first files in its folders end so: a note among images makes no texts of them."""
    walked = (files for entry in sorted(folder.iterdir()) if entry.is_dir() for _, _, files in os.walk(entry))
    inside = (name for files in walked for name in files if name[:1] != ".")
    files = [_suffix(name) for name in islice(inside, LOOKED_AT)]
    return 2 * sum(suffix in suffixes for suffix in files) > len(files)


def _suffix(name: str) -> str:
    """As ``Path.suffix`` has it of a name that is not hidden, in a fifth of the time."""
    _, dot, last = name.rpartition(".")
    return f".{last}".casefold() if dot and last else ""


def class_folders(root: Path, folder: Path, suffixes: Collection[str]) -> Found:
    """Files by class, of those with these suffixes; hidden ones are left out, and only regular files are opened."""
    found = Found()
    for entry in _visible(folder):
        if not entry.is_dir():
            found.others.append(_shown(root, entry))
        elif folder.resolve().is_relative_to(entry.resolve()):  # it would hold every other class
            found.others.append(f"{_shown(root, entry)} (a link to a folder above it)")
        else:
            found.files[entry.name] = _files(root, entry, suffixes, found)
    return found


def _files(root: Path, below: Path, suffixes: Collection[str], found: Found) -> list[Path]:
    """Sorted files of one class; what else lies there goes to ``found``."""
    kept = []
    for folder, inner, files in os.walk(below, onerror=_refuse_to_skip):
        here = Path(folder)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        links = [path for path in (here / name for name in inner) if path.is_symlink()]
        found.others.extend(f"{_shown(root, path)} (a link to a folder)" for path in links)
        for name in sorted(name for name in files if not name.startswith(".")):
            path = here / name
            if _suffix(name) not in suffixes:
                found.others.append(_shown(root, path))
            elif (reason := no_file(path)) is not None:
                found.unreadable.append(Unreadable(name=str(path), reason=reason))
            else:
                kept.append(path)
    return sorted(kept)


def no_file(path: Path) -> str | None:
    """Why a path must not be opened: a pipe would wait for ever, a link may lead nowhere."""
    try:
        return None if stat.S_ISREG(path.stat().st_mode) else "not a regular file"
    except FileNotFoundError:
        return "a link to nowhere"
    except OSError as error:
        return f"cannot be looked at: {error.strerror or error}"


def _refuse_to_skip(error: OSError) -> None:
    """A class folder that cannot be listed would otherwise lose its images unseen."""
    raise DataError(
        where=str(error.filename),
        expected="a folder that can be listed",
        got=error.strerror or str(error),
        cure="Allow it to be read, or move it out of the folder.",
    ) from error


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        _refuse_to_skip(error)
        raise


def _shown(root: Path, path: Path) -> str:
    """A path below the root, without control characters: it is printed with the choices."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(path.relative_to(root)))


def left_over(root: Path, folders: Mapping[str, Path], found: Mapping[str, Found]) -> list[str]:
    """What lies in the folder and is used for nothing."""
    others = [other for one in found.values() for other in one.others]
    if folders["train"] != root:
        used = set(folders.values())
        others += [_shown(root, entry) for entry in _visible(root) if entry not in used]
    return others


def left_out(others: list[str], what: str = "images") -> tuple[Choice, ...]:
    """What is used for nothing, as a choice that is printed."""
    if not others:
        return ()
    listing = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
    return (Choice(name="left out", value=len(others), reason=f"no {what} of a class: {listing}"),)


def check_classes(
    root: Path, by_split: dict[str, dict[str, list[Path]]], classes: tuple[str, ...], *, what: str = "images"
) -> None:
    """Refuse a folder without classes, or with one, or with one that cannot be learned.

    Raises:
        DataError: It is named.
    """
    if not classes:
        loose = [entry.name for entry in _visible(root) if entry.is_file()]
        raise _nothing(root, f"no folders, and files {', '.join(loose[:3])}" if loose else "an empty folder")
    empty = [name for name in classes if not by_split["train"].get(name)]
    if empty:
        elsewhere = any(found.get(empty[0]) for found in by_split.values())
        raise DataError(
            where=f"class {', '.join(empty[:5])}",
            expected=f"{what} of each class in the training data",
            got="none" + (", but some in another split" if elsewhere else ""),
            cure=f"Add {what} to it, or remove its folder.",
        )
    if len(classes) == 1:
        raise DataError(
            where=str(root),
            expected="at least two classes",
            got=f'one class folder, "{classes[0]}"',
            cure=f"Arrange the {what} as {LAYOUT}.",
        )


def _raw_split(root: Path, found: dict[str, list[Path]], classes: tuple[str, ...]) -> RawSplit:
    pairs = [(path, index) for index, name in enumerate(classes) for path in found.get(name, ())]
    return RawSplit(
        None,
        tuple(path for path, _ in pairs),
        np.asarray([index for _, index in pairs], dtype=np.int64),
        below_root(root, [path for path, _ in pairs]),
    )


def below_root(root: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    """Each path without the root before it; ``relative_to``, which compares part by part, where it begins otherwise."""
    begin = str(root).rstrip(os.sep) + os.sep
    return tuple(
        text[len(begin) :] if (text := str(path)).startswith(begin) else str(path.relative_to(root)) for path in paths
    )


def look(
    paths: Sequence[Path], options: LoadOptions
) -> tuple[tuple[int, int] | None, Literal["L", "RGB"], tuple[Choice, ...]]:
    """Size and colour from the headers of up to ``HEADERS`` images."""
    sizes, modes = [], set()
    looked = paths[:: max(1, math.ceil(len(paths) / HEADERS))]
    of = "" if len(looked) == len(paths) else f", in {len(looked):,} headers of {len(paths):,}"
    for path in looked:
        try:
            header = _header(path)
        except Exception:  # whatever a damaged file leads Pillow to; decoding names the file and the reason
            continue
        if header is not None:
            sizes.append(header[0])
            modes.add(header[1])
    grey = bool(modes) and modes <= {"1", "L", "LA", "I", "I;16", "I;16B", "F"}
    mode: Literal["L", "RGB"] = "L" if grey else "RGB"
    reason = f"the images are {', '.join(sorted(modes))}{of}" if modes else "no header could be read"
    choices = [Choice(name="image_mode", value=mode, reason=reason, asked=options.image_mode is not None)]
    if not sizes or options.image_size is not None:
        return options.image_size, mode, tuple(choices)
    heights, widths = zip(*sizes, strict=True)
    size = (round(float(np.median(heights))), round(float(np.median(widths))))
    distinct = len(set(sizes))
    why = "all images have it" if distinct == 1 else f"the median of {distinct} sizes; images are resized to it"
    why += of
    choices.append(Choice(name="image_size", value=size, reason=why))
    return size, mode, tuple(choices)


def _header(path: Path) -> tuple[tuple[int, int], str] | None:
    """(height, width) and mode of an image, upright; None of one that is not decoded."""
    with path.open("rb", buffering=0) as file:
        plain = plain_jpeg(file.read(HEADER_BYTES))
    if plain is not None:
        size = (plain.height, plain.width)
        return (size, plain.mode) if plain.height * plain.width <= MAX_PIXELS else None
    with Image.open(path) as image:
        if image.format not in FORMATS or not 0 < image.width * image.height <= MAX_PIXELS:
            return None
        turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations that swap height and width
        return ((image.width, image.height) if turned else (image.height, image.width)), image.mode


def find_groups(names: Sequence[str], pattern: str | None) -> tuple[str, ...] | None:
    """The group of each name: what the expression matches, or its first bracket; None without an expression.

    Raises:
        UsageError: It is no expression, or a name does not match.
    """
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
