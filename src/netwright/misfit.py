"""Explain a forward pass that failed: the layer, the shape that reached it, the size it wants, the line, the cure.

Runs the module again, with hooks that are taken off afterwards, and at other image sizes to see which one it was made
for. Knows nothing of data or of training.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.errors import ModelError, NetwrightError, ShapeError
from netwright.traces import own_line, own_trace

# Sizes of common image collections and networks: MNIST, CIFAR, Tiny ImageNet, STL-10, CelebA, ImageNet, Inception.
IMAGE_SIZES = (28, 32, 64, 96, 128, 224, 256, 299)
_SHAPE_WORDS = ("shape", "size", "dimension", "channels", "must match", "broadcast", "number of elements")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)

# A person's forward may return anything, and takes tensors by field.
Run = Callable[[dict[str, Tensor]], Any]


@dataclass(frozen=True, slots=True)
class Reached:
    """The innermost module that was running, and the tensors that reached it."""

    name: str
    module: nn.Module
    tensors: tuple[Tensor, ...]

    @property
    def text(self) -> str:
        """As ``fc1 (Linear)``."""
        return f"{self.name or 'the module itself'} ({type(self.module).__name__})"

    @property
    def shapes(self) -> str:
        """As ``(B, 1600) float32``, where B is the batch."""
        texts = [f"{shape_text(tensor)} {str(tensor.dtype).removeprefix('torch.')}" for tensor in self.tensors]
        return " and ".join(texts) or "no tensor"


@dataclass(frozen=True, slots=True)
class Misfit:
    """What a layer wants, what it got, and the cure in code."""

    expected: str
    got: str
    cure: str


def shape_text(tensor: Tensor) -> str:
    """A shape with the batch as ``B``."""
    inner = ", ".join(str(size) for size in tensor.shape[1:])
    return f"(B, {inner})" if inner else "(B,)" if tensor.ndim else "()"


def explain_failure(error: Exception, model: nn.Module, inputs: dict[str, Tensor], run: Run) -> NetwrightError:
    """Make the error that says which layer failed and what to do.

    Args:
        error: What the first run raised.
        model: In evaluation mode.
        inputs: Tensors by field, each (B, ...).
        run: Calls the module, without gradients.
    """
    if isinstance(error, NetwrightError):
        return error
    small = {name: value[:2] for name, value in inputs.items()}
    reached = find_layer(model, small, run)
    line = own_line(error)
    trace = own_trace(error)
    message = str(error).strip().split("\n")[0].rstrip(".")
    misfit = None if reached is None else describe_misfit(reached)
    is_shape = (misfit is not None and "dtype" not in misfit.expected) or (
        isinstance(error, (RuntimeError, ValueError, IndexError)) and any(word in message for word in _SHAPE_WORDS)
    )
    running = "" if not is_shape else _what_runs(small, run)
    place = reached.text if reached is not None else type(model).__name__
    where = f"{place} at {line}" if line else place
    if misfit is None:
        got = f"{type(error).__name__}: {message}"
        arrived = "" if reached is None else f"Reached it: {reached.shapes}."
        cure = [trace, arrived, running or _other_cure(message)]
        kind = ShapeError if is_shape else ModelError
        return kind(where=where, expected="a forward pass without errors", got=got, cure=_join(cure))
    kind = ShapeError if is_shape else ModelError
    return kind(where=where, expected=misfit.expected, got=misfit.got, cure=_join([trace, misfit.cure, running]))


def _join(lines: list[str]) -> str:
    return "\n".join(line for line in lines if line) or "Correct this module's forward."


def find_layer(model: nn.Module, inputs: dict[str, Tensor], run: Run) -> Reached | None:
    """Run once more, noting what each submodule gets; the innermost one that did not return, if any."""
    running: list[Reached] = []
    handles = []

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            tensors = tuple(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
            running.append(Reached(name, module, tensors))

        return hook

    def leave(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        running.pop()

    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):  # takes no hooks; its caller is named instead
            continue
        handles.append(module.register_forward_pre_hook(enter(name), with_kwargs=True))
        handles.append(module.register_forward_hook(leave))
    try:
        # Whatever it raises is the failure under study; the first run's error is the one that is told.
        with contextlib.suppress(Exception):
            run(inputs)
            return None
    finally:
        for handle in handles:
            handle.remove()
    return running[-1] if running else None


def describe_misfit(reached: Reached) -> Misfit | None:
    """Compare what a layer of torch.nn wants with what reached it; None where both agree or it is another module."""
    if not reached.tensors:
        return None
    tensor, module = reached.tensors[0], reached.module
    shaped = _misfit_of_shape(reached, tensor)
    if shaped is not None:
        return shaped
    if isinstance(module, nn.Embedding):
        return _misfit_of_embedding(reached, module, tensor)
    weight = next(iter(module.parameters(recurse=False)), None)
    if weight is None or tensor.dtype == weight.dtype or not weight.dtype.is_floating_point:
        return None
    wanted, got = (str(dtype).removeprefix("torch.") for dtype in (weight.dtype, tensor.dtype))
    cure = "x.float()" if weight.dtype is torch.float32 else f"x.to(torch.{wanted})"
    return Misfit(
        f"dtype {wanted}, the one of its weights", f"{got} {shape_text(tensor)}", f"Convert before it: `x = {cure}`."
    )


def _misfit_of_shape(reached: Reached, tensor: Tensor) -> Misfit | None:
    module = reached.module
    if isinstance(module, nn.Linear):
        return _misfit_of_linear(reached, module, tensor)
    if isinstance(module, _CONVOLUTIONS):
        return _misfit_of_convolution(reached, module, tensor)
    if isinstance(module, _NORMS):
        wanted, axis, what = module.num_features, 1, "channels"
    elif isinstance(module, _RECURRENT):
        wanted, axis, what = module.input_size, -1, "features"
    elif isinstance(module, nn.LayerNorm):
        wanted, axis, what = module.normalized_shape[-1], -1, "features"
    else:
        return None
    got = tensor.shape[axis] if tensor.ndim > 1 else 0
    if got == wanted or wanted == 0:
        return None
    return Misfit(
        f"{wanted} {what}",
        f"{got}, in {shape_text(tensor)}",
        f"Write the layer as `nn.{type(module).__name__}({got}, ...)`, or bring {wanted} {what} to it.",
    )


def _assignment(reached: Reached, code: str) -> str:
    name = reached.name.rpartition(".")[2]
    return f"`self.{name} = {code}`" if name.isidentifier() else f"`{code}`"


def _misfit_of_linear(reached: Reached, module: nn.Linear, tensor: Tensor) -> Misfit | None:
    wanted, got = module.in_features, tensor.shape[-1] if tensor.ndim else 0
    if wanted == got:
        return None
    inner = tensor[0].numel() if tensor.ndim > 1 and len(tensor) else got
    if inner == wanted:
        cure = "Flatten before it: `x = torch.flatten(x, 1)`."
    else:
        flat = "" if tensor.ndim <= 2 or inner == got else f", after `torch.flatten(x, 1)` `nn.Linear({inner}, ...)`"
        cure = f"Write {_assignment(reached, f'nn.Linear({got}, {module.out_features})')}{flat}."
    return Misfit(f"{wanted} features (in_features={wanted})", f"{got}, in {shape_text(tensor)}", cure)


# The class of all convolutions is private to torch; each of `_CONVOLUTIONS` has the attributes read here.
def _misfit_of_convolution(reached: Reached, module: Any, tensor: Tensor) -> Misfit | None:
    rank, wanted = len(module.kernel_size), module.in_channels
    kind = type(module).__name__
    axes = "(B, C, H, W)" if rank == 2 else f"{rank + 2} axes"
    if tensor.ndim not in (rank + 1, rank + 2):
        sides = "1, 28, 28" if rank == 2 else "C, ..."
        cure = f"Bring it to that shape, as `x = x.view(len(x), {sides})`."
        return Misfit(axes, f"{tensor.ndim} axes, {shape_text(tensor)}", cure)
    got = tensor.shape[-rank - 1]
    if got == wanted:
        return None
    if tensor.ndim == rank + 2 and tensor.shape[-1] == wanted and rank == 2:
        cure = "Channels are last: use `x = x.permute(0, 3, 1, 2)`."
    else:
        size = module.kernel_size[0] if len(set(module.kernel_size)) == 1 else tuple(module.kernel_size)
        layer = _assignment(reached, f"nn.{kind}({got}, {module.out_channels}, {size})")
        mode = {(3, 1): "RGB", (1, 3): "L"}.get((wanted, got))
        cure = f"Use --image-mode {mode}, or write {layer}." if mode else f"Write {layer}."
    return Misfit(f"{wanted} channels (in_channels={wanted})", f"{got}, in {shape_text(tensor)}", cure)


def _misfit_of_embedding(reached: Reached, module: nn.Embedding, tensor: Tensor) -> Misfit | None:
    if tensor.dtype not in (torch.int64, torch.int32):
        got = str(tensor.dtype).removeprefix("torch.")
        return Misfit(
            "dtype int64, since it looks up rows", f"{got} {shape_text(tensor)}", "Convert before it: `x = x.long()`."
        )
    low, high = (int(tensor.min()), int(tensor.max())) if tensor.numel() else (0, 0)
    if low >= 0 and high < module.num_embeddings:
        return None
    layer = _assignment(reached, f"nn.Embedding({high + 1}, {module.embedding_dim})")
    cure = f"Write {layer}." if low >= 0 else "Give ids from 0 on."
    return Misfit(f"ids from 0 to {module.num_embeddings - 1}", f"ids from {low} to {high}", cure)


def _other_cure(message: str) -> str:
    if "same device" in message:
        return "Move it: `.to(x.device)`; a constant of the module goes along as `self.register_buffer(name, tensor)`."
    if "dtype" in message or "scalar type" in message:
        return "Convert one of them: `x = x.float()`."
    return "Correct this line."


def _what_runs(inputs: dict[str, Tensor], run: Run) -> str:
    """Options under which the module runs, found by trying; empty where none does or the inputs are no images."""
    images = {name: value for name, value in inputs.items() if value.ndim == 4 and value.shape[1] in (1, 3)}
    if not images:
        return ""
    channels, height, width = next(iter(images.values())).shape[1:]
    other = 3 if channels == 1 else 1
    for count in (channels, other):
        for size in (None, *IMAGE_SIZES):
            changed = {**inputs, **{name: _as_image(value, count, size) for name, value in images.items()}}
            if size is not None and (height, width) == (size, size):
                continue
            try:
                run(changed)
            except Exception:
                continue
            mode = "" if count == channels else f" --image-mode {'RGB' if count == 3 else 'L'}"
            option = "" if size is None else f" --image-size {size}"
            if mode or option:
                return f"The module runs with{mode}{option}."
    return ""


def _as_image(images: Tensor, channels: int, size: int | None) -> Tensor:
    """Images (B, C, H, W) with so many channels, ``size`` high and wide; only shapes matter here."""
    if channels != images.shape[1]:
        images = images[:, :1].expand(-1, channels, -1, -1)
    if size is None:
        return images
    return functional.interpolate(images.float(), size=(size, size)).to(images.dtype)
