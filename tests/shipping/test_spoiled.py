"""An export that went wrong is refused, with the reason; each way to go wrong is made on purpose."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import Tensor, nn

import netwright as nw
from netwright.data import load
from netwright.errors import CertificateError
from netwright.inference import data_of, open_trained
from netwright.options import make_options
from netwright.progress import Silent
from netwright.records import LoadOptions
from netwright.shipping.bundle import CERTIFICATE, as_text, digests, first_batch, scored
from netwright.shipping.certificate import certify
from netwright.shipping.export import LOOKED_AT, export
from netwright.shipping.graph import example_of, exported
from netwright.shipping.onnx import OPSET, to_onnx, to_pt2
from netwright.shipping.subject import Subject

NETS = Path(__file__).with_name("nets.py")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Good:
    """A bundle that was proved, and what it was proved with."""

    folder: Path
    subject: Subject


def _trained(folder: Path, name: str, source: Path, **options: Any) -> Good:
    wanted = {key: options.pop(key) for key in ("target", "sample_rate") if key in options}
    data = load(str(source), options=make_options(LoadOptions, wanted))
    model = nw.load_model(f"{NETS}:{name}")
    run = nw.train(model, data, run=folder / name, progress=Silent(), report=False, skip="all", **options)
    trained = open_trained(run, nw.load_model(f"{NETS}:{name}"))
    held = data_of(run, trained.spec, data) if not trained.spec.data.startswith("python:") else data
    bundle = export(run, folder / f"{name}-bundle", model=nw.load_model(f"{NETS}:{name}"), data=held)
    return Good(bundle, Subject.of(trained, held))


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Good:
    folder = tmp_path_factory.mktemp("colours")
    generator = np.random.default_rng(0)
    for index in range(120):
        pixels = generator.integers(0, 120, (8, 8, 3))
        pixels[..., index % 3] += 90
        pixels[:4] += 30 * (index % 2)
        place = folder / "pictures" / ("red", "green", "blue")[index % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index:03}.png")
    return _trained(folder, "Colours", folder / "pictures", epochs=4, batch_size=16)


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Good:
    folder = tmp_path_factory.mktemp("requests")
    return _trained(folder, "Requests", ROOT / "examples" / "texts" / "requests.csv", epochs=6)


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Good:
    folder = tmp_path_factory.mktemp("prices")
    source = ROOT / "examples" / "tables" / "deliveries.csv"
    return _trained(folder, "Prices", source, target="distance_km", epochs=6)


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Good:
    folder = tmp_path_factory.mktemp("tones")
    return _trained(folder, "Tones", ROOT / "examples" / "sounds", epochs=1)


Spoil = Callable[[Path, Good], None]


def graph_of(change: Callable[[Any], Any], *, pt2: bool = False) -> Spoil:
    """The graph of a module that was changed."""

    def spoil(folder: Path, good: Good) -> None:
        subject = good.subject
        model = copy.deepcopy(subject.trained.model)
        batch = first_batch(subject.data, scored(subject.data), LOOKED_AT)
        graph = exported(dataclasses.replace(subject.trained, model=model), batch)
        graph = change(graph) or graph
        if pt2:
            (folder / "model.pt2").write_bytes(to_pt2(graph, batch))
        else:
            (folder / "model.onnx").write_bytes(to_onnx(graph, batch))

    return spoil


def spec_of(change: Callable[[dict[str, Any]], None], name: str = "preprocess.json") -> Spoil:
    """A file of JSON that was changed."""

    def spoil(folder: Path, good: Good) -> None:
        del good
        held = json.loads((folder / name).read_text(encoding="utf-8"))
        change(held)
        (folder / name).write_text(as_text(held), encoding="utf-8")

    return spoil


class Asked(nn.Module):
    """A module that is handed something else, or whose answer is changed."""

    def __init__(self, model: nn.Module, before: Callable[..., Any] | None, after: Callable[..., Any] | None) -> None:
        super().__init__()
        self.inner, self.before, self.after = model, before, after

    def forward(self, *fields: Tensor) -> Tensor:
        given = fields if self.before is None else self.before(*fields)
        found = self.inner(*given)
        return found if self.after is None else self.after(found)


def handed(before: Callable[..., Any] | None = None, after: Callable[..., Any] | None = None) -> Spoil:
    def change(graph: Any) -> None:
        graph.model = Asked(graph.model, before, after)
        names = graph.binding
        fields = (*names.positional, *(field for _, field in names.keywords))
        graph.binding = dataclasses.replace(names, positional=fields, keywords=(), names=())

    return graph_of(change)


def always_dropping(folder: Path, good: Good) -> None:
    """Dropout in front of the last layer, which a graph in train mode has."""
    del good
    model = onnx.load(folder / "model.onnx")
    last = next(node for node in reversed(model.graph.node) if node.op_type in ("Gemm", "MatMul"))
    half = numpy_helper.from_array(np.asarray(0.5, dtype=np.float32), "half")
    model.graph.initializer.append(half)
    make, source, place = onnx.helper.make_node, last.input[0], list(model.graph.node).index(last)
    nodes = [
        make("RandomUniformLike", [source], ["drawn"]),
        make("Greater", ["drawn", "half"], ["kept"]),
        make("Cast", ["kept"], ["mask"], to=onnx.TensorProto.FLOAT),
        make("Mul", [source, "mask"], ["some"]),
        make("Div", ["some", "half"], ["dropped"]),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(place, node)
    last.input[0] = "dropped"
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def own_statistics(graph: Any) -> None:
    graph.model.norm.track_running_stats = False
    graph.model.norm.running_mean = graph.model.norm.running_var = None


def without_steps(graph: Any) -> None:
    graph.preprocess = graph.preprocess.model_copy(update={"operations": ()})
    graph.model = Asked(graph.model, lambda x: (x.float(),), None)
    graph.binding = dataclasses.replace(graph.binding, positional=("image",), keywords=(), names=())


def only_shares(graph: Any) -> None:
    without_steps(graph)
    graph.model.before = lambda x: (x.float() / 255,)


def other_weights(graph: Any) -> None:
    with torch.no_grad():
        graph.model.out.weight += 0.05 * torch.randn(graph.model.out.weight.shape, generator=torch.manual_seed(0))


def logits(graph: Any) -> None:
    graph.task = dataclasses.replace(graph.task, kind="probs")


def twice(graph: Any) -> None:
    true = graph.task

    class Twice:
        def served(self, outputs: Tensor, inputs: Any) -> dict[str, Tensor]:
            return {"probabilities": true.served(outputs, inputs)["probabilities"].softmax(1)}

    graph.task = Twice()


def scaled_target(graph: Any) -> None:
    graph.task = dataclasses.replace(graph.task, scale=None)


def fixed(*, axes: bool) -> Spoil:
    """A graph without open sizes; with ``axes`` the batch alone is open."""

    def spoil(folder: Path, good: Good) -> None:
        subject = good.subject
        batch = first_batch(subject.data, scored(subject.data), LOOKED_AT)
        graph = exported(subject.trained, batch)
        graph.inputs = tuple(one._replace(axes={0: "batch"} if axes else {}) for one in graph.inputs)
        (folder / "model.onnx").write_bytes(to_onnx(graph, batch))
        assert example_of(graph, batch)

    return spoil


def flipped_bit(folder: Path, good: Good) -> None:
    del good
    model = onnx.load(folder / "model.onnx")
    one = next(part for part in model.graph.initializer if part.name.endswith("out.weight"))
    values = numpy_helper.to_array(one).copy()
    values.view(np.uint32)[0, 0] ^= 1 << 24
    one.CopyFrom(numpy_helper.from_array(values, one.name))
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def other_run_py(folder: Path, good: Good) -> None:
    del good
    for path in (folder / "runtime").rglob("pixels.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("image.convert(mode)", "image.rotate(180).convert(mode)"), encoding="utf-8")
        changed = path.read_text(encoding="utf-8").replace(
            "return image if image.mode == mode", "image = image.rotate(180)\n    return image if image.mode == mode"
        )
        path.write_text(changed, encoding="utf-8")


def saved_weights(folder: Path, good: Good) -> None:
    from safetensors.torch import save_file

    state = {name: value + 1 if value.is_floating_point() else value
             for name, value in good.subject.trained.model.state_dict().items()}  # fmt: skip
    save_file(state, folder / "weights.safetensors")


def operation(held: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in held["preprocess"]["operations"] if one["op"] == name)


def column(held: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(one for one in operation(held, "encode_rows")["columns"] if one["kind"] == kind)


def dropped(held: dict[str, Any], name: str) -> None:
    held["preprocess"]["operations"] = [one for one in held["preprocess"]["operations"] if one["op"] != name]


def shifted(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(tokens == 0, tokens, tokens + 1), lengths


def overflowing(found: Tensor) -> Tensor:
    return (found * 60_000.0).half().float() / 60_000.0


SPOILED: dict[str, tuple[str, Spoil, str]] = {
    "dropout left in train mode": ("colours", always_dropping, "another answer each time"),
    "batch normalisation in train mode": ("colours", graph_of(own_statistics), "each batch's own statistics"),
    "frozen batch": ("colours", fixed(axes=False), "the batch of image is frozen at 3"),
    "frozen length": ("requests", fixed(axes=True), "the length of tokens is frozen at"),
    "channels swapped": ("colours", handed(lambda x: (x.flip(1),)), "channels of image came in reverse order"),
    "height and width exchanged": ("colours", handed(lambda x: (x.transpose(2, 3),)), "height and width"),
    "normalisation dropped": ("colours", graph_of(without_steps), "was left out"),
    "divided by 255 alone": ("colours", graph_of(only_shares), "divided by 255"),
    "classes in another order": (
        "colours", spec_of(lambda held: held["classes"].reverse(), "classes.json"), "classes in another order",
    ),
    "outputs in another order": ("colours", handed(after=lambda x: x.roll(1, 1)), "classes were in another order"),
    "vocabulary off by one": ("requests", handed(shifted), "tokens were \\+1 off"),
    "another sample rate": (
        "tones", spec_of(lambda held: operation(held, "decode_sound").update(sample_rate=11_025)),
        "decode_sound.sample_rate 11025 instead of",
    ),
    "float16 overflow": ("colours", handed(after=overflowing), "too large for its type"),
    "weights of another epoch": ("colours", graph_of(other_weights), "other weights: .*out.weight"),
    "one bit of a weight": ("colours", flipped_bit, "out.weight\\[0, 0\\] is"),
    "softmax taken twice": ("colours", graph_of(twice), "softmax was taken twice"),
    "no softmax": ("colours", graph_of(logits), "answers are logits"),
    "padding read as data": (
        "requests", handed(lambda tokens, lengths: (tokens, torch.full_like(lengths, tokens.shape[1]))),
        "padding were data",
    ),
    "the target's unit dropped": ("prices", graph_of(scaled_target), "values of .* apart"),
    "another size": (
        "colours", spec_of(lambda held: held["preprocess"]["operations"].insert(1, {
            "op": "resize", "height": 4, "width": 4})), "operations",
    ),
    "grey in place of colour": (
        "colours", spec_of(lambda held: operation(held, "decode_image").update(mode="L")), 'decode_image.mode "L"',
    ),
    "another filling for what is missing": (
        "prices", spec_of(lambda held: column(held, "number").update(fill=1e3)), "fill 1000.0 instead of",
    ),
    "categories in another order": (
        "prices", spec_of(lambda held: column(held, "category")["values"].reverse()), "values",
    ),
    "the other end of a long text": (
        "requests", spec_of(lambda held: operation(held, "tokenise").update(keep="last")), 'tokenise.keep "last"',
    ),
    "normalisation missing in the file": (
        "colours", spec_of(lambda held: dropped(held, "normalise")), "operations",
    ),
    "another exported program": ("colours", graph_of(other_weights, pt2=True), "model.pt2: .* apart"),
    "other weights beside it": ("colours", saved_weights, "weights.safetensors: .*other weights"),
    "another run.py": ("colours", other_run_py, "run.py"),
}  # fmt: skip


@pytest.fixture
def draft(tmp_path: Path) -> Iterator[Callable[[Good], Path]]:
    def copied(good: Good) -> Path:
        return Path(shutil.copytree(good.folder, tmp_path / "bundle"))

    yield copied


def sealed(folder: Path) -> None:
    """Digests of the files as they are now: what was spoiled was spoiled before they were taken."""
    (folder / CERTIFICATE).write_text(as_text({"format": 1, "files": digests(folder)}), encoding="utf-8")


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_export_is_refused_with_the_reason(
    name: str, request: pytest.FixtureRequest, draft: Callable[[Good], Path]
) -> None:
    """The reason is what was spoiled."""
    kind, spoil, reason = SPOILED[name]
    good: Good = request.getfixturevalue(kind)
    folder = draft(good)
    spoil(folder, good)
    sealed(folder)
    with pytest.raises(CertificateError, match=reason):
        certify(folder, good.subject, variants={}, say=lambda text: None)


@pytest.mark.parametrize("kind", ["colours", "requests", "prices", "tones"])
def test_what_was_not_spoiled_is_proved_again(
    kind: str, request: pytest.FixtureRequest, draft: Callable[[Good], Path]
) -> None:
    """Within the tolerance, all decisions equal, run.py compared."""
    good: Good = request.getfixturevalue(kind)
    folder = draft(good)
    sealed(folder)
    held = certify(folder, good.subject, variants={}, say=lambda text: None)
    assert held["validation"]["count"] == len(good.subject.data.split(scored(good.subject.data)))
    assert held["validation"]["largest_difference"] <= 1e-4
    assert held["validation"]["decisions_equal"] == held["validation"]["decisions"]
    assert all(edge["decisions_equal"] == edge["count"] for edge in held["edges"])
    assert held["programs"]["run.py"].startswith("compared on")
    assert OPSET >= 18
