"""Run in a child that is watched: gives files that mean harm to what takes files, and tells how each was answered.

    python -m answering.given_hostile FOLDER ENTRY=STEP…

FOLDER holds the files under ``files``, whole bundles under ``bundles``, a run under ``run`` where there is one, and
``out``, in which may be written. A line of JSON a file goes to standard output: what it was, and how it ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from netwright.cli import main
from netwright.errors import NetwrightError

Cases = Iterator[tuple[str, Callable[[], object]]]
MEMBERS = (
    "model.onnx", "preprocess.json", "classes.json", "certificate.json", "weights.safetensors", "model.pt2", "run.py",
    "card.md", "data.pkl", "config.json",
)  # fmt: skip
SUFFIXES = {
    "digits": (".png", ".jpg", ".gif", ".webp", ".tif", ".npy", ".npz", ".pt", ".pkl", ".csv", ".json", ".jsonl", ""),
    "sounds": (".wav", ".flac", ".mp3", ".ogg", ".csv", ".pkl", ""),
    "texts": (".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet"),
    "rows": (".csv", ".tsv", ".json", ".jsonl", ".parquet"),
}
LOADED = (
    ".png",
    ".npy",
    ".wav",
    ".csv",
    ".tsv",
    ".json",
    ".jsonl",
    ".txt",
    ".conll",
    ".parquet",
    ".pt",
    ".pkl",
    ".npz",
    ".gz",
    ".zip",
)
REPORTED = ("data.json", "evaluation.json", "metrics.jsonl", "predictions.safetensors", "plan.json")
RUN_FILES = (
    "settings.yaml", "plan.json", "data.json", "environment.json", "evaluation.json", "metrics.jsonl",
    "weights.safetensors", "predictions.safetensors",
)  # fmt: skip


def spoilt(bundle: Path, name: str, content: bytes) -> Path:
    """Put a file into a bundle, under a digest that is right."""
    (bundle / name).write_bytes(content)
    if name != "certificate.json":
        certificate = json.loads((bundle / "certificate.json").read_text())
        certificate["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        (bundle / "certificate.json").write_text(json.dumps(certificate))
    return bundle


def verb(*arguments: str | Path) -> str:
    """What a verb ended with: its exit code. Any error that has no sentence of its own goes through."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return f"code {main([*map(str, arguments)])}"


def vouched(sealed: bytes, name: str, before: bytes, content: bytes) -> bytes:
    """A checkpoint's manifest with the size and digest of another content, sealed anew."""
    body, seal, _ = sealed.rpartition(b',\n"sha256": "')
    tree = json.loads(body + b"\n}")
    assert seal and tree["files"][name]["size"] == len(before)
    tree["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    text = json.dumps(tree, indent=1).removesuffix("\n}").encode("ascii")
    return text + seal + hashlib.sha256(text).hexdigest().encode() + b'"\n}\n'


def bundles(folder: Path) -> Cases:
    """As each file of a bundle in a folder, and as the .zip itself."""
    from netwright.answering.predictor import Predictor

    whole = folder / "bundles" / "digits"
    wanted = Predictor.open(whole, threads=1).predict([[[0] * 28] * 28])
    place = folder / "out" / "bundle"

    def opened(name: str, content: bytes) -> str:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        same = Predictor.open(spoilt(place, name, content), threads=1).predict([[[0] * 28] * 28]) == wanted
        assert same, "another answer"
        return "as before"

    def packed(file: Path, *, inside: bool) -> str:
        path = folder / "out" / "bundle.zip"
        if inside:
            with zipfile.ZipFile(path, "w") as archive:
                for name in ("certificate.json", "preprocess.json", "classes.json", "model.onnx"):
                    archive.write(file, name)
        else:
            path.write_bytes(file.read_bytes())
        Predictor.open(path, threads=1)
        return "opened"

    for file in files(folder):
        for name in MEMBERS:
            yield f"{name}: {file.name}", lambda name=name, file=file: opened(name, file.read_bytes())  # type: ignore[misc]
        yield f"zip: {file.name}", lambda file=file: packed(file, inside=False)  # type: ignore[misc]
        yield f"in a zip: {file.name}", lambda file=file: packed(file, inside=True)  # type: ignore[misc]


def predicted(folder: Path) -> Cases:
    """As an input of ``netwright predict``, and as its bundle, and as that of ``netwright serve``."""
    for file in files(folder):
        yield f"predict {file.name}", lambda file=file: verb("predict", file, "text")  # type: ignore[misc]
        yield f"serve {file.name}", lambda file=file: verb("serve", "--no-supervise", file)  # type: ignore[misc]
        for name, suffixes in SUFFIXES.items():
            for suffix in suffixes:
                given = folder / "out" / f"given{suffix}"

                def ask(file: Path = file, name: str = name, given: Path = given) -> str:
                    given.write_bytes(file.read_bytes())
                    return verb("predict", folder / "bundles" / name, given, "--json")

                yield f"{name}{suffix}: {file.name}", ask


def loaded(folder: Path) -> Cases:
    """As data: a file alone, one a class in folders, and one that a list names."""
    import netwright as nw

    def given(file: Path, suffix: str, how: str) -> str:
        place = folder / "out" / "data"
        shutil.rmtree(place, ignore_errors=True)
        target = place / f"one{suffix}"
        if how == "classes":
            for name in ("a", "b"):
                (place / name).mkdir(parents=True)
                for at in range(3):
                    shutil.copyfile(file, place / name / f"{at}{suffix}")
            return f"loaded {nw.load(place).spec.kind}"
        place.mkdir(parents=True)
        shutil.copyfile(file, target)
        if how == "list":
            (place / "list.csv").write_text("path,label\n" + f"one{suffix},a\none{suffix},b\n" * 6)
            return f"loaded {nw.load(place / 'list.csv').spec.kind}"
        return f"loaded {nw.load(target).spec.kind}"

    for at, file in enumerate(files(folder)):
        for turn, suffix in enumerate(LOADED):
            how = ("alone", "classes", "list")[(at + turn) % 3]
            yield f"{how} {suffix}: {file.name}", lambda f=file, s=suffix, h=how: given(f, s, h)  # type: ignore[misc]


def asked_of_run(place: Path, name: str, out: Path | None) -> str:
    """Read a run as the verbs do that read one of its files."""
    from netwright.checkpoints import read_weights
    from netwright.inference import open_trained
    from netwright.run import open_run

    run = open_run(place)
    if name == "weights.safetensors":
        read_weights(run.weights_file)
        return "opened"
    if name == "settings.yaml":
        open_trained(place)
        return "opened"
    for reader in (run.read_plan, run.read_data, run.read_environment, run.read_evaluation, run.read_metrics):
        with contextlib.suppress(NetwrightError):
            reader()
    if out is not None:
        from netwright.reporting import report

        report(place, out=out)
    return "read"


def of_run(folder: Path, names: Sequence[str], out: Path | None) -> Cases:
    """As files of a run; where ``out`` names a file, a report is written of it each time."""
    whole, place = folder / "run", folder / "out" / "run"

    def read(name: str, content: bytes) -> str:
        before = (whole / name).read_bytes() if (whole / name).exists() else None
        if not place.exists():
            shutil.copytree(whole, place)
        (place / name).write_bytes(content)
        try:
            return asked_of_run(place, name, out)
        finally:
            (place / name).unlink() if before is None else (place / name).write_bytes(before)

    for file in files(folder):
        for name in names:
            yield f"{name}: {file.name}", lambda n=name, f=file: read(n, f.read_bytes())  # type: ignore[misc]


def runs(folder: Path) -> Cases:
    """As each file of a run, which is read."""
    return of_run(folder, RUN_FILES, None)


def reports(folder: Path) -> Cases:
    """As each file that a report is made of."""
    return of_run(folder, REPORTED, folder / "out" / "report.html")


def checkpoints(folder: Path) -> Cases:
    """As each file of a checkpoint, also under a manifest that vouches for it."""
    from netwright.checkpoints import load
    from netwright.checkpoints.manifest import manifest_bytes

    def given(content: bytes, name: str) -> str:
        there = folder / "out" / "checkpoints"
        shutil.rmtree(there, ignore_errors=True)
        one = there / "step-00000001"
        one.mkdir(parents=True)
        parts = {"tensors.safetensors": b"\x02\x00\x00\x00\x00\x00\x00\x00{}", "state.json": b"{}"}
        sealed = manifest_bytes(1, parts)  # type: ignore[arg-type]
        if name in parts:  # another content, and a manifest that vouches for it
            before, parts[name] = parts[name], content
            sealed = vouched(sealed, name, before, content)
        if name == "data.pkl":
            parts[name] = content
        (one / "manifest.json").write_bytes(content if name == "manifest.json" else sealed)
        for other, part in parts.items():
            (one / other).write_bytes(part)
        load(there)
        return "loaded"

    for file in files(folder):
        for name in ("tensors.safetensors", "state.json", "manifest.json", "data.pkl"):
            yield f"checkpoint {name}: {file.name}", lambda n=name, f=file: given(f.read_bytes(), n)  # type: ignore[misc]


def files(folder: Path) -> list[Path]:
    """What means harm."""
    return sorted((folder / "files").iterdir())


def open_them(folder: Path) -> Cases:
    """The proof that the watch sees: what nobody should do with such files."""
    import pickle

    for file in files(folder):
        yield file.name, lambda file=file: pickle.loads(file.read_bytes())  # type: ignore[misc]


ENTRIES = {one.__name__: one for one in (bundles, predicted, loaded, runs, reports, checkpoints, open_them)}


def tell(entry: str, folder: Path, step: int) -> None:
    """Give every file, or every ``step``-th pair of a file and a way to give it, and tell how it ended."""
    for name, action in itertools.islice(ENTRIES[entry](folder), 0, None, step):
        told: dict[str, Any] = {"what": name}
        try:
            told["ended"] = str(action())
        except NetwrightError as error:
            told["refused"] = str(error)[:300]
        except Exception as error:  # what is looked for
            told["fault"] = f"{type(error).__name__}: {error}"[:2000]
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    for asked in sys.argv[2:]:
        entry, _, step = asked.partition("=")
        tell(entry, Path(sys.argv[1]), int(step))
