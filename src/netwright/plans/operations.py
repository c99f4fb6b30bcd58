"""What a function of tensors does, as a graph of torch's operations: those that reach kernels, below autograd.

graph = operations(function, [x, weight])
graph(x, weight)   # the same operations again, without the function

Much as ``torch.fx.experimental.proxy_tensor.make_fx`` does with real tensors, which imports torch's whole compiler for
it; that takes 2 seconds, longer than many a training. Numbers that leave torch by ``tolist`` or ``numpy`` are seen
here, as where lengths of texts are gone through; operations of higher order, as ``flex_attention``, are refused.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx import _symbolic_trace as symbolic
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.weak import WeakTensorKeyDictionary

ATEN, SEEDED = torch.ops.aten, torch.Tag.nondeterministic_seeded
# What may stand in a graph beside tensors.
PLAIN = (int, float, bool, complex, str, torch.dtype, torch.device, torch.memory_format, torch.layout, type(None))


TAKES = "takes a number out of a tensor, and what is done may depend on it"
# How numbers leave torch without an operation.
LEAVING = (Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__dlpack__)


class NoProgramError(Exception):
    """Why an update cannot be one program."""


def operations(function: Callable[..., Any], example: list[Tensor]) -> GraphModule:
    """Call a function once, and list what is done.

    Args:
        example: Its arguments, which it may change; the graph takes others of their shapes and dtypes. Tensors that it
            has from elsewhere are constants of the graph.

    Returns:
        A module that gives what the function gave, tensors in lists, tuples and dictionaries. Of each node
        ``meta["val"]`` has shape, strides and dtype, without numbers.

    Raises:
        NoProgramError: A number is taken out of a tensor, so that what is done may be another thing the next time, or
            an operation is given what cannot be written down.
    """
    recorder = _Recorder()
    for number, one in enumerate(example):
        recorder.follow(one, recorder.graph.placeholder(f"arg{number}_1"))
    with _no_autocast_cache(), _weights_left(), _told_to_compiled(), recorder, _Guard(recorder):
        result = function(*example)
    recorder.graph.output(tree_map(recorder.written, result))
    return GraphModule(recorder.root, recorder.graph)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operation, does it, and adds it to its graph."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph, self.root = Graph(), nn.Module()
        self._nodes: Any = WeakTensorKeyDictionary()  # of each tensor the node that gave it; None where there is none
        self._numbers: Any = WeakTensorKeyDictionary()  # one number each, the same each time, as of torch.tensor(2.0)
        self._constants: dict[int, str] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it torch imports it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given, form = tree_flatten((args, kwargs))
        tensors = [one for one in given if isinstance(one, Tensor)]
        if func.namespace == "profiler":  # a mark around what is done
            return func(*args, **kwargs)
        if torch.is_inference_mode_enabled() or any(one.is_inference() for one in tensors):
            with self:  # autograd, which takes operations apart into those below it, is left out
                apart = func.decompose(*args, **kwargs)
            if apart is not NotImplemented:
                return apart
        if any(isinstance(one, torch.UntypedStorage) for one in given):
            result = func(*args, **kwargs)
            self._numbers.pop(result, None)
            self._nodes[result] = self._over_another(result)
            return result
        number = None
        if tensors and all(one in self._numbers for one in tensors) and SEEDED not in func.tags:
            number = self._from_numbers(func, given, form)
        if torch.Tag.data_dependent_output in func.tags and number is not None:
            return number
        lifted = func is ATEN.lift_fresh.default  # what Python's numbers became; it may be written to, the constant not
        func = ATEN.lift_fresh_copy.default if lifted else func
        told = tree_unflatten([self.written(one) for one in given], form)
        result = func(*args, **kwargs)
        if tensors and isinstance(result, (bool, int, float, complex)):
            raise NoProgramError(f"{func} {TAKES}")
        name = self.graph._target_to_str(func.overloadpacket.__name__)
        self.follow(result, self.graph.create_node("call_function", func, told[0], told[1], name=name))
        self._remember(func, tensors, result, result.clone() if lifted else number)
        return result

    def _remember(self, func: Any, tensors: list[Tensor], result: Any, number: Any) -> None:
        """Forget numbers whose memory was written to; remember that a result is always the same."""
        if func._schema.is_mutable and len(self._numbers):
            written = {_memory(one) for one in tensors}
            for one in [one for one in self._numbers if _memory(one) in written]:
                del self._numbers[one]
        if isinstance(result, Tensor) and isinstance(number, Tensor) and result.numel() == 1:
            self._numbers[result] = number

    def follow(self, result: Any, node: Node) -> None:
        """Remember which node gave these tensors; each of several has a node of its own."""
        node.meta["val"] = tree_map(_without_numbers, result)
        if isinstance(result, Tensor):
            self._nodes[result] = node
        elif isinstance(result, (tuple, list)):
            for place, one in enumerate(result):
                self.follow(one, self.graph.call_function(operator.getitem, (node, place)))

    def written(self, value: Any) -> Any:
        """An argument as it stands in the graph.

        Raises:
            NoProgramError: It cannot.
        """
        if not isinstance(value, Tensor):
            if not isinstance(value, PLAIN):
                raise NoProgramError(f"an operation is given a {type(value).__name__}, which a program cannot hold")
            return value
        if value in self._nodes:
            if self._nodes[value] is None:
                raise NoProgramError("a tensor is laid over the memory of another, which a program cannot do")
            return self._nodes[value]
        if type(value) not in (Tensor, nn.Parameter):
            raise NoProgramError(f"a tensor is a {type(value).__name__}, with operations of its own")
        if id(value) not in self._constants:
            self._constants[id(value)] = f"_tensor_constant{len(self._constants)}"
            setattr(self.root, self._constants[id(value)], value)  # which keeps it, and so its id
        node = self.graph.get_attr(self._constants[id(value)])
        node.meta["val"] = _without_numbers(value)
        return node

    def varies(self, value: Tensor) -> bool:
        """Whether a tensor's numbers come of the arguments, or are drawn."""
        ahead, seen = [self._nodes.get(value)], set()
        while ahead:
            node = ahead.pop()
            if node is None or node in seen:
                continue
            if node.op == "placeholder" or SEEDED in getattr(node.target, "tags", ()):
                return True
            seen.add(node)
            ahead += node.all_input_nodes
        return False

    def _over_another(self, laid: Tensor) -> Node | None:
        """A tensor over the memory of one that an operation made, as cuDNN's layers write weights side by side."""
        size, place = laid.untyped_storage().nbytes(), (laid.shape, laid.stride(), laid.storage_offset())
        for one, node in list(self._nodes.items()):
            if one is laid or node is None or node.op == "placeholder" or _memory(one) != _memory(laid):
                continue
            if one.dtype == laid.dtype and one.is_contiguous() and one.numel() * one.itemsize == size:
                found = self.graph.call_function(ATEN.as_strided.default, (node, *place))
                found.meta["val"] = _without_numbers(laid)
                return found
        return None

    def _from_numbers(self, func: Any, given: list[Any], form: Any) -> Any:
        """What an operation gives of tensors whose numbers are the same each time."""
        held = [self._numbers[one].clone() if isinstance(one, Tensor) else one for one in given]
        args, kwargs = tree_unflatten(held, form)
        return func(*args, **kwargs)


class _Guard(TorchFunctionMode):
    """Sees what is called in Python, of which no operation tells."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LEAVING or (func is torch.tensor and args and isinstance(args[0], (list, tuple))):
            if any(isinstance(one, Tensor) and self._recorder.varies(one) for one in tree_flatten(args)[0]):
                raise NoProgramError(f"{func.__name__} {TAKES}")
        elif getattr(func, "__self__", None) is Tensor.data and func.__name__ == "__set__":
            raise NoProgramError("forward puts another tensor in the place of one, which a program would not")
        return func(*args, **(kwargs or {}))


def _memory(value: Tensor) -> int:
    """Where a tensor's numbers lie, however it looks at them; 0 of those that are not laid out by strides."""
    return value.untyped_storage().data_ptr() if value.layout is torch.strided else 0


def _without_numbers(value: Any) -> Any:
    """A tensor that lies in memory as another does, but holds nothing."""
    if not isinstance(value, Tensor):
        return value
    if value.layout is not torch.strided:
        return None
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


@contextlib.contextmanager
def _weights_left() -> Iterator[None]:
    """Inside, recurrent layers on a GPU do not lay their weights in one piece, which would move those of the example.

    Their kernel does so for itself each time.
    """
    flatten = nn.RNNBase.flatten_parameters
    if flatten is _nothing:  # while another thread records
        yield
        return
    nn.RNNBase.flatten_parameters = _nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.RNNBase.flatten_parameters = flatten  # type: ignore[method-assign]


def _nothing(self: nn.RNNBase) -> None:
    """Leave weights where they are."""


@contextlib.contextmanager
def _told_to_compiled() -> Iterator[None]:
    """Inside, what a person has compiled with ``torch.compile`` refuses to be called, as torch's own tracing has it.

    It would otherwise be compiled again with the recorder in it, fail, and never be compiled after that.
    """
    before = symbolic._is_fx_tracing_flag
    symbolic._is_fx_tracing_flag = True
    try:
        yield
    finally:
        symbolic._is_fx_tracing_flag = before


@contextlib.contextmanager
def _no_autocast_cache() -> Iterator[None]:
    """Inside, autocast casts a weight each time; one that was cast before would be no operation of the function."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)
