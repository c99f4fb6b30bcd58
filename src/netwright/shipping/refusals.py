"""Why a module cannot become a graph: the operation, its line in the person's file, and what to write instead."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils.data import default_collate

from netwright.data.sources import LoaderSource, Source
from netwright.errors import ExportRefusedError
from netwright.records import FieldSpec
from netwright.shipping.watching import Assumed
from netwright.traces import is_persons, show_path

WANTED = "a module whose graph answers every batch as the module does"
WHERE = "Both are computed, and each sample takes its own: torch.where(condition, one, other) in place of `if`."
SIZES = "Take sizes from the tensors, as x.shape[0], and write -1 in reshape where one follows from the others."


@dataclass(frozen=True, slots=True)
class Cause:
    """A known reason.

    Attributes:
        sign: What stands in torch's message, a regular expression.
        line: What stands in the person's line; any where it is empty.
        got: What it is, in words.
        cure: What to write instead.
    """

    sign: str
    line: str
    got: str
    cure: str


DATA = r"data-dependent|GuardOnDataDependent|u\d+|zuf\d+"
NUMPY = r"numpy\(\) is not supported|numpy|__array__"
FIXED = r"specialized it to be a constant|Constraints violated"
# The first that fits is told, so those with a line stand before those without.
CAUSES = (
    Cause(DATA, r"\.item\(|\bint\(|\bfloat\(|\.tolist\(", "a number taken out of a tensor, by which Python goes on",
          "Leave the number in its tensor: x * scale in place of x * scale.item(). " + WHERE),
    Cause(DATA, r"^\s*(if|elif|while|assert)\b|\bif\b", "a Python `if` on the values of a tensor", WHERE),
    Cause(DATA, r"\brange\(|\bfor\b", "a Python loop whose length is a value of a tensor",
          "Compute all positions at once, and hide by a mask what does not count."),
    Cause(DATA, "", "Python that depends on the values of a tensor", WHERE),
    Cause(NUMPY, "", "NumPy, which leaves no trace in a graph",
          "Take torch's own function, as torch.tanh(x) in place of np.tanh(x), and leave out .numpy()."),
    Cause(FIXED, r"\.tolist\(", "a list of Python numbers out of a tensor",
          "Keep the tensor: a mask as torch.arange(T)[None] < lengths[:, None] does what loops over lengths do."),
    Cause(FIXED, r"\brange\(", "a Python loop over a size that varies",
          "Compute all positions at once: nn.LSTM or nn.GRU in place of a loop over their cells, or operations on "
          "whole tensors."),
    Cause(FIXED, r"\bfor\b.*\bin\b|enumerate\(|zip\(", "a Python loop over the samples of a batch",
          "Compute all samples at once: x.mean(1) in place of torch.stack([row.mean(0) for row in x])."),
    Cause(FIXED, r"\b(int|float)\(", "a size that was made a plain number",
          "Leave int(…) out: x.shape[0] goes into reshape, zeros and arange as it is."),
    Cause(FIXED, r"^\s*(if|elif|while)\b|\bif\b", "a Python `if` on a size that varies",
          "Write one way for all sizes."),
    Cause(FIXED, "", "a size of the example's own, where it varies", SIZES),
    Cause(r"convert all Tensors to FakeTensors|not registered|fake_mode", "",
          "a tensor that is no parameter and no buffer",
          'Register it in __init__: self.register_buffer("name", tensor).'),
    Cause(r"ScriptModule|ScriptFunction|torch\.jit", "", "a part that is compiled by torch.jit",
          "Leave out torch.jit.script and torch.jit.trace; what is exported is compiled anyway."),
    Cause(r"sparse|Sparse", "", "a sparse tensor", "Use a dense one: .to_dense()."),
    Cause(r"quantiz", "", "a quantised part", "Train and export in float32; an int8 variant is made by the export."),
)  # fmt: skip


def refusal(error: BaseException, assumed: Sequence[Assumed], model: nn.Module) -> ExportRefusedError:
    """The error for what torch says while a module is traced or translated."""
    place, source = _place(error, assumed)
    if isinstance(error, ExportRefusedError):
        where = error.where if place is None or place in error.where else f"{place}, {error.where}"
        return ExportRefusedError(where=where, expected=error.expected, got=error.got, cure=error.cure)
    said = f"{type(error).__name__}: {error}"
    for cause in CAUSES:
        if re.search(cause.sign, said) and (not cause.line or re.search(cause.line, source)):
            return _refused(place, source, model, cause.got, cause.cure)
    cure = "Write this line with torch's operations on whole tensors; what it does must not depend on values or sizes."
    return _refused(place, source, model, f"{type(error).__name__}: {first_sentence(str(error))}", cure)


def _refused(place: str | None, source: str, model: nn.Module, got: str, cure: str) -> ExportRefusedError:
    shown = f"  {place}\n    {source.strip()}\n" if place and source else ""
    where = place or f"{type(model).__name__}.forward"
    return ExportRefusedError(where=where, expected=WANTED, got=got, cure=f"{shown}{cure}")


def first_sentence(text: str) -> str:
    """What torch says first, without its hints."""
    line = next((one.strip() for one in text.splitlines() if one.strip()), "")
    return line.partition(". ")[0].removesuffix(".")


def _place(error: BaseException, assumed: Sequence[Assumed]) -> tuple[str | None, str]:
    """The person's line, and what stands in it."""
    if match := re.search(r"specialized it to be a constant \((\d+)\)", str(error)):
        told = [one for one in assumed if one.fixed == int(match[1]) and one.line]
        return (told[-1].line, told[-1].source) if told else (None, "")
    seen: BaseException | None = error
    while seen is not None:
        frames = list(traceback.extract_tb(seen.__traceback__))
        begin = max((at for at, one in enumerate(frames) if one.filename.endswith("shipping/onnx.py")), default=-1)
        persons = [one for one in frames[begin + 1 :] if is_persons(one.filename)]
        if persons:
            return f"{show_path(persons[-1].filename)}:{persons[-1].lineno}", persons[-1].line or ""
        seen = seen.__cause__ or seen.__context__
    if re.search(r"Constraints violated", str(error)):
        told = [one for one in assumed if one.line and one.own]
        return (told[-1].line, told[-1].source) if told else (None, "")
    return None, ""


def node_place(node: Node) -> tuple[str | None, str]:
    """The person's line that an operation of a program comes from."""
    trace = re.findall(r'File "([^"]+)", line (\d+)[^\n]*\n\s*([^\n]*)', node.meta.get("stack_trace") or "")
    persons = [one for one in trace if is_persons(one[0])]
    if not persons:
        return None, ""
    file, line, source = persons[-1]
    return f"{show_path(file)}:{line}", source


def layer_of(node: Node) -> str:
    """The submodule that an operation stands in, as ``blocks.0 (Conv2d)``; empty where it is not known."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    name, kind = stack[-1]
    kind = kind if isinstance(kind, str) else kind.__qualname__
    return f"{name.removeprefix('model.') or 'forward'} ({kind.rpartition('.')[2]})"


def untranslated(error: BaseException, program: ExportedProgram, model: nn.Module) -> ExportRefusedError:
    """The error for an operation that ONNX has not."""
    texts = []
    seen: BaseException | None = error
    while seen is not None:
        texts.append(str(seen))
        seen = seen.__cause__ or seen.__context__
    said = "\n".join(texts)
    named = re.search(r"OpOverload\(op='([\w.]+)'(?:, overload='(\w+)')?", said) or re.search(
        r"target=torch\.ops\.([\w.]+)", said
    )
    operation = named[1].replace("::", ".") if named else ""
    short = operation.removeprefix("aten.").removeprefix("prims.").partition(".")[0].strip("_")
    for node in program.graph_module.graph.nodes:
        base = str(node.target).removeprefix("aten.").partition(".")[0]
        if node.op == "call_function" and short and short in base:
            place, source = node_place(node)
            layer = layer_of(node)
            if place is None and layer:
                place = layer
            return _refused(place, source, model, f"{operation}, for which ONNX has no operation", _other(short))
    files = re.findall(r'File "([^"]+)", line (\d+)[^\n]*\n\s*([^\n]*)', said)
    persons = [one for one in files if is_persons(one[0])]
    place, source = (f"{show_path(persons[-1][0])}:{persons[-1][1]}", persons[-1][2]) if persons else (None, "")
    got = f"{operation}, for which ONNX has no operation" if operation else first_sentence(texts[-1])
    return _refused(place, source, model, got, _other(short))


# What is written in place of operations that ONNX has not.
OTHERS = {
    "eigh": "the eigenvalues", "linalg_eigh": "the eigenvalues", "linalg_svd": "the decomposition",
    "linalg_qr": "the decomposition", "linalg_inv": "the inverse", "linalg_solve": "the solution",
}  # fmt: skip


def _other(operation: str) -> str:
    if operation.removeprefix("_") in OTHERS:
        return f"Leave {OTHERS[operation.removeprefix('_')]} out of forward, or compute it by products and sums."
    return "Write it with operations that ONNX has: products, sums, exp, log, comparisons, torch.where, convolutions."


RANDOM = re.compile(
    r"^(rand|randn|randint|randperm|normal|bernoulli|multinomial|poisson|exponential|uniform|geometric|cauchy|rrelu"
    r"|log_normal|native_dropout|alpha_dropout|feature_dropout|dropout)(_like|_)?$"
)


def refuse_chance(program: ExportedProgram, model: nn.Module) -> None:
    """Refuse a program that draws random numbers: its answers are never the module's.

    Raises:
        ExportRefusedError: The operation is named.
    """
    for node in program.graph_module.graph.nodes:
        name = str(node.target).removeprefix("aten.").partition(".")[0]
        if node.op != "call_function" or not RANDOM.match(name):
            continue
        if "dropout" in name and len(node.args) > 2 and node.args[2] is False:
            continue
        place, source = node_place(node)
        cure = (
            "Use nn.Dropout, or F.dropout(x, p, self.training): it is off outside of training."
            if "dropout" in name
            else "Draw it in training alone: `if self.training:`."
        )
        raise _refused(place or layer_of(node) or None, source, model, f"random numbers, {name}", cure)


def refuse_own_padding(source: Source, fields: Sequence[FieldSpec]) -> None:
    """Refuse a person's loader whose collate function makes other shapes than those of the items, as one that pads.

    A bundle gets raw inputs one by one, of the shape that an item has, and has no code of the person's.

    Args:
        source: Of the compared split; it is read once more where the loader has a collate function of its own.
        fields: Of an item of the data set.

    Raises:
        ExportRefusedError: The function is named, with both shapes.
    """
    if not isinstance(source, LoaderSource) or source.loader.collate_fn is default_collate:
        return
    stored = {field.name: field.shape for field in fields}
    for inputs, _ in source.in_order():
        made = {name: tuple(value.shape[1:]) for name, value in inputs.items()}
        if made != stored:
            own, other = (", ".join(f"{name} {shape}" for name, shape in one.items()) for one in (stored, made))
            function = source.loader.collate_fn
            raise ExportRefusedError(
                where=f"collate_fn {getattr(function, '__qualname__', type(function).__name__)}",
                expected="batches that are items of one shape, stacked: a bundle has no collate function",
                got=f"{own} in the data set and {other} in a batch",
                cure="Bring all items to one shape in __getitem__, as functional.pad(x, (0, 64 - len(x))). Or give "
                "nw.load the texts, sounds or recordings themselves: it pads them, and their length stays open.",
            )
