"""Where onnxruntime-web comes from: pinned, held against its digests, and nothing kept of another tarball."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from netwright.shipping.html import ASSETS, has_assets

TOOL = Path(__file__).resolve().parents[2] / "tools" / "assets.py"


def test_another_tarball_is_refused(tmp_path: Path) -> None:
    """One with the right names and other bytes: told by its SHA-512, and no file is written."""
    before = {path.name: path.stat().st_mtime_ns for path in ASSETS.iterdir()}
    with tarfile.open(tmp_path / "fake.tgz", "w:gz") as archive:
        for name in json.loads((ASSETS / "digests.json").read_text())["files"]:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = 4
            archive.addfile(member, io.BytesIO(b"fake"))
    command = [sys.executable, str(TOOL), "--tarball", str(tmp_path / "fake.tgz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "expected sha512-" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name: path.stat().st_mtime_ns for path in ASSETS.iterdir()} == before


@pytest.mark.skipif(not has_assets(), reason="no onnxruntime-web here: make assets")
def test_what_is_here_is_what_is_pinned() -> None:
    """Each file inflates to its digest; the licence lies beside them."""
    pinned = json.loads((ASSETS / "digests.json").read_text())
    for name, digest in pinned["files"].items():
        assert hashlib.sha256(gzip.decompress((ASSETS / f"{name}.gz").read_bytes())).hexdigest() == digest
    assert "MIT License" in (ASSETS / "LICENSE.onnxruntime").read_text()
