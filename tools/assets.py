"""Fetch onnxruntime-web, which the stand-alone page runs a model with: pinned, checked, and put beside the package.

    python tools/assets.py [--tarball FILE]

Its npm package is fetched by `npm pack`, from the registry that npm is set up with; a tarball that is there already can
be named instead. Its SHA-512 and that of each file are held against ``digests.json``. No other file of it is kept.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "src" / "netwright" / "shipping" / "assets"
MOST_BYTES = 64 << 20  # of one file; the largest has 14 MB
TIMEOUT_S = 300


def fetch(package: str, folder: Path) -> Path:
    """The tarball of a package, as ``name@version``, put into a folder."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("No npm on this machine. Install Node.js, or name the package's tarball: --tarball FILE.")
    done = subprocess.run(
        [npm, "pack", package, "--silent", "--pack-destination", str(folder)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    if done.returncode:
        raise SystemExit(f"npm pack {package} failed:\n{done.stderr.strip()}")
    return next(folder.glob("*.tgz"))


def unpacked(tarball: Path, pinned: dict[str, object]) -> dict[str, bytes]:
    """The wanted files of a tarball, by name; anything that differs from what is pinned ends the program."""
    content = tarball.read_bytes()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if integrity != pinned["integrity"]:
        raise SystemExit(f"{tarball.name}: expected {pinned['integrity']}, got {integrity}. Nothing was kept.")
    found: dict[str, bytes] = {}
    wanted: dict[str, str] = dict(pinned["files"])
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for name, digest in wanted.items():
            member = archive.getmember(f"package/dist/{name}")
            file = archive.extractfile(member) if member.isfile() and member.size <= MOST_BYTES else None
            if file is None:
                raise SystemExit(f"{tarball.name}: {name} is no plain file of at most {MOST_BYTES:,} bytes.")
            found[name] = file.read()
            got = hashlib.sha256(found[name]).hexdigest()
            if got != digest:
                raise SystemExit(f"{name}: expected SHA-256 {digest}, got {got}. Nothing was kept.")
    return found


def main() -> None:
    """Fetch, check, keep; each file gzipped, as the page holds it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tarball", type=Path, help="the package's tarball, where it is there already")
    asked = parser.parse_args()
    pinned = json.loads((ASSETS / "digests.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        tarball = asked.tarball or fetch(f"{pinned['package']}@{pinned['version']}", Path(folder))
        files = unpacked(tarball, pinned)
    for name, content in files.items():
        packed = gzip.compress(content, 9, mtime=0)
        (ASSETS / f"{name}.gz").write_bytes(packed)
        sys.stdout.write(f"{name}.gz  {len(packed):,} bytes of {len(content):,}\n")


if __name__ == "__main__":
    main()
