"""Call a plain module by its own signature, and find its answer in what it returns.

Knows nothing of tasks, losses or training. Each parameter of ``forward`` gets the batch's field of its name, or of a
name that means the same (``ALIASES``); nothing is guessed beyond that, and nothing is dropped without being listed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from netwright.errors import BindingError, ModelError
from netwright.misfit import explain_failure

# Names that people give to the same thing. A parameter named in a group takes the field that is named in it.
ALIASES = (
    ("image", "images", "img", "imgs", "x", "input", "inputs", "pixel_values", "pixels", "data", "picture", "features"),
    ("tokens", "token_ids", "input_ids", "ids", "text", "x", "input", "inputs", "sequence", "sequences"),
    ("sound", "audio", "wave", "waves", "waveform", "waveforms", "signal", "samples", "x", "input", "inputs"),
    ("log_mel", "mel", "mels", "spectra", "spectrogram", "features", "input_features", "x", "input", "inputs"),
    ("lengths", "length", "lens", "seq_lengths", "sequence_lengths", "input_lengths"),
    ("mask", "masks", "attention_mask", "padding_mask"),
)

Parameter = inspect.Parameter


@dataclass(frozen=True, slots=True)
class Binding:
    """Which field of the batch goes to which parameter of ``forward``.

    Attributes:
        positional: Fields passed by position, in order.
        keywords: Pairs of parameter and field, passed by name.
        dropped: Fields that the module has no parameter for.
        names: Parameter of each positional field, for printing; ``*args`` for those of ``*args``.
        answers: Names of the answers that are found in what comes back; empty where there is one.
        frames: Of what the module returned and the inputs, how many frames it emits for each sample, int64 (B,); then
            the answer is a dict of ``logits`` and ``lengths``. None where answers have no frames.
    """

    positional: tuple[str, ...]
    keywords: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    frames: Callable[[Any, Mapping[str, Tensor]], Tensor] | None = None

    @property
    def text(self) -> str:
        """For printing, as ``forward(x=image)``; dropped fields are named behind it."""
        names = self.names or ("",) * len(self.positional)
        parts = [f"{name}={field}" if name else field for name, field in zip(names, self.positional, strict=True)]
        parts += [f"{name}={field}" for name, field in self.keywords]
        rest = f"; not used: {', '.join(self.dropped)}" if self.dropped else ""
        return f"forward({', '.join(parts)}){rest}"


def bind(
    model: nn.Module,
    fields: tuple[str, ...],
    parts: Mapping[str, tuple[str, ...]] | None = None,
    *,
    answers: tuple[str, ...] = (),
) -> Binding:
    """Match the parameters of ``model.forward`` with the batch's fields.

    A single field goes to a single required parameter, whatever both are called. Otherwise names decide, or
    ``ALIASES``. Optional parameters without a field of their name keep their default; ``*args`` takes the fields that
    are left, in order; ``**kwargs`` takes them by name.

    Args:
        fields: Names of the batch's inputs.
        answers: Names of the answers, where there are several.
        parts: Which fields a field is made of: those count as used where it is, and it is not missed by itself.

    Raises:
        BindingError: A required parameter has no field; the fields there are are listed.
        ModelError: The module has no ``forward``.
    """
    if inspect.getattr_static(model, "forward", None) is nn.Module.__dict__["forward"]:
        raise ModelError(
            where=type(model).__name__,
            expected="a method named forward",
            got="none",
            cure="Define `def forward(self, x):` in the class, indented as far as `def __init__`.",
        )
    try:
        parameters = list(inspect.signature(plain_module(model).forward).parameters.values())
    except (TypeError, ValueError):
        parameters = [Parameter("input", Parameter.POSITIONAL_OR_KEYWORD)]
    named = [p for p in parameters if p.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)]
    chosen = _match(named, fields)
    missing = [p.name for p in named if p.default is Parameter.empty and p.name not in chosen]
    binding = None if missing else _arrange(parameters, chosen, fields)
    if binding is None or (fields and not binding.positional and not binding.keywords):
        _refuse(model, parameters, missing, fields)
    binding = dataclasses.replace(binding, answers=answers)
    if not parts:
        return binding
    bound = {*binding.positional, *(field for _, field in binding.keywords)}
    covered = {*parts, *(part for field in bound for part in parts.get(field, ()))}
    return dataclasses.replace(binding, dropped=tuple(one for one in binding.dropped if one not in covered))


def plain_module(model: nn.Module) -> nn.Module:
    """The module that ``torch.compile(model)`` was given; any other is itself.

    A compiled one hides its signature behind ``*args``, and its errors behind the compiler's.
    """
    plain = getattr(model, "_orig_mod", model)
    return plain if isinstance(plain, nn.Module) else model


def _match(named: list[Parameter], fields: tuple[str, ...]) -> dict[str, str]:
    """Field of each parameter: by name, then the single one, then by alias."""
    chosen = {p.name: p.name for p in named if p.name in fields}
    required = [p for p in named if p.default is Parameter.empty]
    left = [field for field in fields if field not in chosen]
    if len(fields) == 1 and not chosen:
        if len(required) == 1:
            return {required[0].name: fields[0]}
        if not required and len(named) == 1:
            return {named[0].name: fields[0]}
    # Required parameters first: an optional `data=None` must not take the field that `x` needs.
    for parameter in sorted(named, key=lambda p: p.default is not Parameter.empty):
        if parameter.name in chosen:
            continue
        group = {name for aliases in ALIASES if parameter.name in aliases for name in aliases}
        field = next((field for field in left if field in group), None)
        if field is not None:
            chosen[parameter.name] = field
            left.remove(field)
    open_ones = [p for p in required if p.name not in chosen]
    if len(open_ones) == len(left) == 1 and open_ones[0].name in ("x", "input", "inputs") and len(named) > 1:
        chosen[open_ones[0].name] = left[0]
    return chosen


def _arrange(parameters: list[Parameter], chosen: dict[str, str], fields: tuple[str, ...]) -> Binding:
    """Turn matches into positions and keywords; the rest to ``*args`` or ``**kwargs``, or dropped."""
    positional: list[str] = []
    names: list[str] = []
    keywords: list[tuple[str, str]] = []
    left = [field for field in fields if field not in chosen.values()]
    gap = False
    for parameter in parameters:
        field = chosen.get(parameter.name)
        if parameter.kind is Parameter.VAR_POSITIONAL:
            if not gap:
                positional += left
                names += [f"*{parameter.name}"] * len(left)
                left = []
        elif parameter.kind is Parameter.VAR_KEYWORD:
            keywords += [(name, name) for name in left if name.isidentifier()]
            left = [name for name in left if not name.isidentifier()]
        elif field is None:
            gap = True
        elif parameter.kind is Parameter.KEYWORD_ONLY or (gap and parameter.kind is not Parameter.POSITIONAL_ONLY):
            keywords.append((parameter.name, field))
        elif gap:
            left.append(field)
        else:
            positional.append(field)
            names.append(parameter.name)
    return Binding(tuple(positional), tuple(keywords), tuple(left), tuple(names))


def _refuse(model: nn.Module, parameters: list[Parameter], missing: list[str], fields: tuple[str, ...]) -> NoReturn:
    names = ", ".join(str(p).partition(":")[0] for p in parameters)
    there = ", ".join(sorted(fields)) or "none"
    wanted = f"a field for {' and '.join(missing)}" if missing else "a parameter for an input"
    if missing and len(missing) == 1 and len(fields) > 1:
        cure = f"Fields there are: {there}. Name the parameter after its field: `def forward(self, {fields[0]}):`."
    elif missing:
        cure = f"Fields there are: {there}. Give {' and '.join(missing)} a default, or take them from these fields."
    else:
        cure = f"Fields there are: {there}. Take the input: `def forward(self, {fields[0]}):`."
    raise BindingError(
        where=f"{type(model).__name__}.forward({names})",
        expected=wanted,
        got=f"a batch with {there}",
        cure=cure,
    )


# What a person's module returns may be of any type; `answer` finds the tensor in it.
def call(binding: Binding, model: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    """Call the module with the fields of one batch, each (B, ...); what it returns, as it is."""
    positional = binding.positional
    if not binding.keywords:
        if len(positional) == 1:
            return model(inputs[positional[0]])
        return model(*[inputs[field] for field in positional])
    named = {name: inputs[field] for name, field in binding.keywords}
    return model(*[inputs[field] for field in positional], **named)


# A tensor; of several answers a dict of such, and where frames are counted one of two.
def ask(binding: Binding, model: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    """The module's answer to one batch, (B, ...); of several answers each under its name.

    A lone sample whose dimension a ``squeeze()`` took away gets it back.

    Raises:
        ModelError: There is no answer in what came back.
    """
    returned = call(binding, model, inputs)
    if isinstance(returned, Tensor) and not binding.answers and binding.frames is None:
        return _whole(returned, inputs)
    output = found_in(binding, returned)
    if binding.frames is not None:
        return {"logits": _whole(output, inputs), "lengths": binding.frames(returned, inputs)}
    if isinstance(output, dict):
        return {name: _whole(one, inputs) for name, one in output.items()}
    return _whole(output, inputs)


def _whole(output: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    for value in inputs.values():  # asked at each update, where ``len`` takes ten times as long
        if value.shape[0] != 1:
            return output
        break
    return output if output.shape[:1] == (1,) else output.unsqueeze(0)


def found_in(binding: Binding, output: object) -> Any:
    """The answer in what a module returned: a tensor; of several answers a dict of such, by name.

    Several are found by their names in a mapping or object, or in their order in a tuple or list.

    Raises:
        ModelError: One is missing; what there is is listed.
    """
    if not binding.answers:
        return answer(output)
    if isinstance(output, (tuple, list)):
        parts: dict[Any, Any] = dict(zip(binding.answers, output, strict=False))
    else:
        parts = {} if isinstance(output, Tensor) else _parts(output)
    missing = [name for name in binding.answers if not isinstance(parts.get(name), Tensor)]
    if missing:
        wanted = ", ".join(f'"{name}": …' for name in binding.answers)
        there = ", ".join(map(str, parts)) or f"a {type(output).__name__}"
        raise ModelError(
            where="forward",
            expected=f"a tensor for each answer: {', '.join(binding.answers)}",
            got=f"{there}, without {', '.join(missing)}",
            cure=f"Return them by name: `return {{{wanted}}}`.",
        )
    return {name: parts[name] for name in binding.answers}


# The same kind comes back as was given: a tensor, or of several answers a dict of such.
def in_full(outputs: Any) -> Any:
    """Outputs in float32, whatever the precision of the forward pass."""
    if isinstance(outputs, dict):
        return {name: value.float() if value.is_floating_point() else value for name, value in outputs.items()}
    return outputs.float()


def answer(output: object) -> Tensor:
    """Find the answer in what a module returned.

    A tensor is itself; of a tuple or list the first; of a mapping or an object ``logits``, or the only tensor.

    Raises:
        ModelError: Nothing of that; what there is is listed.
    """
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    if isinstance(output, (tuple, list)):
        if output:
            return answer(output[0])
        raise _no_answer("an empty " + type(output).__name__, "Return the answer: `return logits`.")
    parts = _parts(output)
    tensors = [value for name, value in parts.items() if isinstance(value, Tensor) and name != "loss"]
    if len(tensors) == 1:
        return tensors[0]
    if isinstance(output, Mapping):
        keys = ", ".join(f'"{key}"' for key in parts) or "nothing"
        raise _no_answer(f"a mapping of {keys}", 'Name the answer "logits": `return {"logits": ...}`.')
    if parts:
        raise _no_answer(
            f"a {type(output).__name__} of {', '.join(map(str, parts))}", "Name the field of the answer `logits`."
        )
    got = "None" if output is None else f"a {type(output).__name__}"
    cure = "End forward with `return x`." if output is None else "Return a tensor, or a mapping or object with logits."
    raise _no_answer(got, cure)


def _parts(output: object) -> dict[Any, Any]:
    if isinstance(output, Mapping):
        return dict(output)
    if dataclasses.is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    return dict(getattr(output, "__dict__", {}))


def _no_answer(got: str, cure: str) -> ModelError:
    return ModelError(
        where="forward", expected="a tensor, a tuple or list, or a mapping or object with logits", got=got, cure=cure
    )


def own_loss(output: object) -> Tensor | None:
    """The loss that a module computed itself, as ``.loss`` or ``["loss"]``; None without one."""
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    return loss if isinstance(loss, Tensor) else None


def probe(model: nn.Module, binding: Binding, inputs: Mapping[str, Tensor]) -> Any:
    """Run the module once on a small batch, and leave it as it was.

    In evaluation mode and without gradients. Modes of all submodules, buffers and the random generators are put back. A
    lazy layer (``nn.LazyLinear``) gets its shape here, and keeps it.

    Args:
        model: In any mode.
        binding: What ``bind`` made of it.
        inputs: Tensors by field, each (B, ...), on the module's device.

    Returns:
        The answer's tensor.

    Raises:
        ShapeError: A layer got a shape it cannot take; it is named, with its line and a size that would do.
        ModelError: The module raised something else, or returned no answer.
    """
    model = plain_module(model)
    with unchanged(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch warns of is shown when training begins
        model.eval()
        try:
            output = call(binding, model, inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise explain_failure(error, model, dict(inputs), lambda other: call(binding, model, other)) from error
        return found_in(binding, output)


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put modes, buffers and random generators back afterwards, whatever happened."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, value, value.detach().clone())
        for module in model.modules()
        for name, value in module.named_buffers(recurse=False)
        if not nn.parameter.is_lazy(value)
    ]
    devices = {value.device for value in (*model.parameters(), *model.buffers()) if value.device.type == "cuda"}
    numpy_state, python_state = np.random.get_state(), random.getstate()
    torch_state, cuda_states = torch.get_rng_state(), {device: torch.cuda.get_rng_state(device) for device in devices}
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        for device, state in cuda_states.items():
            torch.cuda.set_rng_state(state, device)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        with torch.no_grad():
            for module, name, value, before in buffers:
                module._buffers[name] = value  # a forward may have put another tensor there
                if not torch.equal(value, before):
                    value.copy_(before)
        for module, mode in modes:
            module.training = mode
