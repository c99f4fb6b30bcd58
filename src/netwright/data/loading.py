"""Load data: look at what was given, say what was understood and why, and hold it ready as splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netwright.data.dataset import Data
from netwright.data.own import answered_by, load_own, names_function, names_own_task
from netwright.errors import DataError, MissingFileError, unknown_name
from netwright.options import make_options
from netwright.records import LoadOptions


def load(
    source: Any,
    *,
    options: LoadOptions | None = None,
    val: Any = None,
    test: Any = None,
    **fields: Any,
) -> Data:
    """Load data from a name, a folder, a file, arrays, a torch data set or a loader.

    Args:
        source: ``"digits"``, ``"mnist"``, ``"fashion_mnist"``, ``"kmnist"``, ``"cifar10"``, or a folder in the store; a
            folder of class folders of images or .txt files, or of train, val and test files; a CSV, TSV, JSONL or
            Parquet file of texts; a file of words with tags, as CoNLL has them; a .txt file to continue; ``(inputs,
            targets)`` as arrays or tensors; a torch ``Dataset`` of ``(x, y)``; a ``DataLoader``;
            ``"file.py:function"``, whose function returns any of these.
        options: Image size, shares of the splits, and so on; or leave it out and give its fields by name.
        val: Validation data of the same kind, for arrays, data sets and loaders.
        test: Test data, likewise.
        fields: Fields of ``LoadOptions``, as ``image_size=(28, 28)``.

    Returns:
        The splits, with a record of what was understood; each choice has its reason in ``data.spec.choices``.

    Raises:
        UnknownNameError: No such name; the nearest is given.
        MissingFileError: No such folder.
        DataError: The data cannot be used; the sample, field or class is named.
    """
    options = make_options(LoadOptions, (options.model_dump() if options else {}) | fields)
    if names_own_task(options):
        read_as = options.model_copy(update={"task": None})
        return answered_by(load(source, options=read_as, val=val, test=test), options)
    if isinstance(source, Data):
        return source
    if names_function(source):
        return load_own(source, options, load)
    if isinstance(source, str | Path):
        return _load_stored(source, options)
    if isinstance(source, tuple | list) and len(source) == 2:
        if options.task == "tagging":
            from netwright.data.tags import load_sentences

            return load_sentences(source, options, val=val, test=test)
        from netwright.data.arrays import load_arrays

        return load_arrays(source, options, val=val, test=test)
    from torch.utils.data import DataLoader

    from netwright.data.torch_data import load_dataset, load_loader

    if isinstance(source, DataLoader):
        return load_loader(source, options, val=val, test=test)
    if callable(getattr(source, "__getitem__", None)) and callable(getattr(source, "__len__", None)):
        return load_dataset(source, options, val=val, test=test)
    raise DataError(
        where="nw.load",
        expected="a name, a folder, (inputs, targets), a torch Dataset or a DataLoader",
        got=type(source).__name__,
        cure='For example nw.load("digits"), or nw.load((images, labels)).',
    )


def _load_stored(source: str | Path, options: LoadOptions) -> Data:
    from netwright.data.builtin import NAMES, read
    from netwright.data.download import store
    from netwright.data.pictures import assemble
    from netwright.data.sound import assemble as assemble_sounds
    from netwright.data.spoken_digits import NAMES as SPOKEN
    from netwright.data.spoken_digits import read_spoken_digits
    from netwright.data.streams import load_stream

    if str(source) in NAMES:
        return assemble(read(str(source), options), options)
    if str(source) in SPOKEN:
        return assemble_sounds(read_spoken_digits(options), options)
    path = Path(source)
    if not path.exists() and path.name == str(source) and (store() / path).is_dir():
        path = store() / path
    if options.task == "next_token" and path.exists():
        return load_stream(path, options, reason="asked for")
    if path.is_dir():
        return _load_folder(path, options)
    if path.exists():
        return _load_file(path, options)
    known = (*NAMES, *SPOKEN)
    if isinstance(source, Path) or "/" in str(source) or "\\" in str(source) or "." in str(source):
        beside = sorted(entry.name for entry in path.parent.iterdir())[:8] if path.parent.is_dir() else []
        raise MissingFileError(
            where=f"--data {source}",
            expected="a folder or a file",
            got=f"nothing there; {path.parent} holds {', '.join(beside)}" if beside else "nothing there",
            cure=f"Check the path, or name one of {', '.join(known)}.",
        )
    raise unknown_name("data set, or a folder", str(source), known, where="--data")


def _load_file(path: Path, options: LoadOptions) -> Data:
    from netwright.data.columns import SUFFIXES
    from netwright.data.conll import SURE, holds_tags
    from netwright.data.facts import asked_task
    from netwright.data.streams import load_stream
    from netwright.data.tags import load_tagged

    if holds_tags(path):
        return load_tagged({"train": path}, options, source=path)
    if path.suffix in SUFFIXES and path.is_file():
        return _load_columns({"train": path}, options, source=path)
    if path.is_file() and path.suffix.casefold() == ".txt":
        asked_task(options, ("next_token",), data="a text alone")
        return load_stream(path, options, reason="a text alone, without a class or a number to answer")
    raise DataError(
        where=str(path),
        expected=f"a folder, a file that ends in {', '.join((*SUFFIXES, *SURE, '.txt'))}, or a data set's name",
        got="a file",
        cure="Give the folder; unpack an archive first.",
    )


def _load_folder(path: Path, options: LoadOptions) -> Data:
    from netwright.data.columns import SUFFIXES
    from netwright.data.conll import tagged_files
    from netwright.data.images import mostly_of, read_folder, split_folders
    from netwright.data.pictures import assemble
    from netwright.data.recordings import load_recordings
    from netwright.data.sound import assemble as assemble_sounds
    from netwright.data.sound_files import KNOWN, read_sound_folder
    from netwright.data.streams import load_stream
    from netwright.data.tags import load_tagged
    from netwright.data.texts import load_text_folder, split_files

    tagged = tagged_files(path)
    if tagged:
        return load_tagged(tagged, options, source=path)
    files = split_files(path)
    if files:
        return _load_columns(files, options, source=path)
    if mostly_of(path, SUFFIXES):
        return load_recordings(path, options)
    if mostly_of(path, KNOWN):
        return assemble_sounds(read_sound_folder(path, options), options)
    if mostly_of(path, (".txt",)):
        return load_text_folder(split_folders(path), options, source=path)
    running = _why_running(path) if options.task is None else None
    if running is not None:
        return load_stream(path, options, reason=running)
    return assemble(read_folder(path, options), options)


def _load_columns(files: dict[str, Path], options: LoadOptions, *, source: Path) -> Data:
    """Files with columns, one a split: of texts, or of a table."""
    from netwright.data.column_kinds import looks_like_table
    from netwright.data.columns import peek_columns
    from netwright.data.histories import looks_like_series
    from netwright.data.pictures import assemble
    from netwright.data.series import load_series
    from netwright.data.sound import assemble as assemble_sounds
    from netwright.data.sound_files import path_column, read_manifests
    from netwright.data.table_pictures import picture_columns, read_listed_pictures
    from netwright.data.tables import load_tables
    from netwright.data.texts import load_text_files

    asked = options.task == "forecasting"
    if asked or (options.task is None and options.target is None and looks_like_series(peek_columns(files["train"]))):
        return load_series(files["train"], options, asked=asked)
    if path_column(peek_columns(files["train"])) is not None:
        return assemble_sounds(read_manifests(files, options, source=source), options)
    shown = picture_columns(peek_columns(files["train"]))
    if shown:
        listed = read_listed_pictures(files, shown, options, source=source)
        return load_tables(files, options, source=source) if listed is None else assemble(listed, options)
    if looks_like_table(peek_columns(files["train"]), options):
        return load_tables(files, options, source=source)
    return load_text_files(files, options, source=source)


def _why_running(path: Path) -> str | None:
    """Why a folder is one running text, of which each token is predicted from those before it; None where it is not."""
    inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    texts = [entry for entry in inside if entry.is_file() and entry.suffix.casefold() == ".txt"]
    if inside and len(texts) == len(inside):
        return "texts alone, without classes or columns"
    if "input.txt" in {entry.name for entry in texts} and not any(entry.is_dir() for entry in inside):
        return "a folder with input.txt, and no class folders"
    return None
