"""What tracing takes for granted of sizes, and at which line of the person's file it does."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch._guards import ShapeGuard
from torch.fx.experimental import symbolic_shapes

from netwright.shipping import patched
from netwright.traces import is_persons, show_path


@dataclass(frozen=True, slots=True)
class Assumed:
    """One thing that was taken for granted.

    Attributes:
        relation: Of sizes, a SymPy relation; or (size, value) where a size was fixed.
        fixed: The value that a size was fixed to; None where a relation was assumed.
        line: ``file:line`` of the person's file; None where none was running.
        source: That line.
        own: Whether the person's code asked, rather than torch on its behalf.
    """

    relation: Any
    fixed: int | None
    line: str | None
    source: str
    own: bool


@contextlib.contextmanager
def assumptions() -> Iterator[list[Assumed]]:
    """All that is assumed while the block runs."""
    found: list[Assumed] = []

    class Noted(ShapeGuard):
        def __new__(cls, expr: Any, sloc: Any, size_oblivious: bool = False) -> Any:
            found.append(Assumed(expr, None, *_where()))
            return ShapeGuard(expr, sloc, size_oblivious)

    plain = symbolic_shapes.ShapeEnv._set_replacement

    def replace(env: Any, size: Any, value: Any, message: str) -> None:
        if getattr(value, "is_Integer", False):
            found.append(Assumed(size, int(value), *_where()))
        plain(env, size, value, message)

    with (
        patched.attribute(symbolic_shapes, "ShapeGuard", Noted),
        patched.attribute(symbolic_shapes.ShapeEnv, "_set_replacement", replace),
    ):
        yield found


# Files through which each question of a size passes: who asks stands above them.
_BETWEEN = (
    "fx/experimental/", "torch/__init__.py", "utils/_stats.py", "_export/non_strict_utils.py", "shipping/watching.py",
    "utils/_sympy/", "shipping/patched.py",
)  # fmt: skip


def _where() -> tuple[str | None, str, bool]:
    frames = [one for one in traceback.extract_stack() if not any(part in one.filename for part in _BETWEEN)]
    persons = [place for place, one in enumerate(frames) if is_persons(one.filename)]
    # Above all stand the program and the tests that asked for the export, which are a person's too.
    begin = max((place for place, one in enumerate(frames) if one.filename.endswith("shipping/onnx.py")), default=0)
    inside = [place for place in persons if place > begin]
    if not inside:
        return None, "", False
    frame = frames[inside[-1]]
    return f"{show_path(frame.filename)}:{frame.lineno}", frame.line or "", inside[-1] == len(frames) - 1
