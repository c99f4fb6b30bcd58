"""``netwright predict`` and run.py: whatever is named is answered, as it is read, in a form for people or machines."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from answering.alone import alone
from answering.kinds import Made
from netwright.answering.predictor import Predictor
from netwright.answering.shown import csv_lines
from netwright.answering.standalone import PACKAGE, runtime_files
from netwright.cli import main


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four pictures in folders, one of them damaged, and a file that is none."""
    folder = tmp_path / "shots"
    (folder / "more").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.PNG", "more/c.png")):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "more" / "d.png").write_bytes(b"\x89PNG")
    (folder / "notes.txt").write_text("none")
    return folder


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_folders_patterns_and_files_are_answered(
    image: Made, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder with all below it, in order; what is damaged fails alone, with exit code 1."""
    assert main(["predict", str(image.bundle), str(pictures), "--json"]) == 1
    answers = lines(capsys)
    assert [Path(one["name"]).name for one in answers] == ["a.png", "b.PNG", "c.png", "d.png"]
    assert ["error" in one for one in answers] == [False, False, False, True]
    assert main(["predict", str(image.bundle), str(pictures / "**" / "[ac].png"), "--format", "jsonl"]) == 0
    assert lines(capsys) == [answers[0], answers[2]]
    assert main(["predict", str(image.bundle), str(pictures / "a.png"), str(pictures / "none.png")]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{pictures}/a.png\t")
    assert "none.png\terror:" in shown.err
    (pictures.parent / "list.csv").write_text("id,path\n1,shots/a.png\n2,shots/more/c.png\n")
    assert main(["predict", str(image.bundle), str(pictures.parent / "list.csv"), "--json"]) == 0
    assert [one["label"] for one in lines(capsys)] == [answers[0]["label"], answers[2]["label"]]


@pytest.mark.parametrize("where", ["empty", "none*.png"])
def test_where_nothing_is_to_be_answered_it_is_told(
    image: Made, tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder or pattern without a picture is wrong usage."""
    (tmp_path / "empty").mkdir()
    assert main(["predict", str(image.bundle), str(tmp_path / where)]) == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("table", "rows.csv", ""),
        ("table", "rows.csv", "km,vehicle\n"),
        ("table", "rows.json", "[]"),
        ("table", "-", ""),
        ("image", "list.csv", ""),
        ("text", "texts.jsonl", "\n"),
        ("text", "@lines.txt", ""),
    ],
)
def test_a_file_without_an_input_is_told(
    kind: str,
    name: str,
    content: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As a folder without one is; nothing is written as if it had been answered."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    Path(name.removeprefix("@")).write_text(content)
    made: Made = request.getfixturevalue(kind)
    assert main(["predict", str(made.bundle), name, "--json"]) == 2
    shown = capsys.readouterr()
    where = "standard input" if name == "-" else name
    assert shown.err.startswith(f"error: {where}: expected at least one input, got none.")
    assert not shown.out


def test_what_came_before_a_file_without_an_input_is_answered(
    table: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told at its turn."""
    (tmp_path / "rows.csv").write_text("km,vehicle\n3,car\n")
    (tmp_path / "empty.csv").write_text("km,vehicle\n")
    assert main(["predict", str(table.bundle), str(tmp_path / "rows.csv"), str(tmp_path / "empty.csv"), "--json"]) == 2
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1
    assert "expected at least one input" in shown.err


def test_rows_come_from_files_json_and_standard_input(
    table: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """CSV, TSV, JSON and JSON lines say the same; a row that is too long fails alone."""
    rows = [{"km": "3.5", "vehicle": "bike"}, {"km": "", "vehicle": "van"}, {"km": "11", "vehicle": "a, b"}]
    wanted = [one | {"name": ""} for one in Predictor.open(table.bundle).predict(rows)]

    def answered(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
        assert main(["predict", str(table.bundle), *arguments, "--json"]) == code
        return [one | {"name": ""} for one in lines(capsys)]

    texts = {
        "rows.csv": 'km,vehicle\n3.5,bike\n,van\n11,"a, b"\n',
        "rows.tsv": "km\tvehicle\n3.5\tbike\n\tvan\n11\ta, b\n",
        "rows.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "rows.json": json.dumps(rows),
    }
    for name, content in texts.items():
        (tmp_path / name).write_text(content)
        assert answered(str(tmp_path / name)) == wanted, name
    for name in ("rows.csv", "rows.jsonl"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(texts[name].encode())))
        assert answered("-") == wanted
    assert answered(*map(json.dumps, rows)) == wanted
    (tmp_path / "bad.csv").write_text("km,vehicle\n3.5,bike\n1,2,3\n,van\n")
    found = answered(str(tmp_path / "bad.csv"), code=1)
    assert [found[0], found[2]] == wanted[:2] and "2 cells" in found[1]["error"]
    assert main(["predict", str(table.bundle), str(tmp_path / "none.csv")]) == 2
    assert main(["predict", str(table.bundle), "-", "--batch-size", "0"]) == 2


def test_texts_come_from_arguments_files_and_standard_input(
    text: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A question mark makes no pattern of a text."""
    (tmp_path / "lines.txt").write_text("play music\n\n明天 下雨 吗\n", encoding="utf-8")
    (tmp_path / "texts.csv").write_text("id,text\n7,play music\n", encoding="utf-8")
    bundle = str(text.bundle)
    assert main(["predict", bundle, "will it rain?", f"@{tmp_path}/lines.txt", f"{tmp_path}/texts.csv", "--json"]) == 0
    first, *rest, last = lines(capsys)
    assert first["name"] == "will it rain?"
    assert [one["name"] for one in rest] == ["play music", "", "明天 下雨 吗"]
    assert last["probabilities"] == rest[0]["probabilities"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'play music\n{"input": "play music"}\n')))
    assert main(["predict", bundle, "-", "--json"]) == 0
    assert [one["probabilities"] for one in lines(capsys)] == [rest[0]["probabilities"]] * 2


def test_tables_of_machines_can_be_read_back_and_run_nothing(text: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is a formula is none in CSV; what steers a terminal is written as what it is."""
    names = ["=1+1", "-music", "\x1b[31mred\nline", "‮turned", "12", "@SUM(1)", "weather 👩‍👩‍👧"]
    written = "\n".join(csv_lines(Predictor.open(text.bundle).predict(names)))
    rows = list(csv.DictReader(io.StringIO(written, newline="")))
    assert [row["name"] for row in rows] == [
        "'=1+1", "'-music", "\\x1b[31mred\nline", "\\u202eturned", "12", "'@SUM(1)", "weather 👩‍👩‍👧",
    ]  # fmt: skip
    assert all(0 <= float(row["confidence"]) <= 1 and not row["error"] for row in rows)
    assert main(["predict", str(text.bundle), "music", *names[2:5]]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "‮" not in shown and shown.count("\n") == 4
    assert main(["predict", str(text.bundle), "\ud800 half", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "\ud800 half"


def test_the_first_of_many_is_answered_before_the_last_is_read(image: Made) -> None:
    """A folder of a hundred thousand files does not wait for its last."""
    asked = 0

    def endless() -> Any:
        nonlocal asked
        while True:
            asked += 1
            yield "one", np.zeros((8, 8), np.uint8)

    stream = Predictor.open(image.bundle).stream(endless(), batch_size=4)
    assert next(stream)["name"] == "one"
    assert asked < 50


def test_answering_from_a_bundle_imports_no_torch(image: Made, pictures: Path) -> None:
    """Nor anything of the training's."""
    script = (
        "import sys\nfrom netwright.cli import main\n"
        f"code = main(['predict', {str(image.bundle)!r}, {str(pictures / 'a.png')!r}])\n"
        "print(code, sorted({'torch', 'sklearn', 'pandas', 'scipy', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_run_py_answers_as_predict_does_without_torch(image: Made, pictures: Path) -> None:
    """And without pydantic, SciPy and pandas; the folder stays as it was certified."""
    code, out, err = alone(image.bundle, str(pictures), "--format", "jsonl")
    assert code == 1, err
    found = [json.loads(line) for line in out.splitlines()]
    files = [pictures / "a.png", pictures / "b.PNG", pictures / "more" / "c.png", pictures / "more" / "d.png"]
    assert found == Predictor.open(image.bundle).predict(files)
    assert not list(image.bundle.rglob("__pycache__"))
    code, out, _ = alone(image.bundle, "--help")
    assert code == 0 and "--format" in out and "exit codes" in out
    assert alone(image.bundle, "--beam", "3", str(pictures))[0] == 2


def test_run_py_reads_texts_and_rows(text: Made, table: Made) -> None:
    """From standard input, as JSON lines and CSV."""
    code, out, err = alone(text.bundle, "-", "--format", "jsonl", given='明天 下雨 吗\n{"input": "play"}\n')
    assert code == 0, err
    wanted = Predictor.open(text.bundle).predict(["明天 下雨 吗", "play"])
    assert [json.loads(line)["probabilities"] for line in out.splitlines()] == [one["probabilities"] for one in wanted]
    code, out, err = alone(table.bundle, "-", given="km,vehicle\n3,bike\n4,van\n", absent=("PIL", "tokenizers"))
    assert code == 0 and len(out.splitlines()) == 2, err


def test_run_py_tells_what_is_not_installed(image: Made, pictures: Path) -> None:
    """By the name to install it by."""
    code, _, err = alone(image.bundle, str(pictures), absent=("PIL",))
    assert (code, err) == (2, "error: Pillow is not installed: pip install Pillow\n")
    code, _, err = alone(image.bundle, str(pictures), absent=("onnxruntime",))
    assert (code, err) == (2, "error: onnxruntime is not installed: pip install onnxruntime\n")


@pytest.mark.parametrize("kind", ["image", "text", "sound", "table", "series", "tensor"])
def test_the_runtime_is_netwright_byte_by_byte(kind: str) -> None:
    """Nothing that imports torch is in it, and only what a kind needs."""
    files = runtime_files(kind)
    own = {name.removeprefix("runtime/") for name in files if name.startswith("runtime/netwright/")}
    assert all(files[f"runtime/{name}"] == (PACKAGE.parent / name).read_bytes() for name in own)
    assert not [name for name, content in files.items() if b"\nimport torch" in content or b"\nfrom torch" in content]
    assert ("runtime/netwright/pixels.py" in files) == (kind in ("image", "table", "tensor"))
    assert set(files) - {f"runtime/{name}" for name in own} == {"run.py", "runtime/pydantic_stand_in.py"}


@pytest.mark.skipif(os.name == "nt", reason="pipes")
def test_a_closed_pipe_ends_it(image: Made, pictures: Path) -> None:
    """As ``| head -1`` closes it, without a traceback."""
    command = f"{sys.executable} -m netwright predict {image.bundle} " + f"{pictures}/a.png " * 400 + "| head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
