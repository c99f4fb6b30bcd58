"""Calling a person's module by its own signature: twelve shapes run unedited, and what does not fit is explained."""

from __future__ import annotations

import hashlib
import random
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.binding import Binding, answer, bind, call, own_loss, probe
from netwright.errors import BindingError, ModelError, ShapeError
from netwright.models import load_model

SHAPES = Path(__file__).parent / "shapes"
TUTORIAL = Path(__file__).parents[1] / "examples" / "tutorial" / "net.py"
ONE = ("image",)
TWO = ("image", "table")
# file:name, arguments, fields of the batch, the binding as printed
TWELVE = {
    "one input": ("one_input.py:Net", {}, ONE, "forward(x=image)"),
    "named inputs": ("named_inputs.py:Net", {}, TWO, "forward(image=image, table=table)"),
    "star args": ("star_args.py:Net", {}, TWO, "forward(*inputs=image, *inputs=table)"),
    "tuple output": ("tuple_output.py:Net", {}, ONE, "forward(x=image)"),
    "dict output": ("dict_output.py:Net", {}, ONE, "forward(pixel_values=image)"),
    "dataclass output": ("dataclass_output.py:Net", {}, ONE, "forward(inputs=image)"),
    "factory": ("factory.py:make_net", {}, ONE, "forward(input=image)"),
    "arguments": ("arguments.py:Net", {"hidden": 16}, ONE, "forward(x=image)"),
    "own package": ("nested/net.py:Net", {}, ONE, "forward(x=image)"),
    "sequential": (None, {}, ONE, "forward(input=image)"),
    "tied weights": ("tied_weights.py:Net", {}, ONE, "forward(x=image)"),
    "buffers": ("buffers.py:Net", {}, ONE, "forward(x=image)"),
}


def make(name: str) -> tuple[nn.Module, tuple[str, ...], str]:
    reference, arguments, fields, text = TWELVE[name]
    torch.manual_seed(0)
    if reference is None:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.1), nn.Linear(32, 10)), fields, text
    return load_model(f"{SHAPES}/{reference}", arguments), fields, text


def batch(fields: tuple[str, ...], count: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"image": (1, 8, 8), "table": (4,)}
    return {field: torch.randn(count, *shapes[field], generator=generator) for field in fields}


def digest(model: nn.Module) -> str:
    """A hash over all that a probe must not change: values, versions of dtype and shape, grads, modes, hooks."""
    whole = hashlib.sha256()
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        whole.update(f"{name} {value.dtype} {tuple(value.shape)} {id(value)} {value.grad is None}".encode())
        whole.update(value.detach().numpy().tobytes())
    for name, module in model.named_modules():
        whole.update(f"{name} {module.training} {len(module._forward_hooks)} {len(module._forward_pre_hooks)}".encode())
    return whole.hexdigest()


def random_digest() -> str:
    words = (torch.get_rng_state().numpy().tobytes(), repr(random.getstate()), repr(np.random.get_state()[1].tolist()))
    return hashlib.sha256(repr(words).encode()).hexdigest()


@pytest.mark.parametrize("name", TWELVE)
def test_a_plain_module_runs_unedited(name):
    """It is bound, probed and takes a step down its gradient, with a binding that reads as its signature."""
    model, fields, text = make(name)
    inputs = batch(fields)
    binding = bind(model, fields)
    assert binding.text == text
    assert probe(model, binding, inputs).shape == (6, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    targets = torch.arange(6)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = functional.cross_entropy(answer(call(binding, model, inputs)), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", [name for name in TWELVE if name != "star args"])
def test_a_probe_changes_nothing(name):
    """Weights, buffers, each submodule's mode, gradients, hooks and the random generators stay bit for bit."""
    model, fields, _ = make(name)
    for value in model.parameters():
        value.grad = torch.ones_like(value)
    before = digest(model), random_digest()
    probe(model, bind(model, fields), batch(fields))
    assert (digest(model), random_digest()) == before


def test_the_digest_sees_a_forward_in_training_mode():
    """The twin of the test above: a plain forward does change what the digest covers."""
    model, fields, _ = make("buffers")
    before = digest(model)
    model(**{"x": batch(fields)["image"]})
    assert digest(model) != before


def test_a_probe_that_fails_changes_nothing():
    """The second run, with its hooks, and the trials of other sizes leave no trace either."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = nn.BatchNorm2d(1), nn.Linear(10, 3)
            self.register_buffer("calls", torch.tensor(0))

        def forward(self, x):
            self.calls += random.randint(1, 2) + int(np.random.randint(1, 2))
            return self.fc(functional.dropout(self.norm(x), training=True).flatten(1))

    model = Net()
    model.norm.eval()
    before = digest(model), random_digest()
    with pytest.raises(ShapeError):
        probe(model, bind(model, ONE), batch(ONE))
    assert (digest(model), random_digest()) == before


def test_a_lazy_layer_gets_its_shape_in_the_probe():
    """After the probe a lazy layer is an ordinary one."""
    model, fields, _ = make("star args")
    probe(model, bind(model, fields), batch(fields))
    assert type(model.head) is nn.Linear
    assert model.head.in_features == 68


# ---- binding


def bound(function, *fields: str) -> Binding:
    return bind(with_forward(function), fields)


def with_forward(function) -> nn.Module:
    return type("Net", (nn.Module,), {"forward": function})()


@pytest.mark.parametrize(
    ("function", "fields", "text"),
    [
        (lambda self, anything: 0, ("image",), "forward(anything=image)"),
        (lambda self, x, mask=None: 0, ("image",), "forward(x=image)"),
        (lambda self, x=None: 0, ("image",), "forward(x=image)"),
        (lambda self, data=None, x=None: 0, ("inputs",), "forward(data=inputs)"),
        (lambda self, hidden=None, x=None: 0, ("inputs",), "forward(x=inputs)"),
        (lambda self, img: 0, ("image", "lengths"), "forward(img=image); not used: lengths"),
        (lambda self, table: 0, ("image", "table"), "forward(table=table); not used: image"),
        (lambda self, lengths, x: 0, ("tokens", "lengths"), "forward(lengths=lengths, x=tokens)"),
        (lambda self, x, lens, mask=None: 0, ("tokens", "lengths"), "forward(x=tokens, lens=lengths)"),
        (lambda self, x, table: 0, ("table", "spectrum"), "forward(x=spectrum, table=table)"),
        (lambda self, *args: 0, ("b", "a"), "forward(*args=b, *args=a)"),
        (lambda self, **fields: 0, ("b", "a"), "forward(b=b, a=a)"),
        (lambda self, a, **rest: 0, ("b", "a", "c"), "forward(a=a, b=b, c=c)"),
        (lambda self, a, *rest: 0, ("b", "a", "c"), "forward(a=a, *rest=b, *rest=c)"),
        (lambda self, *, image: 0, ("image",), "forward(image=image)"),
        (lambda self, a, b=1, c=2: 0, ("a", "c"), "forward(a=a, c=c)"),
    ],
)
def test_parameters_get_the_fields_of_their_names(function, fields, text):
    """Names decide, then documented aliases; what is not used is listed."""
    assert bound(function, *fields).text == text


def test_each_field_arrives_at_its_parameter():
    """Positions, keywords, *args and **kwargs are passed as bound."""
    inputs = {name: torch.tensor([float(i)]) for i, name in enumerate("abcd")}

    def forward(self, a, skipped=None, *, c, **rest):
        return [a, skipped, c, rest["b"], rest["d"]]

    model = with_forward(forward)
    got = call(bind(model, tuple("abcd")), model, inputs)
    assert [value and value.item() for value in got] == [0, None, 2, 1, 3]


@pytest.mark.parametrize(
    ("function", "fields", "words"),
    [
        (lambda self, x, lengths: 0, ("image",), ["a field for lengths", "Fields there are: image"]),
        (lambda self, first, second: 0, ("image",), ["first and second"]),
        (lambda self, spectrum: 0, ("image", "table"), ["a field for spectrum", "image, table"]),
        (lambda self: 0, ("image",), ["a parameter for an input", "def forward(self, image):"]),
    ],
)
def test_a_required_parameter_without_a_field_is_refused(function, fields, words):
    """The error lists the parameter and the fields that there are."""
    with pytest.raises(BindingError) as caught:
        bound(function, *fields)
    assert all(word in str(caught.value) for word in words)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("wrap", [torch.jit.script, lambda model: torch.compile(model, backend="eager")])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_scripted_and_compiled_modules_are_bound_as_the_plain_one(wrap):
    """Neither wrapping hides what the module takes."""
    model = wrap(nn.Linear(4, 2))
    binding = bind(model, ONE)
    assert binding.positional == ONE
    assert probe(model, binding, {"image": torch.zeros(3, 4)}).shape == (3, 2)
    with pytest.raises(ModelError):
        probe(model, binding, {"image": torch.zeros(3, 5)})


def test_a_module_without_forward_is_refused():
    """A forward indented into __init__ is no method; the error says where it belongs."""
    with pytest.raises(ModelError, match="indented as far as"):
        bind(type("Net", (nn.Module,), {})(), ONE)


# ---- answers

ROWS = torch.ones(2, 3)
Pair = namedtuple("Pair", ["hidden", "logits"])


@pytest.mark.parametrize(
    "output",
    [
        ROWS,
        (ROWS, "hidden"),
        [ROWS],
        ((ROWS, 0), 1),
        {"logits": ROWS, "other": ROWS + 1},
        {"out": ROWS},
        {"loss": ROWS.mean(), "out": ROWS},
        SimpleNamespace(logits=ROWS, loss=None),
        SimpleNamespace(prediction=ROWS),
        Pair(hidden=ROWS + 1, logits=ROWS),
    ],
)
def test_the_answer_is_found(output):
    """The tensor itself, the first of a sequence, logits, or the only tensor there is."""
    assert answer(output) is ROWS


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"a": ROWS, "b": ROWS}, '"a", "b"'),
        (SimpleNamespace(a=ROWS, b=ROWS), "SimpleNamespace of a, b"),
        (None, "return x"),
        ((), "empty tuple"),
        (3.0, "float"),
    ],
)
def test_an_output_without_an_answer_lists_what_there_is(output, words):
    """Keys or fields are named, and the way to name the answer."""
    with pytest.raises(ModelError, match=words):
        answer(output)


def test_a_loss_of_the_modules_own_is_found():
    """As an attribute or under its key; elsewhere there is none."""
    loss = torch.tensor(1.0)
    assert own_loss(SimpleNamespace(loss=loss)) is loss
    assert own_loss({"loss": loss}) is loss
    assert own_loss(ROWS) is own_loss({"logits": ROWS}) is own_loss(SimpleNamespace(loss=None)) is None


# ---- what does not fit


def refused(model: nn.Module, inputs: Tensor, kind: type[ModelError] = ShapeError) -> str:
    with pytest.raises(kind) as caught:
        probe(model, bind(model, ONE), {"image": inputs})
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:dropout2d")
def test_the_tutorial_net_names_the_layer_its_line_and_two_cures():
    """A wrong image size: layer, sizes, file:line, the layer's line corrected, and the size that runs."""
    model = load_model(f"{TUTORIAL}:Net")
    text = refused(model, torch.zeros(4, 1, 14, 14))
    assert "fc1 (Linear) at " in text
    assert "net.py:24" in text
    assert "in_features=9216" in text
    assert "got 1600, in (B, 1600)" in text
    assert "self.fc1 = nn.Linear(1600, 128)" in text
    assert "--image-size 28" in text
    assert "x = self.fc1(x)" in text


@pytest.mark.filterwarnings("ignore:dropout2d")
def test_wrong_channels_name_the_image_mode_that_runs():
    """Three channels for one: the mode, the layer's line, and a size if that is needed too."""
    text = refused(load_model(f"{TUTORIAL}:Net"), torch.zeros(4, 3, 28, 28))
    assert "in_channels=1" in text
    assert "--image-mode L, or write `self.conv1 = nn.Conv2d(3, 32, 3)`" in text
    assert "The module runs with --image-mode L." in text


def test_an_image_smaller_than_the_kernel_is_a_shape_error():
    """What torch refuses for its size has the shape that reached the layer, and a size that runs."""
    text = refused(nn.Sequential(nn.Conv2d(1, 2, 5), nn.AdaptiveAvgPool2d(1)), torch.zeros(2, 1, 3, 3))
    assert "0 (Conv2d)" in text
    assert "(B, 1, 3, 3) float32" in text
    assert "--image-size 28" in text


@pytest.mark.parametrize(
    ("layer", "inputs", "words"),
    [
        (nn.Linear(64, 3), torch.zeros(2, 1, 8, 8), "torch.flatten(x, 1)"),
        (nn.Conv2d(3, 4, 3), torch.zeros(2, 8, 8, 3), "permute(0, 3, 1, 2)"),
        (nn.Conv2d(1, 4, 3), torch.zeros(2, 784), "x.view(len(x), 1, 28, 28)"),
        (nn.Conv2d(5, 4, 3), torch.zeros(2, 6, 8, 8), "nn.Conv2d(6, 4, 3)"),
        (nn.BatchNorm2d(5), torch.zeros(2, 6, 8, 8), "nn.BatchNorm2d(6, ...)"),
        (nn.LayerNorm(5), torch.zeros(2, 6), "nn.LayerNorm(6, ...)"),
        (nn.LSTM(5, 4, batch_first=True), torch.zeros(2, 7, 6), "nn.LSTM(6, ...)"),
        (nn.Embedding(5, 4), torch.full((2, 7), 9), "nn.Embedding(10, 4)"),
    ],
)
def test_each_kind_of_layer_has_its_cure(layer, inputs, words):
    """The cure is code for that kind of layer."""
    assert words in refused(nn.Sequential(layer), inputs)


@pytest.mark.parametrize(
    ("layer", "inputs", "words"),
    [
        (nn.Linear(8, 3), torch.zeros(2, 8, dtype=torch.uint8), ["dtype float32", "got uint8", "x.float()"]),
        (nn.Linear(8, 3).double(), torch.zeros(2, 8), ["dtype float64", "got float32", "x.to(torch.float64)"]),
        (nn.Embedding(5, 4), torch.zeros(2, 7), ["dtype int64", "got float32", "x.long()"]),
    ],
)
def test_a_wrong_dtype_is_named_with_its_conversion(layer, inputs, words):
    """dtypes are spelled as torch spells them."""
    text = refused(nn.Sequential(layer), inputs, ModelError)
    assert all(word in text for word in words)


def test_an_operation_outside_layers_is_named_by_its_line():
    """A view in forward: the person's line, the shapes that reached the module, no frame of torch."""

    class Net(nn.Module):
        def forward(self, x):
            return x.view(-1, 7, 9) @ torch.zeros(3, 3)

    text = refused(Net(), torch.zeros(2, 1, 8, 8))
    assert "return x.view(-1, 7, 9)" in text
    assert "test_binding.py:" in text
    assert "(B, 1, 8, 8) float32" in text
    assert "site-packages" not in text


def test_a_fault_that_is_no_shape_is_a_model_error():
    """A misspelt attribute is shown at its line."""

    class Net(nn.Module):
        def forward(self, x):
            return self.fcc(x)

    text = refused(Net(), torch.zeros(2, 3), ModelError)
    assert "AttributeError" in text
    assert "return self.fcc(x)" in text


def test_out_of_memory_is_left_to_those_who_halve_the_batch():
    """A probe does not rename the one error that its caller can act on."""

    class Net(nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        probe(Net(), bind(Net(), ONE), batch(ONE))
