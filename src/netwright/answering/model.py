"""A bundle's graph in onnxruntime, on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netwright.answering.bundle import MODEL, Bundle
from netwright.errors import BundleError, DataError, require

# onnxruntime's names of what NumPy calls otherwise.
NUMPY_TYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(bool)": "bool",
}  # fmt: skip
SILENT = 4  # what onnxruntime writes to stderr by itself: errors are raised as well, and it would write parts of inputs


def load_runtime(extra: str = "export") -> Any:
    """Import onnxruntime, silenced: by itself it keeps events under the person's home and sends them away.

    Args:
        extra: What an error says would bring it.

    Raises:
        MissingExtraError: It is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library is loaded, and not again
    runtime = require("onnxruntime", extra)
    if getattr(runtime, "disable_telemetry_events", None) is not None:
        runtime.disable_telemetry_events()
    return runtime


class Model:
    """A graph that is asked: fields of a batch in, answers in numbers out. May be used by several threads at once."""

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        """Load the graph from the verified bytes.

        Args:
            bundle: Opened.
            threads: Of one operation; None for as many as there are cores.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            BundleError: The graph is none, or has other inputs and outputs than the bundle says.
        """
        where = f"{bundle.path}, {MODEL}"
        runtime = load_runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        options.log_severity_level = SILENT
        try:
            self._session = runtime.InferenceSession(
                bundle.read(MODEL), sess_options=options, providers=["CPUExecutionProvider"]
            )
        # onnxruntime's own errors have no common class but this one.
        except Exception as error:
            raise BundleError(
                where=where, expected="a graph that onnxruntime loads", got=_line(error), cure="Export the run again."
            ) from error
        model = bundle.spec.get("model") or {}
        try:
            self._inputs = _compare(model.get("inputs"), self._session.get_inputs(), where, "inputs")
            self._outputs = tuple(_compare(model.get("outputs"), self._session.get_outputs(), where, "outputs"))
            # Of one sample; what the graph calls by a name varies.
            self._sizes = {one.name: tuple(one.shape or ())[1:] for one in self._session.get_inputs()}
        except UnicodeDecodeError as error:
            raise BundleError(
                where=where, expected="names in UTF-8", got=str(error), cure="Export the run again."
            ) from error

    @property
    def inputs(self) -> Mapping[str, np.dtype[Any]]:
        """What a batch must have, and of which dtype."""
        return self._inputs

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of what a batch must have."""
        return tuple(self._inputs)

    def run(self, fields: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask the graph.

        Args:
            fields: Of a batch, each (B, ...); those that the graph does not take are passed over.

        Returns:
            The graph's outputs by name, each (B, ...).

        Raises:
            DataError: A field is missing or of another size, or the graph cannot take what it was given.
        """
        try:
            feed = {name: fields[name].astype(dtype, copy=False) for name, dtype in self._inputs.items()}
        except KeyError as error:
            raise DataError(
                where="the model's inputs", expected=", ".join(self._inputs), got=f"none called {error}",
                cure="Give all fields.",
            ) from error  # fmt: skip
        for name, value in feed.items():
            _refuse_size(name, value.shape[1:], self._sizes[name])
        try:
            found: Sequence[Any] = self._session.run(self._outputs, feed)
        # Shapes that a layer cannot take, and memory that is not there: onnxruntime's errors have no common class.
        except Exception as error:
            shapes = ", ".join(f"{name} {value.shape}" for name, value in feed.items())
            raise DataError(
                where="the model", expected="an input that its layers take", got=f"{shapes}: {_line(error)}",
                cure="Give one of a size as in training.",
            ) from error  # fmt: skip
        return dict(zip(self._outputs, found, strict=True))


def _refuse_size(name: str, got: tuple[int, ...], wanted: tuple[Any, ...]) -> None:
    """Refuse an input of which a size is another than the graph's, where the graph has but one."""
    fixed = [(size, own) for size, own in zip(got, wanted, strict=False) if isinstance(own, int)]
    if len(got) != len(wanted) or any(size != own for size, own in fixed):
        shown = f"({', '.join(map(str, wanted))}{',' if len(wanted) == 1 else ''})"
        raise DataError(
            where=f"input `{name}`",
            expected=f"shape {shown}",
            got=str(got),
            cure="Bring it to the size of training: the graph takes no other.",
        )


def _compare(said: Any, there: Sequence[Any], where: str, what: str) -> dict[str, np.dtype[Any]]:
    """Names and dtypes of the graph's inputs or outputs, which are those that the bundle tells of."""
    found = {one.name: NUMPY_TYPES.get(one.type, one.type.removeprefix("tensor(").removesuffix(")")) for one in there}
    told = {one.get("name"): one.get("dtype") for one in said or () if isinstance(one, dict)}
    if told != found:
        raise BundleError(
            where=where,
            expected=f"the {what} {', '.join(f'{name} {dtype}' for name, dtype in told.items())} of preprocess.json",
            got=", ".join(f"{name} {dtype}" for name, dtype in found.items()),
            cure="Export the run again.",
        )
    shapes = {one.get("name"): one.get("shape") for one in said or () if isinstance(one, dict)}
    for one in there:
        pairs = zip(one.shape or (), shapes[one.name] or (), strict=False)
        if any(isinstance(size, int) and isinstance(other, int) and size != other for size, other in pairs):
            raise BundleError(
                where=where, expected=f"{one.name} of shape {shapes[one.name]}, as preprocess.json says",
                got=str(one.shape), cure="Export the run again.",
            )  # fmt: skip
    return {name: np.dtype(dtype) for name, dtype in found.items()}


def _line(error: Exception) -> str:
    """The first line of what onnxruntime says, without its own places in C++."""
    text = " ".join(str(error).split())
    return text.split(" : ")[-1][:200] or type(error).__name__
