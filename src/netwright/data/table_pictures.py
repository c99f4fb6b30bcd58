"""Columns of a table that name pictures: decoded beside the numbers of their row. ``N`` rows, ``C`` channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from netwright.data import images, pictures
from netwright.data.answers import find_targets, read_answers
from netwright.data.columns import read_pieces
from netwright.data.compact import PIECE_ROWS, CompactColumn, read_compact
from netwright.data.facts import channel_statistics
from netwright.data.picture_kernels import kernels_among
from netwright.data.sources import RawData, RawSplit
from netwright.preprocess import DecodeImage, Normalise, Operation, Preprocess, Resize, Scale, decode
from netwright.records import Choice, FieldSpec, LoadOptions, Unreadable
from netwright.rows import is_missing, slug

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of one column.

    Attributes:
        column: Its name in the file.
        preprocess: How they are decoded, and put to mean 0 and deviation 1.
        paths: A file a row.
        pixels: uint8 (N, C, H, W); None where files are decoded when they are asked for.
    """

    column: str
    preprocess: Preprocess
    paths: tuple[Path, ...]
    pixels: NDArray[np.uint8] | None

    @property
    def field(self) -> str:
        """What the module may call it."""
        return slug(self.column)

    def gather(self, indices: NDArray[np.int64]) -> Tensor:
        """uint8 (B, C, H, W)."""
        if self.pixels is not None:
            return torch.from_numpy(self.pixels[indices])
        resize = kernels_among(len(self.paths)).resize
        return torch.from_numpy(np.stack([decode(self.preprocess, self.paths[index], resize) for index in indices]))

    def take(self, where: NDArray[np.int64]) -> Pictures:
        """Those of some rows."""
        pixels = None if self.pixels is None else self.pixels[where]
        return replace(self, paths=tuple(self.paths[index] for index in where), pixels=pixels)

    def fitted(self, train: NDArray[np.int64]) -> Pictures:
        """With mean and deviation of the training rows."""
        step = max(1, len(train) // pictures.SAMPLE_FOR_STATISTICS)
        mean, std = channel_statistics(self.gather(train[::step]).numpy())
        scaled = Normalise(mean=tuple(v / 255 for v in mean), std=tuple(max(v / 255, 1e-6) for v in std))
        return replace(
            self, preprocess=Preprocess(operations=(*self.preprocess.operations, Scale(factor=1 / 255), scaled))
        )

    def spec(self) -> FieldSpec:
        """The field of a batch."""
        return FieldSpec(name=self.field, shape=tuple(self.gather(np.arange(1)).shape[1:]), dtype="float32")


def picture_columns(frame: pd.DataFrame) -> list[str]:
    """Columns of the first rows whose cells are all paths of pictures."""
    suffixes = Image.registered_extensions()

    def named(cells: Iterable[object]) -> bool:
        there = [str(cell).strip() for cell in cells if not is_missing(cell)]
        return bool(there) and all(Path(cell).suffix.casefold() in suffixes for cell in there)

    return [str(name) for name in frame.columns if named(frame[name])]


def read_pictures(
    files: Mapping[str, Path], column: str, options: LoadOptions
) -> tuple[Pictures, NDArray[np.bool_], tuple[Unreadable, ...], tuple[Choice, ...]]:
    """The pictures that a column names, relative to its file; all files' rows behind one another.

    Returns:
        The pictures of all rows, without statistics; which rows have one, bool (N,); the others with the reason; and
        what was decided.

    Raises:
        DataError: Too many cannot be read.
    """
    paths: list[Path] = []
    for file in files.values():
        for piece in read_pieces(file, rows=0):
            paths += [file.parent / str(cell).strip() for cell in piece[column]]
    size, mode, choices = images.look(paths, options)
    operations: list[Operation] = [DecodeImage(mode=options.image_mode or mode)]
    if size is not None:
        operations.append(Resize(height=size[0], width=size[1]))
    decoder = Preprocess(operations=tuple(operations))
    height, width = size or (224, 224)
    good = np.zeros(len(paths), dtype=np.bool_)
    pixels: NDArray[np.uint8] | None = None
    if 3 * height * width * len(paths) > pictures.MEMORY_LIMIT_BYTES:
        kept, bad = images.check_all(paths, decoder)
    else:
        read, kept, bad, _ = images.decode_all(paths, decoder)
        pixels = np.zeros((len(paths), *read.shape[1:]), dtype=np.uint8)
        pixels[kept] = read
    good[kept] = True
    images.check_unreadable(bad, len(paths), options, what=f"pictures of the column {column}")
    told = tuple(one.model_copy(update={"name": f"{one.name} {column}"}) for one in choices)
    return Pictures(column, decoder, tuple(paths), pixels), good, bad, told


def all_pictures(
    files: Mapping[str, Path], columns: Sequence[str], options: LoadOptions
) -> tuple[list[Pictures], NDArray[np.bool_] | None, tuple[Unreadable, ...], list[Choice]]:
    """Those of several columns; which rows have all of them, None where there is no such column."""
    found: list[Pictures] = []
    good: NDArray[np.bool_] | None = None
    bad: tuple[Unreadable, ...] = ()
    choices: list[Choice] = []
    for column in columns:
        made, there, lost, told = read_pictures(files, column, options)
        found.append(made)
        good = there if good is None else good & there
        bad += lost
        choices += [Choice(name=column, value="pictures", reason="its cells are paths of such"), *told]
    return found, good, bad, choices


def read_listed_pictures(
    files: Mapping[str, Path], shown: Sequence[str], options: LoadOptions, *, source: Path
) -> RawData | None:
    """Files that list pictures with a class each; None where they are more than that: with columns or numbers beside.

    Raises:
        DataError: There is no target, or it is missing in a row.
        UnknownNameError: A column that was asked for is not there.
    """
    columns: dict[str, CompactColumn] = {}
    order = sorted(files, key=lambda split: split != "train")
    counts = [
        read_compact(read_pieces(files[split], rows=PIECE_ROWS), columns, where=str(files[split])) for split in order
    ]
    asked = None if options.input is None else [name.strip() for name in options.input.split(",")]
    names, choices = find_targets(columns, options, source)
    inputs = [name for name in (asked or shown) if name not in names]
    if len(names) > 1 or len(inputs) != 1 or inputs[0] not in shown or options.task not in (None, "classification"):
        return None
    (answer,), told = read_answers({names[0]: columns[names[0]]}, options.task, source)
    if answer.spec.classes is None:
        return None
    unused = [name for name in columns if name not in (*names, *inputs)]
    choices = [Choice(name="input", value=inputs[0], reason="its cells are paths of pictures"), *choices, *told]
    if unused:
        reason = f"columns that were not asked for; to learn from them too: --input {inputs[0]},{unused[0]}"
        choices.append(Choice(name="not used", value=", ".join(unused), reason=reason))
    splits: dict[str, RawSplit] = {}
    bad: list[Unreadable] = []
    ends = np.cumsum(counts)[:-1]
    for split, targets in zip(order, np.split(answer.values, ends), strict=True):
        splits[split] = _listed(files[split], inputs[0], targets, bad)
    size, mode, looked = images.look([path for one in splits.values() for path in one.paths or ()], options)
    return RawData(
        name=source.stem,
        source=str(source),
        classes=answer.spec.classes,
        train=splits["train"],
        val=splits.get("val"),
        test=splits.get("test"),
        mode=mode,
        size=size,
        choices=(*choices, *looked),
        unreadable=tuple(bad),
        groups=images.find_groups(splits["train"].names, options.group_by),
    )


def _listed(file: Path, column: str, targets: NDArray[np.int64], bad: list[Unreadable]) -> RawSplit:
    """The rows whose file is there; the others go to ``bad``."""
    paths, kept = [], []
    for row, cell in enumerate(cell for piece in read_pieces(file, rows=0) for cell in piece[column]):
        path = file.parent / str(cell).strip()
        reason = images.no_file(path) if path.exists() or path.is_symlink() else "no such file"
        if reason is None:
            paths.append(path)
            kept.append(row)
        else:
            bad.append(Unreadable(name=str(path), reason=reason))
    names = tuple(str(Path(str(path)).relative_to(file.parent)) for path in paths)
    return RawSplit(None, tuple(paths), targets[kept], names)
