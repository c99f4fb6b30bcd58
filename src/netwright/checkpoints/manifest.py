"""manifest.json: what a checkpoint is made of, and the check of a folder against it.

The manifest names every file with its size and SHA-256, and every tensor with its place and SHA-256; its last line is
the SHA-256 of all that stands before it. So each bit of a checkpoint is covered, and damage is named by tensor.
The keys ``format``, ``netwright`` and ``sha256`` keep their place and meaning in every later format.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from pydantic import ConfigDict, ValidationError

from netwright.disk import Disk
from netwright.records import Record

FileName = Literal["tensors.safetensors", "state.json"]
Files = dict[FileName, bytes]

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
TENSORS: Final = "tensors.safetensors"
STATE: Final = "state.json"
_MAX_MANIFEST_BYTES = 64 * 1024 * 1024  # read before anything is checked; about 400,000 tensors
_SEAL = b',\n"sha256": "'


class DamagedError(Exception):
    """A generation that is not whole; its text says which file (and tensor), what was expected and what was found."""


class NewerFormatError(Exception):
    """A whole generation of a format that a later netwright writes."""


class _Part(Record):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FilePart(_Part):
    """A file: its size in bytes and the SHA-256 of all of it."""

    size: int
    sha256: str


class TensorPart(_Part):
    """A tensor: its first byte in the file, the one after its last, and the SHA-256 of what is between."""

    begin: int
    end: int
    sha256: str


class Manifest(_Part):
    """All that manifest.json says, less its own digest. No field has a default: a missing one is damage."""

    format: Literal[1]
    netwright: str
    torch: str
    step: int
    files: dict[FileName, FilePart]
    tensors: dict[str, TensorPart]


@dataclass(frozen=True, slots=True)
class Whole:
    """The bytes of a generation, each found right."""

    raw_tensors: bytes
    raw_state: bytes


def manifest_bytes(step: int, files: Files) -> bytes:
    """Write down what a checkpoint holds.

    Args:
        step: Step it was saved at.
        files: Content of each file by name; `TENSORS` in safetensors format.
    """
    manifest = Manifest(
        format=FORMAT,
        netwright=_package_version(),
        torch=str(torch.__version__),
        step=step,
        files={name: FilePart(size=len(content), sha256=_sha256(content)) for name, content in files.items()},
        tensors=_tensor_parts(files[TENSORS]),
    )
    text = json.dumps(manifest.model_dump(), indent=1).removesuffix("\n}").encode("ascii")
    return text + _SEAL + _sha256(text).encode("ascii") + b'"\n}\n'


def check(folder: Path, *, step: int, disk: Disk) -> Whole:
    """Read a generation and check every byte of it.

    Args:
        folder: The generation.
        step: What its name says.
        disk: Where from.

    Raises:
        DamagedError: Anything missing, extra, linked, changed or unreadable.
        NewerFormatError: Written by a later netwright.
    """
    manifest = glance(folder, step=step, disk=disk)
    content: dict[str, bytes] = {}
    for name, part in manifest.files.items():
        content[name] = _read(folder / name, disk)
        found = _sha256(content[name])
        if found != part.sha256:
            place = _damaged_tensors(content[name], manifest.tensors) if name == TENSORS else ""
            raise DamagedError(f"{name}{place}: expected SHA-256 {part.sha256}, found {found}")
    return Whole(content[TENSORS], content[STATE])


def glance(folder: Path, *, step: int, disk: Disk) -> Manifest:
    """Check the manifest of a generation and the names, kinds and sizes of its files, without reading them.

    Raises:
        DamagedError: As `check`, less what only the bytes can tell.
        NewerFormatError: Written by a later netwright.
    """
    sizes = _sizes(folder)
    if MANIFEST not in sizes:
        raise DamagedError(f"{MANIFEST}: expected a file, found none")
    if sizes[MANIFEST] > _MAX_MANIFEST_BYTES:
        raise DamagedError(f"{MANIFEST}: expected at most {_MAX_MANIFEST_BYTES:,} bytes, found {sizes[MANIFEST]:,}")
    manifest = _parse(_read(folder / MANIFEST, disk))
    if manifest.step != step:
        raise DamagedError(f"{MANIFEST}: expected step {step} as the folder's name says, found {manifest.step}")
    wanted = {str(name): part.size for name, part in manifest.files.items()}
    for name in sorted({*wanted, *sizes} - {MANIFEST}):
        expected = f"{wanted[name]:,} bytes" if name in wanted else "no such file"
        found = f"{sizes[name]:,} bytes" if name in sizes else "no such file"
        if expected != found:
            raise DamagedError(f"{name}: expected {expected}, found {found}")
    return manifest


def _sizes(folder: Path) -> dict[str, int]:
    """Size of each file by name; anything but plain files in a plain folder is refused."""
    if folder.is_symlink() or not folder.is_dir():
        raise DamagedError("expected a folder, found a link or a file")
    sizes = {}
    try:
        for entry in sorted(folder.iterdir()):
            about = entry.lstat()
            if not stat.S_ISREG(about.st_mode):
                raise DamagedError(f"{entry.name}: expected a plain file, found {_kind(about.st_mode)}")
            sizes[entry.name] = about.st_size
    except OSError as error:
        raise DamagedError(f"expected a folder that can be read, found: {error.strerror}") from error
    return sizes


def _kind(mode: int) -> str:
    return "a symbolic link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "a special file"


def _read(path: Path, disk: Disk) -> bytes:
    try:
        return disk.read_file(path)
    except OSError as error:
        raise DamagedError(f"{path.name}: expected a file that can be read, found: {error.strerror}") from error


def _parse(raw: bytes) -> Manifest:
    body, _, seal = raw.rpartition(_SEAL)
    expected = _sha256(body).encode("ascii") + b'"\n}\n'
    if seal != expected:
        raise DamagedError(f"{MANIFEST}: expected to end with its own SHA-256 {expected[:64]!r}, found {seal[:64]!r}")
    try:
        tree = json.loads(body + b"\n}")
        if isinstance(tree, dict) and type(tree.get("format")) is int and tree["format"] > FORMAT:
            raise NewerFormatError(f"format {tree['format']} of netwright {tree.get('netwright')}")
        manifest = Manifest.model_validate(tree)
    except ValidationError as error:
        at, message = ".".join(map(str, error.errors()[0]["loc"])), error.errors()[0]["msg"]
        raise DamagedError(f"{MANIFEST}, `{at}`: expected as format {FORMAT} has it, found: {message}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{MANIFEST}: expected JSON, found: {error}") from error
    if set(manifest.files) != {TENSORS, STATE}:
        raise DamagedError(f"{MANIFEST}, `files`: expected {TENSORS} and {STATE}, found {sorted(manifest.files)}")
    return manifest


def _tensor_parts(raw: bytes) -> dict[str, TensorPart]:
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    view = memoryview(raw)
    parts = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        begin, end = (start + offset for offset in about["data_offsets"])
        parts[name] = TensorPart(begin=begin, end=end, sha256=_sha256(view[begin:end]))
    return parts


def _damaged_tensors(raw: bytes, tensors: dict[str, TensorPart]) -> str:
    """Name the tensors whose bytes changed. The places come from the manifest, which was found right."""
    view = memoryview(raw)
    names = [name for name, part in tensors.items() if _sha256(view[part.begin : part.end]) != part.sha256]
    if not names:
        return ", header"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f", tensor {', '.join(f'`{name}`' for name in names[:3])}{more}"


def _sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


@functools.cache  # to read it takes as long as all else of a small checkpoint
def _package_version() -> str:
    try:
        return importlib.metadata.version("netwright")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "unknown"
