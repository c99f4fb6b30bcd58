"""A bundle, opened and verified: a folder or one .zip. Nothing in it is run, unpacked to the disk or believed.

Each file is read once, compared with the digest in the certificate, and what was compared is what is used. What is not
kept in memory is compared again when it is read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netwright.answering.onnx_file import check_model
from netwright.errors import BundleError, MissingFileError

FORMAT = 1
CERTIFICATE, SPEC, CLASSES, MODEL = "certificate.json", "preprocess.json", "classes.json", "model.onnx"
NEEDED = (SPEC, CLASSES, MODEL)
# What a bundle may hold at most; a bundle has some forty files, and 2 GB is ONNX's own limit of one.
MOST_FILES, MOST_BYTES, MOST_DEPTH = 500, 8 * 2**30, 8
# Weights shrink by a tenth, JSON by ten; only a bomb shrinks by more than this.
MOST_RATIO = 200
RATIO_FROM = 2**20  # bytes: smaller members may be as thin as they like
MOST_JSON, MOST_NESTING = 256 * 2**20, 64
PIECE = 2**20
Reader = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: Where it lies.
        spec: What preprocess.json holds: all between a raw input and an answer.
        classes: What classes.json holds.
        certificate: What certificate.json holds.
    """

    path: Path
    spec: Mapping[str, Any]
    classes: Mapping[str, Any]
    certificate: Mapping[str, Any]
    _kept: Mapping[str, bytes]

    @property
    def names(self) -> tuple[str, ...]:
        """All files but the certificate."""
        return tuple(self.certificate["files"])

    @property
    def digest(self) -> str:
        """SHA-256 of the certificate, which stands for all of the bundle."""
        return hashlib.sha256(self._kept[CERTIFICATE]).hexdigest()

    def read(self, name: str) -> bytes:
        """A file's content, as it was verified.

        Raises:
            BundleError: There is no such file, or it has changed since.
        """
        if name in self._kept:
            return self._kept[name]
        if name not in self.certificate["files"]:
            raise _refuse(self.path, f"a file called {name}", f"{', '.join(self.names)}", cure="Name one of these.")
        with _opened(self.path) as source:
            return _verified(self.path, source, name, self.certificate["files"][name])


def is_bundle(path: Path) -> bool:
    """Whether a path looks like a bundle: a folder with a certificate or a graph, or a file."""
    return any((path / name).exists() for name in (CERTIFICATE, SPEC, MODEL)) if path.is_dir() else path.is_file()


def open_bundle(path: Path | str) -> Bundle:
    """Open a bundle, compare all its files with its certificate, and keep what answers.

    Raises:
        MissingFileError: There is nothing of that name.
        BundleError: A file is missing, too many, changed or not allowed; it is named.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(
            where=str(path), expected="a bundle, or the folder of a run", got="nothing there",
            cure="Look at the path; a bundle is made by netwright export RUN.",
        )  # fmt: skip
    with _opened(path) as source:
        sizes = source.sizes()
        if CERTIFICATE not in sizes:
            raise _refuse(path, f"a bundle, with {CERTIFICATE} at its top", ", ".join(sorted(sizes)[:6]) or "no file")
        content = source.read(CERTIFICATE, MOST_JSON)
        certificate = _json(path, CERTIFICATE, content)
        files = _files(path, certificate)
        _compare_names(path, files, sizes)
        kept = {CERTIFICATE: content}
        for name, entry in files.items():
            if name in NEEDED:
                kept[name] = _verified(path, source, name, entry)
            else:
                _verify(path, source, name, entry)
    spec, classes = (_json(path, name, kept[name]) for name in (SPEC, CLASSES))
    if spec.get("format") != FORMAT or certificate.get("format") != FORMAT:
        raise _refuse(
            path, f"a bundle of format {FORMAT}", f"format {spec.get('format')!r}", cure="Use a newer netwright."
        )
    check_model(kept[MODEL], where=f"{path}, {MODEL}")
    return Bundle(path, spec, classes, certificate, kept)


def _refuse(path: Path, expected: str, got: str, cure: str = "") -> BundleError:
    return BundleError(
        where=str(path), expected=expected, got=got, cure=cure or "Export it again, or copy it again from where it is."
    )


def _json(path: Path, name: str, content: bytes) -> dict[str, Any]:
    """A file as a JSON object without names that stand twice, NaN, or deep nesting."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("a name stands twice")
        return made

    def no_number(text: str) -> float:
        raise ValueError(f"{text} is no number")

    try:
        if len(content) > MOST_JSON:
            raise ValueError(f"{len(content):,} bytes, more than {MOST_JSON:,}")
        found = json.loads(content.decode("utf-8"), object_pairs_hook=once, parse_constant=no_number)
        if not isinstance(found, dict) or _nesting(found) > MOST_NESTING:
            raise ValueError(f"no object, or one nested deeper than {MOST_NESTING}")
    except (ValueError, RecursionError) as error:
        raise _refuse(path, f"{name} as JSON", str(error) or "it is nested too deep") from error
    return found


def _nesting(value: Any) -> int:
    """How deep objects and lists lie in each other."""
    depth, level = 0, [value]
    while level and depth <= MOST_NESTING:
        depth += 1
        inner: list[Any] = []
        for one in level:
            values = one.values() if isinstance(one, dict) else one
            inner += [each for each in values if isinstance(each, dict | list)]
        level = inner
    return depth


def _files(path: Path, certificate: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Digest and size of each file, as the certificate has them."""
    found: dict[str, tuple[str, int]] = {}
    entries = certificate.get("files")
    if not isinstance(entries, dict) or not entries:
        raise _refuse(path, f"the digests of all files in {CERTIFICATE}", "none")
    for name, entry in entries.items():
        digest = entry.get("sha256") if isinstance(entry, dict) else None
        size = entry.get("bytes") if isinstance(entry, dict) else None
        if not isinstance(digest, str) or len(digest) != 64 or type(size) is not int or size < 0:
            raise _refuse(path, f"a digest and a size of {_shown(name)} in {CERTIFICATE}", "something else")
        _check_name(path, name)
        found[name] = (digest, size)
    return found


def _compare_names(path: Path, files: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """The files that are there are those of the certificate, no more and no fewer, and what answers is among them."""
    missing = sorted((files.keys() | set(NEEDED)) - sizes.keys())
    if missing:
        raise _refuse(path, f"a file {_shown(missing[0])}", "none of that name")
    extra = sorted(sizes.keys() - files.keys() - {CERTIFICATE})
    if extra:
        raise _refuse(
            path,
            f"only what {CERTIFICATE} names",
            f"also a file {_shown(extra[0])}",
            cure="Remove it, and look where it came from.",
        )


def _check_name(path: Path, name: str) -> None:
    """Refuse names that could lead out of the bundle, on any system."""
    parts = name.split("/")
    wrong = (
        not name
        or len(name) > 240
        or len(parts) > MOST_DEPTH
        or any(part in ("", ".", "..") or part != part.strip() or part.endswith(".") for part in parts)
        or any(letter in '\\:*?"<>|' or unicodedata.category(letter)[0] == "C" for letter in name)
    )
    if wrong:
        raise _refuse(path, "names of files below the bundle", _shown(name), cure="Do not use it: it may be an attack.")


def _shown(name: str) -> str:
    return ascii(name[:80])[1:-1]


def _verified(path: Path, source: Folder | Archive, name: str, entry: Any) -> bytes:
    digest, size = entry if isinstance(entry, tuple) else (entry["sha256"], entry["bytes"])
    content = source.read(name, size)
    if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
        raise _changed(path, name)
    return content


def _verify(path: Path, source: Folder | Archive, name: str, entry: tuple[str, int]) -> None:
    digest, size = entry
    found, count = hashlib.sha256(), 0
    for piece in source.pieces(name):
        found.update(piece)
        count += len(piece)
        if count > size:
            break
    if count != size or found.hexdigest() != digest:
        raise _changed(path, name)


def _changed(path: Path, name: str) -> BundleError:
    return _refuse(path, f"{_shown(name)} as it was certified", "another content: its digest differs")


def _opened(path: Path) -> Folder | Archive:
    return Folder(path) if path.is_dir() else Archive(path)


class Folder:
    """Files of a folder, without links."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by its name from the bundle's folder.

        Raises:
            BundleError: There are links, devices or too many files.
        """
        found: dict[str, int] = {}
        folders = [("", self.path)]
        while folders:
            prefix, folder = folders.pop()
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    _check_name(self.path, name)
                    if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                        raise _refuse(self.path, "plain files and folders", f"{_shown(name)}, a link or device")
                    if entry.is_dir():
                        folders.append((f"{name}/", Path(entry.path)))
                    else:
                        found[name] = entry.stat(follow_symlinks=False).st_size
                    if len(found) + len(folders) > MOST_FILES:
                        raise _refuse(self.path, f"at most {MOST_FILES} files", "more")
        return found

    def pieces(self, name: str) -> Iterator[bytes]:
        """A file's content, piece by piece."""
        # Opened without following a link that somebody put there since, and without waiting for a pipe's other end.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(self.path / name, flags)
        except OSError as error:
            raise _refuse(self.path, f"{_shown(name)}, to read it", error.strerror or str(error)) from error
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _refuse(self.path, "plain files and folders", f"{_shown(name)}, a link or device")
            while piece := file.read(PIECE):
                yield piece

    def read(self, name: str, most: int) -> bytes:
        """A file's content, and at most one byte more than ``most``."""
        return _joined(self.pieces(name), most)


class Archive:
    """Members of a .zip, read as streams and never unpacked to the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Archive:
        try:
            self._zip = zipfile.ZipFile(self.path)
        # A damaged directory leads zipfile to most kinds of errors.
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, LookupError) as error:
            raise _refuse(self.path, "a bundle: a folder or a .zip", str(error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def sizes(self) -> dict[str, int]:
        """Bytes of each member; folders are left out.

        Raises:
            BundleError: A member's name, kind or size is not allowed.
        """
        found: dict[str, int] = {}
        folded: set[str] = set()
        members = self._zip.infolist()
        if len(members) > MOST_FILES:
            raise _refuse(self.path, f"at most {MOST_FILES} files", f"{len(members):,}")
        for member in members:
            # What stands in the file; zipfile cuts a name at a zero byte.
            name = member.orig_filename
            _check_name(self.path, name.removesuffix("/"))
            if member.is_dir():
                if member.file_size:
                    raise _refuse(self.path, "folders that hold nothing by themselves", _shown(name))
                continue
            self._check(member)
            plain = unicodedata.normalize("NFC", name).casefold()
            if plain in folded:
                raise _refuse(self.path, "each name once", f"{_shown(name)} twice", cure="It may be an attack.")
            folded.add(plain)
            found[name] = member.file_size
        if sum(found.values()) > MOST_BYTES:
            raise _refuse(self.path, f"at most {MOST_BYTES:,} bytes", f"{sum(found.values()):,}")
        return found

    def _check(self, member: zipfile.ZipInfo) -> None:
        name, kind = member.orig_filename, stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise _refuse(self.path, "plain files and folders", f"{_shown(name)}, a link or device")
        if member.flag_bits & 0x1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refuse(self.path, "members that are stored or deflated", f"{_shown(name)}, packed otherwise")
        if member.file_size > RATIO_FROM and member.file_size > MOST_RATIO * member.compress_size:
            raise _refuse(
                self.path,
                f"files that shrink to no less than a {MOST_RATIO}th",
                f"{_shown(name)}: {member.file_size:,} bytes out of {member.compress_size:,}, a bomb",
                cure="Do not use it.",
            )

    def pieces(self, name: str) -> Iterator[bytes]:
        """A member's content, piece by piece."""
        try:
            with self._zip.open(name) as file:
                while piece := file.read(PIECE):
                    yield piece
        except (
            zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError, LookupError,
            RuntimeError,
        ) as error:  # fmt: skip
            raise _refuse(self.path, f"{_shown(name)}, whole", str(error)) from error

    def read(self, name: str, most: int) -> bytes:
        """A member's content, and at most one byte more than ``most``."""
        return _joined(self.pieces(name), most)


def _joined(pieces: Iterable[bytes], most: int) -> bytes:
    """Pieces end to end, and at most one byte more than ``most``; no piece behind that is read."""
    parts, count = [], 0
    for piece in pieces:
        parts.append(piece)
        count += len(piece)
        if count > most:
            break
    return b"".join(parts)[: most + 1]
