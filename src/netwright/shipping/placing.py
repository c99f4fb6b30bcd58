"""A finished export under its own name: in one step, and over nothing but an earlier one."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Literal

from netwright.errors import RunError

CERTIFICATE = "certificate.json"
PAGE_MARK, PAGE_HEAD = b"'wasm-unsafe-eval'", 2048  # its policy says so, and stands at its beginning


def put_in_place(draft: Path, target: Path, *, as_zip: bool) -> Path:
    """A finished draft under its own name: what was there before is replaced in one step, and only if it is a bundle.

    Raises:
        RunError: Something else is there, or it cannot be written.
    """
    check_free(target, "zip" if as_zip else "bundle")
    packed = draft.with_name(f"{draft.name}.zip")
    try:
        if as_zip:
            _pack(draft, packed)
            packed.replace(target)
            return target
        old = target.with_name(f".{target.name}.old-{os.getpid()}")
        if there := target.exists():
            target.replace(old)
        try:
            draft.replace(target)
        except OSError:
            if there:
                old.replace(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        packed.unlink(missing_ok=True)
        raise unwritable(target, error) from error
    return target


def unwritable(target: Path, error: OSError) -> RunError:
    """The error for a place that cannot be written to."""
    return RunError(
        where=str(target),
        expected="a place that can be written to",
        got=error.strerror or str(error),
        cure="Free space or change its rights, or name another with --out.",
    )


def check_free(target: Path, kind: Literal["bundle", "zip", "html"]) -> None:
    """Refuse to write over what is no bundle, or no page, of an earlier export.

    Raises:
        RunError: Something else is there.
    """
    if not os.path.lexists(target) or (target.name and _is_own(target, kind)):
        return
    raise RunError(
        where=str(target),
        expected="a name that is free, or a bundle to replace" if kind != "html" else "a name that is free, or a page",
        got="something else of that name",
        cure="Name another with --out.",
    )


def _is_own(target: Path, kind: str) -> bool:
    try:
        if kind == "bundle":
            return target.is_dir() and not _others(target)
        if target.is_file() and not target.stat().st_size:
            return True
        if kind == "html":
            with target.open("rb") as file:
                return PAGE_MARK in file.read(PAGE_HEAD)
        with zipfile.ZipFile(target) as archive:
            return CERTIFICATE in archive.namelist()
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return False


def _others(folder: Path) -> list[str]:
    """Files in a folder that are none of a bundle: a person's own, which would be lost."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not names:
        return []
    held = json.loads((folder / CERTIFICATE).read_text(encoding="utf-8"))["files"]
    return sorted(names - set(held) - {CERTIFICATE})


def _pack(folder: Path, target: Path) -> None:
    """One file, the certificate first; dates are all alike so that equal bundles are equal files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files.sort(key=lambda path: path.name != CERTIFICATE)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, path.read_bytes())
