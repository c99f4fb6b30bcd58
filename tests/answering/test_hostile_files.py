"""Files that mean harm, given to all that takes files: refused or data, and nothing of them is run, opened or followed.

Each child process is watched from its start by an audit hook (``watched/sitecustomize.py``): it writes down programs
that start, connections, payloads that are compiled or run, globals that a pickle asks for, modules that only payloads
name, and files written elsewhere than they may be. That list must be empty, and no payload may have left its mark.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from answering import gadgets, malice
from answering.given_hostile import vouched
from answering.kinds import Made, certify
from netwright.answering.bundle import open_bundle
from netwright.answering.predictor import Predictor
from netwright.answering.shown import FORMULA, csv_lines
from netwright.checkpoints import load, read_weights
from netwright.checkpoints.manifest import manifest_bytes
from netwright.cli import main
from netwright.errors import BundleError, CheckpointError, NetwrightError, RunError
from netwright.inference import open_trained
from netwright.pixels import FORMATS, read_image
from netwright.run import open_run
from netwright.shipping.bundle import as_text
from netwright.shipping.card import write_card
from serving import bundles
from serving.running import memory_of

HERE = Path(__file__).parent
LONG_S = 1_700  # a child that takes longer hangs; on the slowest machine all files take some minutes
# What a report's plots ask the system once: for its fonts.
FONTS = "subprocess.Popen ('fc-list'"


class Given(NamedTuple):
    """How all files ended, and what was seen."""

    ended: list[dict[str, str]]
    seen: list[str]
    unharmed: bool

    @property
    def faults(self) -> list[dict[str, str]]:
        """Those that led to an error without a sentence of its own."""
        return [one for one in self.ended if "fault" in one]


def give(entries: Mapping[str, int], folder: Path, *, run: Path | None = None) -> Given:
    """Give every n-th pair of a file and a way to give it to some entries, in a child that is watched."""
    marks, out = folder / "marks", folder / "out"
    malice.prepare(marks)
    for part in (folder / "files", out):
        part.mkdir()
    for at, (name, content) in enumerate(malice.corpus(marks).items()):
        (folder / "files" / f"{at:03d} {name}".replace("/", "_")).write_bytes(content)
    for name in ("digits", "sounds", "texts", "rows"):
        getattr(bundles, name)(folder / "bundles" / name)
    if run is not None:
        shutil.copytree(run, folder / "run")
    asked = [f"{entry}={step}" for entry, step in entries.items()]
    child = [sys.executable, "-m", "answering.given_hostile", str(folder), *asked]
    done = subprocess.run(
        child, env=watched(folder), cwd=out, capture_output=True, text=True, timeout=LONG_S, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-300:], done.stderr[-2000:])
    ended = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    seen = [line for line in (folder / "log").read_text().splitlines() if not line.startswith(FONTS)]
    return Given(ended, seen, malice.unharmed(marks))


def watched(folder: Path) -> dict[str, str]:
    """The environment of a child that is watched; modules of payloads could be imported in it."""
    out = str(folder / "out")
    paths = [HERE / "watched", HERE.parent, folder / "marks"]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
        "NETWRIGHT_WATCH": str(folder / "log"), "NETWRIGHT_WATCH_ALLOWED": out, "NETWRIGHT_DATA": out,
        "XDG_CACHE_HOME": out, "TMPDIR": out, "HOME": out, "MPLCONFIGDIR": out,
    }  # fmt: skip


def check(given: Given, count: int) -> None:
    """All files ended well, and nothing was seen."""
    assert len(given.ended) >= count
    assert not given.faults
    assert not given.seen
    assert given.unharmed


def test_there_are_many_of_many_kinds(tmp_path: Path) -> None:
    """More than 150 files, no two alike, that call more than a hundred things."""
    found = malice.corpus(tmp_path)
    assert len(set(found.values())) > 250
    assert len({(call.module, call.name) for call in gadgets.gadgets(tmp_path)}) > 130


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    """Where somebody did unpickle them, each kind of harm is written down, and the mark is there."""
    folder = tmp_path / "all"
    (folder / "marks").mkdir(parents=True)
    names = ("os.system", "subprocess.call", "builtins.exec", "importlib.import_module", "io.open", "os.remove",
             "socket.create_connection", "webbrowser.open")  # fmt: skip
    whole = malice.corpus

    def some(place: Path) -> dict[str, bytes]:
        return {name: whole(place)[name] for name in names}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(malice, "corpus", some)
        given = give({"open_them": 1}, folder)
    told = "\n".join(given.seen)
    for sign in ("pickle.find_class", "os.system", "subprocess.Popen", "runs a payload", "writes",
                 "os.remove", "socket.connect", "imports webbrowser"):  # fmt: skip
        assert sign in told, sign
    assert not given.unharmed


# With torch in the child, and without.
PARTS = ({"bundles": 23, "predicted": 113}, {"loaded": 97, "runs": 61, "checkpoints": 31})


@pytest.mark.parametrize("part", PARTS, ids=["answering", "training"])
def test_files_that_mean_harm_are_refused_or_data(part: Mapping[str, int], image: Made, tmp_path: Path) -> None:
    """As files of a bundle and a run, as inputs, as data, in checkpoints that vouch for them: some of all pairs."""
    check(give(part, tmp_path, run=image.run.path), 100)


@pytest.mark.soak
@pytest.mark.parametrize("entry", ["bundles", "predicted", "loaded", "runs", "checkpoints"])
def test_all_files_that_mean_harm(entry: str, image: Made, tmp_path: Path) -> None:
    """Each file in each way."""
    check(give({entry: 1}, tmp_path, run=image.run.path), 1_000)


@pytest.mark.soak
def test_reports_of_files_that_mean_harm(image: Made, tmp_path: Path) -> None:
    """Nor is anything of them run where a report is made of a run that holds them."""
    check(give({"reports": 3}, tmp_path, run=image.run.path), 500)


def test_progress_that_is_no_text_is_told(image: Made, tmp_path: Path) -> None:
    """With the file's name; a line that is no JSON is left out."""
    run = Path(shutil.copytree(image.run.path, tmp_path / "run"))
    for content in (b"\x80\x04\x95", malice.corpus(tmp_path)["pt os.system"]):
        (run / "metrics.jsonl").write_bytes(content)
        with pytest.raises(RunError, match=r"metrics\.jsonl"):
            open_run(run).read_metrics()
    (run / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + b"[" * 100_000 + b'\n{"step"')
    assert open_run(run).read_metrics() == [{"step": 1}]


ARRAYS = ("npz os.system", "npy os.system", "npy endless", "npy of none", "npy later", "nothing", "no zip")


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_none_are_told(name: str, image: Made, tmp_path: Path, capsys: Any) -> None:
    """Archives, objects, sizes that no memory holds, heads that are cut: the others are answered."""
    (tmp_path / "bad.npy").write_bytes(malice.corpus(tmp_path)[name])
    np.save(tmp_path / "good.npy", np.zeros((8, 8), np.uint8))
    given = [str(tmp_path / one) for one in ("bad.npy", "good.npy")]
    assert main(["predict", str(image.bundle), *given, "--json"]) == 1
    bad, good = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert "an array of NumPy" in bad["error"]
    assert "label" in good


# Names in records


@pytest.fixture
def folder(image: Made, tmp_path: Path) -> Path:
    """A copy of a bundle, to be spoilt."""
    return Path(shutil.copytree(image.bundle, tmp_path / "bundle"))


KEYS = ("_target_", "__reduce__", "__class__", "py/object", "class_path", "$ref", "module")
TEXTS = (
    "os.system", "${HOME}", "$HOME", "%(HOME)s", "{0.__class__.__mro__}", "{self.__init__.__globals__}", "%n%n%s",
    "{{ 7 * 7 }}", "!!python/name:os.system", "`id`", "$(id)", "../../etc/passwd", "torch.nn.Linear",
)  # fmt: skip


def _spec(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "preprocess.json").read_text(encoding="utf-8")))


def _write(folder: Path, spec: dict[str, Any]) -> Path:
    (folder / "preprocess.json").write_text(json.dumps(spec), encoding="utf-8")
    certify(folder)
    return folder


@pytest.mark.parametrize("key", KEYS)
def test_keys_of_other_tools_are_refused_by_name_in_operations(folder: Path, key: str) -> None:
    """An operation knows its keys; one more is named."""
    spec = _spec(folder)
    spec["preprocess"]["operations"][0][key] = "os.system"
    with pytest.raises(BundleError, match=re.escape(key)):
        Predictor.open(_write(folder, spec))


@pytest.mark.parametrize("key", KEYS)
def test_keys_of_other_tools_elsewhere_are_data(folder: Path, key: str) -> None:
    """Where keys are free they mean nothing: the answers stay as they were."""
    pixels = [[0] * 8] * 8
    wanted = Predictor.open(folder).predict([pixels])
    spec = _spec(folder)
    for place in (spec, spec["answer"], spec["limits"], spec["fields"][0], spec["model"]):
        place[key] = {"_target_": "os.system", "args": ["touch canary"]}
    assert Predictor.open(_write(folder, spec)).predict([pixels]) == wanted


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_texts(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What other tools would fill in, call or import is a class's name, and is answered so; as a kind it is refused."""
    (folder / "classes.json").write_text(json.dumps({"classes": [f"{text} {at}" for at in range(10)]}))
    spec = _spec(folder) | {"name": text, "title": text}
    answer = Predictor.open(_write(folder, spec)).predict([[[0] * 8] * 8])[0]
    assert re.fullmatch(re.escape(text) + r" \d", answer["label"])
    for name in ("kind", "task"):
        with pytest.raises(BundleError, match=name):
            Predictor.open(_write(folder, spec | {name: text}))
    spec["fields"][0]["dtype"] = text
    with pytest.raises(BundleError, match="dtype of a field"):
        Predictor.open(_write(folder, spec))
    assert not capsys.readouterr().out


def test_settings_of_a_run_are_data(image: Made, tmp_path: Path) -> None:
    """Tags of Python are refused, keys that are not known are named, and texts are not filled in."""
    run = Path(shutil.copytree(image.run.path, tmp_path / "run"))
    text = (run / "settings.yaml").read_text(encoding="utf-8")
    for tag in ("!!python/object/apply:os.system ['touch canary']", "!!python/name:os.system", "!!python/tuple [1]"):
        (run / "settings.yaml").write_text(re.sub(r"(?m)^data: .*$", f"data: {tag}", text), encoding="utf-8")
        with pytest.raises(RunError, match="could not determine a constructor|settings.yaml"):
            open_run(run).read_spec()
    for key in KEYS:
        (run / "settings.yaml").write_text(f"{text}{json.dumps(key)}: os.system\n", encoding="utf-8")
        with pytest.raises(RunError, match="settings.yaml"):
            open_run(run).read_spec()
    for value in TEXTS:
        changed = re.sub(r"(?m)^data: .*$", lambda _, value=value: f"data: {json.dumps(value)}", text)
        (run / "settings.yaml").write_text(changed, encoding="utf-8")
        assert open_run(run).read_spec().data == value


def test_settings_that_grow_without_end_are_refused(image: Made, tmp_path: Path) -> None:
    """Aliases that stand in each other or in themselves, and lists too deep to read."""
    run = Path(shutil.copytree(image.run.path, tmp_path / "run"))
    bomb = malice.corpus(tmp_path)["yaml bomb"]
    for content in (bomb, b"data: &a [*a]\n", b"data: " + b"[" * 20_000, b"data: 2026-99-99\n"):
        (run / "settings.yaml").write_bytes(content)
        with pytest.raises(RunError, match=r"settings\.yaml"):
            open_run(run).read_spec()


# Weights


@pytest.mark.parametrize("name", sorted(malice.headers()))
def test_checkpoints_whose_header_lies_are_passed_over(name: str, tmp_path: Path) -> None:
    """Also where the manifest vouches for them."""
    one = tmp_path / "step-00000001"
    one.mkdir()
    before, content = b"\x02\x00\x00\x00\x00\x00\x00\x00{}", malice.headers()[name]
    sealed = manifest_bytes(1, {"tensors.safetensors": before, "state.json": b"{}"})
    (one / "manifest.json").write_bytes(vouched(sealed, "tensors.safetensors", before, content))
    (one / "tensors.safetensors").write_bytes(content)
    (one / "state.json").write_bytes(b"{}")
    with pytest.raises(CheckpointError, match="damaged"):
        load(tmp_path)


@pytest.mark.parametrize("name", sorted(malice.headers()))
def test_weights_whose_header_lies_are_refused(name: str, image: Made, tmp_path: Path) -> None:
    """What reads weights: a run that is opened. It is refused with the file's name."""
    run = Path(shutil.copytree(image.run.path, tmp_path / "run"))
    (run / "weights.safetensors").write_bytes(malice.headers()[name])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        read_weights(run / "weights.safetensors")
    with pytest.raises(NetwrightError):
        open_trained(run, image.model)


def test_weights_whose_header_lies_cost_no_memory(tmp_path: Path) -> None:
    """What a header promises is not made room for: at most 16 MiB are taken to refuse any of them."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the mark of the most memory, back to now
    except OSError as error:
        pytest.skip(f"the most memory held cannot be told here: {error}")
    before = memory_of("self")
    for content in malice.headers().values():
        (tmp_path / "weights.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError):
            read_weights(tmp_path / "weights.safetensors")
    assert memory_of("self", "VmHWM") - before < 16 << 20


def test_a_bundle_answers_without_reading_its_weights(folder: Path) -> None:
    """weights.safetensors and model.pt2 are compared with their digests and never read: answers are the graph's."""
    wanted = Predictor.open(folder).predict([[[0] * 8] * 8])
    for content in malice.headers().values():
        for name in ("weights.safetensors", "model.pt2"):
            (folder / name).write_bytes(content)
        certify(folder)
        assert Predictor.open(folder).predict([[[0] * 8] * 8]) == wanted
    (folder / "weights.safetensors").write_bytes(b"changed")
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        open_bundle(folder)


# Pictures


def test_no_picture_is_drawn_by_another_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PostScript is a program; under the name of a picture it is refused before Ghostscript is looked for."""
    content = malice.corpus(tmp_path)["postscript"]
    with pytest.raises(NetwrightError, match="EPS"):
        read_image(content, "L")
    assert not {"EPS", "WMF", "HDF5", "IPTC"} & FORMATS
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for at in range(4):
            (tmp_path / "data" / label / f"{at}.png").write_bytes(malice.corpus(tmp_path)["h5"])
    assert main(["check", "--data", str(tmp_path / "data")]) != 0
    assert "Traceback" not in capsys.readouterr().err


# Names


NAMES = (
    "line\nbreak", "\x1b[31mred\x1b[0m", "\x9b31m", "‮evil‬", "<script>alert(1)</script>", "=cmd|'/C calc'!A0",
    "@SUM(1)", "[link](javascript:alert(1))", "a|b`c`", "\x07bell\x00",
)  # fmt: skip


def steers(text: str) -> bool:
    """Whether something in it would steer a terminal."""
    return any(unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") and letter not in "\n\t" for letter in text)


@pytest.fixture
def named(folder: Path) -> Iterator[Path]:
    """A bundle whose classes and title have such names."""
    (folder / "classes.json").write_text(json.dumps({"classes": list(NAMES)}))
    yield _write(folder, _spec(folder) | {"name": NAMES[1], "title": NAMES[4]})


def test_names_of_classes_steer_no_terminal_and_no_sheet(named: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the table, in CSV (also as names of columns) and in JSON lines."""
    value = json.dumps([[0] * 8] * 8)
    for how in ("table", "csv", "jsonl"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(value + "\n"))
            assert main(["predict", str(named), "-", "--format", how]) == 0
        shown = capsys.readouterr().out
        assert not steers(shown.replace("\r\n", "\n")), how
        if how == "jsonl":
            assert shown.count("\n") == 1 and set(NAMES) == set(json.loads(shown)["probabilities"])
    answers = Predictor.open(named).predict([[[0] * 8] * 8])
    rows = list(csv.reader(io.StringIO("\r\n".join(csv_lines(answers)), newline="")))
    assert len(rows) == 2
    assert not [cell for row in rows for cell in row if cell.startswith(FORMULA)]
    assert not [cell for row in rows for cell in row if steers(cell)]


def test_names_in_a_card_and_a_certificate_are_names(image: Made) -> None:
    """No line begins with a name's second part, no mark of Markdown or HTML acts, and JSON says what was named."""
    run = open_run(image.run.path)
    data = run.read_data().model_copy(update={"classes": NAMES, "name": "a\n- item\n=====\n\x1b[2J"})
    proof = {
        "validation": {"count": 1, "split": "val", "largest_difference": 0.0, "decisions_equal": 1, "decisions": 1},
        "edges": [],
    }
    card = write_card(run.read_spec(), data, run.read_evaluation(), run.read_environment(), proof)
    assert not steers(card)
    assert not [line for line in card.splitlines() if line.startswith(("- item", "=====", "break"))]
    assert not re.search(r"(?<!\\)<script|(?<!\\)\[link", card)
    assert card.count("\n# ") + card.startswith("# ") == 1
    text = as_text({"examples": [{"answer": {"label": name}} for name in NAMES]})
    assert not steers(text)
    assert [one["answer"]["label"] for one in json.loads(text)["examples"]] == list(NAMES)
