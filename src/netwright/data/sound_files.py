"""Where sounds are found: folders of class folders, and manifests, which are files with a column of paths."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from netwright.data.columns import TARGETS, find_column, is_number, read_columns
from netwright.data.images import (
    below_root,
    check_classes,
    class_folders,
    find_groups,
    left_out,
    left_over,
    no_file,
    split_folders,
)
from netwright.data.sound import Listed, Listing
from netwright.errors import DataError
from netwright.records import Choice, LoadOptions, Unreadable
from netwright.sounds import FOREIGN, SUFFIXES

if TYPE_CHECKING:
    import pandas as pd

KNOWN = (*SUFFIXES, *FOREIGN)
PATHS = ("audio_filepath", "path", "file", "audio", "filename", "file_name", "wav", "sound")
TRANSCRIPTS = ("text", "sentence", "transcript", "transcription", "transcripts")
LOOKED_AT_ROWS = 50


def path_column(frame: pd.DataFrame) -> str | None:
    """The column that holds paths of sounds; None where there is none."""
    usual = {name: place for place, name in enumerate(PATHS)}
    columns = sorted(map(str, frame.columns), key=lambda name: usual.get(name.casefold(), len(usual)))
    for name in columns:
        values = [str(value).strip() for value in frame[name].head(LOOKED_AT_ROWS)]
        if values and all(Path(value).suffix.casefold() in KNOWN for value in values):
            return name
    return None


def read_sound_folder(root: Path, options: LoadOptions) -> Listed:
    """The sounds of class folders, one folder a split or one for all.

    Raises:
        DataError: It holds no class folders with sounds, or a class only where it cannot be learned.
    """
    folders = split_folders(root)
    found = {name: class_folders(root, folder, KNOWN) for name, folder in folders.items()}
    by_split = {name: one.files for name, one in found.items()}
    classes = tuple(sorted({name for files in by_split.values() for name in files}))
    check_classes(root, by_split, classes, what="sounds")
    splits = {}
    for name, files in by_split.items():
        pairs = [(path, label) for label in classes for path in files.get(label, ())]
        names = below_root(root, [path for path, _ in pairs])
        splits[name] = Listing(
            tuple(path for path, _ in pairs),
            tuple(label for _, label in pairs),
            names,
            find_groups(names, options.group_by),
        )
    return Listed(
        name=root.resolve().name,
        source=str(root),
        splits=splits,
        task="classification",
        choices=left_out(left_over(root, folders, found), "sounds"),
        unreadable=tuple(bad for one in found.values() for bad in one.unreadable),
    )


def read_manifests(files: dict[str, Path], options: LoadOptions, *, source: Path) -> Listed:
    """The sounds that manifests list, one manifest a split; paths are relative to it.

    Raises:
        DataError: A column is missing, or a row has no path or target.
        UnknownNameError: An option names no column.
    """
    frames = {split: read_columns(path) for split, path in files.items()}
    path, target, task, choices = _columns(frames["train"], options, files["train"])
    splits: dict[str, Listing] = {}
    unreadable: list[Unreadable] = []
    for split, frame in frames.items():
        splits[split], bad = _listing(frame, (path, target, task), files[split], options)
        unreadable += bad
    return Listed(source.stem, str(source), splits, task, tuple(choices), tuple(unreadable))


def _columns(frame: pd.DataFrame, options: LoadOptions, manifest: Path) -> tuple[str, str, str, list[Choice]]:
    """The columns of paths and of targets, what kind of answer that makes, and why."""
    path = options.input or path_column(frame) or ""
    find_column(frame, path, (), option="--input", path=manifest)
    label = find_column(frame, options.target, TARGETS, option="--target", path=manifest)
    transcript = find_column(frame, options.target, TRANSCRIPTS, option="--target", path=manifest)
    asked = options.task
    if options.target is not None:
        # Transcripts differ from row to row; labels come again.
        values = frame[options.target].astype(str)
        written = options.target.casefold() in TRANSCRIPTS or values.nunique() > max(2, len(values) // 2)
        target, task = options.target, "transcription" if written else "classification"
    elif asked == "classification" or (transcript is None and label is not None):
        target, task = label or transcript or "", "classification"
    else:
        target, task = transcript or label or "", "transcription" if transcript is not None else "classification"
    if target in ("", path):
        raise DataError(
            where=str(manifest),
            expected=f"a column of transcripts ({', '.join(TRANSCRIPTS[:3])} …) or labels ({', '.join(TARGETS[:3])} …)",
            got=f"columns {', '.join(map(str, frame.columns))}",
            cure="Name it: --target COLUMN.",
        )
    if "offset" in frame.columns and any(is_number(str(one)) and float(one) > 0 for one in frame["offset"]):
        raise DataError(
            where=f"{manifest}, column offset",
            expected="sounds that are whole files",
            got="stretches that begin inside of one",
            cure="Cut the files at these places, and list the pieces.",
        )
    others = [str(name) for name in frame.columns if name not in (path, target, options.group_by)]
    choices = [
        Choice(name="input", value=path, reason="its values are paths of sounds", asked=options.input is not None),
        Choice(name="target", value=target, reason=f"for {task}", asked=options.target is not None),
    ]
    if others:
        choices.append(Choice(name="not used", value=", ".join(others), reason="columns that were not asked for"))
    return path, target, asked or task, choices


def _listing(
    frame: pd.DataFrame, columns: tuple[str, str, str], manifest: Path, options: LoadOptions
) -> tuple[Listing, list[Unreadable]]:
    """The rows of a manifest whose file is there, and the others."""
    path, target, task = columns
    for name in (path, target):
        if name not in frame.columns:
            raise DataError(
                where=str(manifest),
                expected=f"the column {name}, as the training manifest has it",
                got=f"columns {', '.join(map(str, frame.columns))}",
                cure="Give the manifests the same columns.",
            )
    paths, targets, rows, bad = [], [], [], []
    for row, (written, wanted) in enumerate(zip(frame[path], frame[target], strict=True)):
        no_label = _is_missing(wanted) or (task == "classification" and not str(wanted).strip())
        if _is_missing(written) or no_label:
            empty = target if no_label else path
            raise DataError(
                where=f"{manifest}, row {row + 1}",
                expected=f"a value in the column {empty}",
                got="nothing",
                cure='Fill in or remove such rows; a sound in which nothing is said has the transcript "".',
            )
        place = manifest.parent / str(written).strip()
        reason = no_file(place) if place.exists() or place.is_symlink() else "no such file"
        if reason is not None:
            bad.append(Unreadable(name=str(place), reason=reason))
            continue
        paths.append(place)
        targets.append(str(wanted).strip())
        rows.append(row)
    names = tuple(str(one.relative_to(manifest.parent)) if not Path(one).is_absolute() else str(one) for one in paths)
    if options.group_by is not None and options.group_by in frame.columns:
        groups: tuple[str, ...] | None = tuple(str(frame[options.group_by].iloc[row]) for row in rows)
    else:
        groups = find_groups(names, options.group_by)
    return Listing(tuple(paths), tuple(targets), names, groups), bad


def _is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None or NaN; an empty transcript is one."""
    return value is None or value != value
