"""The Free Spoken Digit Dataset: ten English digits from six speakers, out of its archive as it lies.

Jackson et al., github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0. Its README makes recordings 0 to 4 of
each speaker and digit the test set, and the others the training set.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from netwright.data.download import fetch, store
from netwright.data.images import find_groups
from netwright.data.sound import Listed, Listing
from netwright.errors import DataError
from netwright.records import Choice, LoadOptions

NAMES = ("fsdd", "speech_digits")
COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
URLS = (f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{COMMIT}.zip",)
# GitHub packs an archive anew when it is asked for one, so that its bytes may change: the digest is of what is in it,
# names and contents of all recordings in sorted order, as they are in that commit.
SHA256 = "bd445eeb5ea648f66c03e911fb03690b063f3e3fa15e03f464720a959ff8cdf5"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MEMBER = re.compile(r"(?:.*/)?recordings/((\d)_([a-z]+)_(\d+)\.wav)")
TEST_BELOW = 5


def read_spoken_digits(options: LoadOptions, *, urls: Sequence[str] = URLS, sha256: str = SHA256) -> Listed:
    """List the recordings, downloading the archive where it is not in the store.

    Args:
        options: ``group_by`` in place of the speakers; transcripts are the digits' words.
        urls: Where the archive is.
        sha256: Of what is in it.

    Raises:
        DownloadError: It is not there and did not arrive.
        DataError: It is damaged, or not what was published.
    """
    path = fetch(urls, store() / "fsdd" / "fsdd-recordings.zip")
    found = read_archive(path)
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"{name}\n{len(found[name])}\n".encode())
        digest.update(found[name])
    if digest.hexdigest() != sha256:
        raise _spoilt(path, f"recordings with digest {sha256[:12]}", f"{len(found):,} with {digest.hexdigest()[:12]}")
    splits = {}
    for split in ("train", "test"):
        names = [name for name in sorted(found) if (_parts(name)[2] < TEST_BELOW) == (split == "test")]
        parts = [_parts(name) for name in names]
        spoken = options.task == "transcription"
        splits[split] = Listing(
            tuple(found[name] for name in names),
            tuple(WORDS[digit] if spoken else str(digit) for digit, _, _ in parts),
            tuple(names),
            find_groups(names, options.group_by) or tuple(speaker for _, speaker, _ in parts),
        )
    reason = "recordings 0 to 4 of each speaker and digit are the test, as the source has it"
    where = Choice(name="store", value=str(path), reason="NETWRIGHT_DATA, or the user's cache folder")
    source_split = Choice(name="split", value="the source's", reason=reason)
    choices = (where,) if options.test_group is not None else (where, source_split)
    return Listed("fsdd", "fsdd", splits, "classification", choices)


def read_archive(path: Path) -> dict[str, bytes]:
    """Recordings by name, read out of the archive; nothing is unpacked to the disk.

    Raises:
        DataError: It is no archive, or damaged.
    """
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                match = MEMBER.fullmatch(member.filename)
                if match is not None:
                    found[match.group(1)] = archive.read(member)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise _spoilt(path, "a zip archive", str(error)) from error
    return found


def _parts(name: str) -> tuple[int, str, int]:
    """Digit, speaker and index of a recording."""
    digit, speaker, index = name.removesuffix(".wav").split("_")
    return int(digit), speaker, int(index)


def _spoilt(path: Path, expected: str, got: str) -> DataError:
    return DataError(where=str(path), expected=expected, got=got, cure="Remove the file; it will be downloaded again.")
