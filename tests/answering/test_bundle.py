"""What is no bundle, or no longer one, is refused by name; what is opened is what was certified."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from answering.kinds import Made, certify
from netwright.answering.bundle import CERTIFICATE, open_bundle
from netwright.answering.predictor import Predictor
from netwright.errors import BundleError, MissingFileError


@pytest.fixture
def folder(image: Made, tmp_path: Path) -> Path:
    """A copy of a bundle, to be spoilt."""
    return Path(shutil.copytree(image.bundle, tmp_path / "bundle"))


def packed(folder: Path, path: Path, *, skip: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder).as_posix()
            if file.is_file() and name != skip:
                archive.write(file, name)
    return path


PICTURE = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_answers_as_its_folder(folder: Path, tmp_path: Path, method: int) -> None:
    """Stored or deflated."""
    path = packed(folder, tmp_path / "bundle.zip", method=method)
    assert Predictor.open(path).predict([PICTURE]) == Predictor.open(folder).predict([PICTURE])
    assert open_bundle(path).digest == open_bundle(folder).digest


def test_each_file_is_compared(folder: Path) -> None:
    """A bit turned, a file gone, a file more: the file is named."""
    names = open_bundle(folder).names
    assert len(names) > 20
    for name in (*names[:4], "run.py", "runtime/netwright/words.py"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            open_bundle(folder)
        (folder / name).unlink()
        with pytest.raises(BundleError, match="none of that name"):
            open_bundle(folder)
        (folder / name).write_bytes(content)
    (folder / "runtime" / "more.py").write_text("")
    with pytest.raises(BundleError, match=r"runtime/more\.py"):
        open_bundle(folder)


def test_what_was_verified_is_what_is_used(folder: Path) -> None:
    """A file that changes after the bundle was opened is not answered with; one read later is compared again."""
    bundle = open_bundle(folder)
    model = bundle.read("model.onnx")
    (folder / "model.onnx").write_bytes(b"other")
    (folder / "run.py").write_bytes(b"other")
    assert bundle.read("model.onnx") == model
    with pytest.raises(BundleError, match=r"run\.py"):
        bundle.read("run.py")
    with pytest.raises(BundleError, match="Name one of these"):
        bundle.read("../secret")


def test_nothing_there_is_told(tmp_path: Path) -> None:
    """With how to make one."""
    with pytest.raises(MissingFileError, match="netwright export"):
        Predictor.open(tmp_path / "none")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(BundleError, match="a folder or a .zip"):
        Predictor.open(tmp_path / "text.zip")


def test_links_and_pipes_are_refused(folder: Path, tmp_path: Path) -> None:
    """Also where they lead to the right content."""
    shutil.move(folder / "classes.json", tmp_path / "classes.json")
    (folder / "classes.json").symlink_to(tmp_path / "classes.json")
    with pytest.raises(BundleError, match=r"classes\.json, a link"):
        open_bundle(folder)
    (folder / "classes.json").unlink()
    os.mkfifo(folder / "classes.json")
    with pytest.raises(BundleError, match=r"classes\.json, a link or device"):
        open_bundle(folder)
    (folder / "classes.json").unlink()
    shutil.move(folder / "runtime", tmp_path / "runtime")
    (folder / "runtime").symlink_to(tmp_path / "runtime")
    with pytest.raises(BundleError, match="runtime, a link"):
        open_bundle(folder)


def _add(name: str, content: bytes = b"x", mode: int = 0) -> Callable[[zipfile.ZipFile], None]:
    def add(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo(name)
        info.filename = info.orig_filename = name  # ZipInfo would tidy it
        info.external_attr = mode << 16
        archive.writestr(info, content)

    return add


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("add", "told"),
    [
        (_add("../evil"), "may be an attack"),
        (_add("/etc/evil"), "may be an attack"),
        (_add("a/../../evil"), "may be an attack"),
        (_add("C:evil"), "may be an attack"),
        (_add("a\\evil"), "may be an attack"),
        (_add("a//evil"), "may be an attack"),
        (_add("evil\x07"), "may be an attack"),
        (_add("‮evil"), "may be an attack"),
        (_add("trailing. "), "may be an attack"),
        (_add("/".join("abcdefghij")), "may be an attack"),
        (_add("model.onnx"), "twice"),
        (_add("MODEL.onnx"), "twice"),
        (_add("link", b"/etc/passwd", stat.S_IFLNK | 0o777), "a link or device"),
        (_add("pipe", b"", stat.S_IFIFO | 0o777), "a link or device"),
        (_add("more"), "also a file more"),
        (_add("folder/", b"data"), "folders that hold nothing"),
    ],
)
def test_members_of_a_zip_are_looked_at(
    folder: Path, tmp_path: Path, add: Callable[[zipfile.ZipFile], None], told: str
) -> None:
    """Names that lead elsewhere, links, names that stand twice, files too many."""
    path = packed(folder, tmp_path / "bundle.zip")
    with zipfile.ZipFile(path, "a") as archive:
        add(archive)
    with pytest.raises(BundleError, match=told):
        open_bundle(path)


def test_bombs_are_refused_by_their_header(folder: Path, tmp_path: Path) -> None:
    """Too thin, too large, too many: before anything is unpacked."""
    (folder / "thin").write_bytes(bytes(50_000_000))
    certify(folder)
    with pytest.raises(BundleError, match="a bomb"):
        open_bundle(packed(folder, tmp_path / "thin.zip"))
    (folder / "thin").unlink()
    path = packed(folder, tmp_path / "many.zip")
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(600):
            archive.writestr(f"many/{number}", b"")
    with pytest.raises(BundleError, match="at most 500 files"):
        open_bundle(path)
    for number in range(600):
        (folder / f"{number}").touch()
    with pytest.raises(BundleError, match="at most 500 files"):
        open_bundle(folder)


def test_a_member_that_says_less_than_it_holds_is_cut(folder: Path, tmp_path: Path) -> None:
    """Its size in the directory is believed by nobody."""
    path = packed(folder, tmp_path / "bundle.zip")
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("classes.json").file_size
    content = path.read_bytes()
    begin = content.rfind(b"classes.json") - 46  # its entry in the directory
    assert content[begin + 24 : begin + 28] == size.to_bytes(4, "little")
    path.write_bytes(content[: begin + 24] + (size // 2).to_bytes(4, "little") + content[begin + 28 :])
    with pytest.raises(BundleError, match=r"classes\.json"):
        open_bundle(path)


def _spoil(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    certify(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("classes.json", b"[" * 100_000, "as JSON"),
        ("classes.json", b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper"),
        ("classes.json", b'{"classes": null, "classes": []}', "twice"),
        ("classes.json", b'{"classes": NaN}', "no number"),
        ("classes.json", b"[]", "no object"),
        ("classes.json", b"\xff", "as JSON"),
        ("classes.json", b'{"classes": ["a", 1]}', "a list of texts"),
        ("preprocess.json", b'{"format": 2}', "format 2"),
        ("preprocess.json", b'{"format": 1}', "one of image"),
    ],
)
def test_json_is_looked_at(folder: Path, name: str, content: bytes, told: str) -> None:
    """Deep nesting, names that stand twice, what is no number, other kinds than wanted."""
    with pytest.raises(BundleError, match=told):
        Predictor.open(_spoil(folder, name, content))


def test_operations_that_are_not_known_are_refused(folder: Path) -> None:
    """Nothing in a bundle names code to run."""
    spec = json.loads((folder / "preprocess.json").read_text())
    spec["preprocess"]["operations"].append({"op": "call", "function": "os.system"})
    with pytest.raises(BundleError, match="operations that this netwright knows"):
        Predictor.open(_spoil(folder, "preprocess.json", json.dumps(spec).encode()))


def _graph(*nodes: onnx.NodeProto, functions: list[onnx.FunctionProto] | None = None) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 1, 8, 8])
    gives = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(list(nodes), "g", [given], [gives])
    return helper.make_model(graph, functions=functions or [], opset_imports=[helper.make_opsetid("", 20)])


def _external() -> onnx.ModelProto:
    model = _graph(helper.make_node("Identity", ["image"], ["probabilities"]))
    tensor = model.graph.initializer.add()
    tensor.name, tensor.data_type, tensor.data_location = "w", TensorProto.FLOAT, TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return model


def _inside() -> onnx.ModelProto:
    """An operator of somebody's own in the branch of an If."""
    own = helper.make_graph([helper.make_node("Evil", [], ["x"], domain="com.evil")], "b", [], [])
    return _graph(helper.make_node("If", ["c"], ["x"], then_branch=own, else_branch=own))


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (_external(), "lies in another file"),
        (_graph(helper.make_node("Evil", ["image"], ["probabilities"], domain="com.evil")), '"Evil" of "com.evil"'),
        (_inside(), '"Evil" of "com.evil"'),
        (
            _graph(functions=[helper.make_function("f", "F", [], [], [], [helper.make_opsetid("", 20)])]),
            "a function of its own",
        ),
        (onnx.ModelProto(), "without a graph"),
    ],
)
def test_graphs_that_reach_outside_are_refused(folder: Path, model: onnx.ModelProto, told: str) -> None:
    """Before onnxruntime sees them: other files, operators of their own, functions."""
    with pytest.raises(BundleError, match=told):
        open_bundle(_spoil(folder, "model.onnx", model.SerializeToString()))


def test_a_graph_of_other_inputs_is_refused(folder: Path) -> None:
    """The bundle says what its graph takes and gives, and it does."""
    spec = json.loads((folder / "preprocess.json").read_text())
    spec["model"]["inputs"][0]["name"] = "picture"
    with pytest.raises(BundleError, match="picture uint8"):
        Predictor.open(_spoil(folder, "preprocess.json", json.dumps(spec).encode()))


def test_classes_and_outputs_are_as_many(folder: Path) -> None:
    """A name too few would give each answer the name of another."""
    with pytest.raises(BundleError, match=r"probabilities \(…, 9\)"):
        Predictor.open(_spoil(folder, "classes.json", json.dumps({"classes": list("abcdefghi")}).encode()))
    spec = json.loads((folder / "preprocess.json").read_text())
    spec["model"]["outputs"][0]["shape"] = ["batch", 9]
    with pytest.raises(BundleError, match="of shape"):
        Predictor.open(_spoil(folder, "preprocess.json", json.dumps(spec).encode()))


def _mutated(content: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(content))
    how = generator.randrange(3)
    if how == 0:
        return content[:place] + bytes([generator.randrange(256)]) + content[place + 1 :]
    if how == 1:
        return content[:place] + content[place + generator.randrange(1, 64) :]
    return content[:place] + generator.randbytes(generator.randrange(1, 64)) + content[place:]


def _survives(path: Path, wanted: list[dict[str, object]]) -> bool:
    """Whether it was opened; then it answered as before."""
    try:
        predictor = Predictor.open(path)
    except BundleError:
        return False
    assert predictor.predict([PICTURE]) == wanted
    return True


def _spoil_at_random(folder: Path, tmp_path: Path, times: int) -> int:
    """Zips and folders, each changed at one place; how many were opened all the same."""
    wanted = Predictor.open(folder).predict([PICTURE])
    generator = random.Random(0)
    content = packed(folder, tmp_path / "whole.zip").read_bytes()
    names = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    opened = 0
    for _ in range(times // 2):
        (tmp_path / "spoilt.zip").write_bytes(_mutated(content, generator))
        opened += _survives(tmp_path / "spoilt.zip", wanted)
        file = generator.choice([folder / CERTIFICATE, folder / "model.onnx", *names])
        before = file.read_bytes()
        file.write_bytes(_mutated(before, generator) if before else b"x")
        opened += _survives(folder, wanted)
        file.write_bytes(before)
    return opened


def test_bundles_spoilt_at_random_places_answer_as_before_or_not_at_all(folder: Path, tmp_path: Path) -> None:
    """No other answer, and no other error."""
    assert _spoil_at_random(folder, tmp_path, 100) < 50


@pytest.mark.soak
def test_a_thousand_spoilt_bundles(folder: Path, tmp_path: Path) -> None:
    """The same, more often."""
    assert _spoil_at_random(folder, tmp_path, 1_000) < 500


@pytest.mark.soak
def test_graphs_with_good_digests_and_random_damage_crash_nothing(folder: Path, tmp_path: Path) -> None:
    """Who can write the certificate can write any graph: it is refused or answers, and the process goes on."""
    generator = random.Random(1)
    content = (folder / "model.onnx").read_bytes()
    refused = 0
    for _ in range(300):
        _spoil(folder, "model.onnx", _mutated(content, generator))
        try:
            assert len(Predictor.open(folder, threads=1).predict([PICTURE])) == 1
        except BundleError:
            refused += 1
    assert refused > 10
