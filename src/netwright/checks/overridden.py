"""Methods of ``nn.Module`` that a class replaces by something else: ``train``, ``eval``, ``parameters`` … (M20).

What counts is what the methods do: ``eval()`` is called on a copy, and who is in train mode afterwards is seen.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from torch import nn

from netwright.checks.catalogue import finding
from netwright.checks.leaves import is_persons_class
from netwright.checks.runner import Check
from netwright.checks.sourcecode import Place, class_place, source_line
from netwright.checks.subject import NotCheckedError, Subject, copy_module, set_mode
from netwright.records import Finding

MODES = ("train", "eval")
# Replaced without calling the original, these change what optimizers, checkpoints or devices get.
OTHERS = ("parameters", "named_parameters", "modules", "children", "state_dict", "zero_grad", "to", "apply", "buffers")


def replaced_methods(subject: Subject) -> Iterator[Finding]:
    """M20 of a subject."""
    yield from replaced_in(subject.model)


def replaced_in(model: nn.Module) -> Iterator[Finding]:
    """M20: a mode that is never set, or parameters that are never given."""
    told: set[type] = set()
    for name, module in model.named_modules():
        if type(module) in told or not (is_persons_class(type(module)) or _own_attributes(module)):
            continue
        found = _modes(module, name) or _parameters(module, name)
        if found is not None:
            told.add(type(module))
            yield found


def _own_attributes(module: nn.Module) -> list[str]:
    return [key for key in (*MODES, *OTHERS) if key in vars(module)]


def _replaced(module: nn.Module, method: str) -> Any:
    """What stands in the place of a method of nn.Module; None where it is its own."""
    if method in vars(module):
        return vars(module)[method]
    for kind in type(module).__mro__:
        if kind is nn.Module:
            return None
        if method in vars(kind):
            return vars(kind)[method] if is_persons_class(kind) else None
    return None


def _modes(module: nn.Module, name: str) -> Finding | None:
    for method in MODES:
        thing = _replaced(module, method)
        if thing is None:
            continue
        stands = f"{_shown(module, method)} stands in the place of Module.{method}"
        if not callable(getattr(module, method)) or not _takes_nothing(module, method):
            return _told(module, name, method, thing, f"{stands} and cannot be called as {method}().")
        if _calls_original(thing):
            continue  # it adds to the original: what it leaves in train mode is left so on purpose
        what = _followed(module)
        if what:
            return _told(module, name, method, thing, f"{stands}. {what}")
    return None


def _takes_nothing(module: nn.Module, method: str) -> bool:
    """Whether the method can be called as torch calls it: ``eval()``, ``train(True)``."""
    try:
        signature = inspect.signature(getattr(module, method))
        signature.bind(*(() if method == "eval" else (True,)))
        signature.bind()
    except TypeError:
        return False
    except ValueError:
        return True
    first = next(iter(signature.parameters.values()), None)
    return method == "eval" or first is None or first.default is True or first.name in ("mode", "args")


def _shown(module: nn.Module, method: str) -> str:
    try:
        return f"`{method}{inspect.signature(getattr(module, method))}`"
    except (TypeError, ValueError):
        return f"`{method}`"


def _depends_on_mode(module: nn.Module) -> bool:
    return isinstance(module, (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)) or (
        isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) and bool(module.dropout)
    )


def _followed(module: nn.Module) -> str:
    """Which submodules do not follow ``eval()`` and ``train()``, in words; empty where all do."""
    copied = copy_module(module)
    asked = [(name or "the module itself", one) for name, one in copied.named_modules() if _depends_on_mode(one)]
    if not asked and _reads_mode(module):
        asked = [("the module itself", copied)]
    for mode in ("eval", "train"):
        for _, one in asked:
            one.training = mode == "eval"
        try:
            getattr(copied, mode)()
        except Exception as error:
            return f"I called {mode}() on a copy: {type(error).__name__}: {error}"
        left = [name for name, one in asked if one.training == (mode == "eval")]
        # What stays in eval mode when training begins may be frozen on purpose, unless nothing follows at all.
        if left and (mode == "eval" or len(left) == len(asked)):
            other = "train" if mode == "eval" else "eval"
            return f"I called {mode}() on a copy: {', '.join(f'`{one}`' for one in left[:4])} stayed in {other} mode."
    return ""


def _reads_mode(module: nn.Module) -> bool:
    """Whether its forward asks ``self.training``."""
    return "training" in getattr(getattr(type(module).forward, "__code__", None), "co_names", ())


def _calls_original(thing: Any) -> bool:
    """Whether a method calls the one that it replaces, or ``train`` or ``eval`` of what it holds."""
    try:
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MODES:
            inner = node.func.value
            if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == "super":
                return True
            if isinstance(inner, ast.Attribute) and inner.attr == "Module":
                return True
    return False


def _place(module: nn.Module, thing: Any, method: str) -> Place | None:
    code = getattr(inspect.unwrap(thing) if callable(thing) else thing, "__code__", None)
    if code is not None:
        line = code.co_firstlineno
        return Place(code.co_filename, line if "def " in source_line(Place(code.co_filename, line)) else line + 1)
    return class_place(type(module), "__init__")


def _told(module: nn.Module, name: str, method: str, thing: Any, evidence: str) -> Finding:
    asked = [type(one).__name__ for one in module.modules() if _depends_on_mode(one)]
    harm = bool(asked) or _reads_mode(module)
    tail = f" {', '.join(dict.fromkeys(asked))} in it depend on the mode." if asked else ""
    place = _place(module, thing, method)
    return finding(
        "M20",
        severity="error" if harm else "note",  # where nothing depends on the mode it does no harm yet
        evidence=evidence + tail,
        cure=(
            f"Give it another name, as {method}_epoch; or call the original and return self: return super().train(mode)"
        ),
        place=place,
        layer=name or None,
        where=None if place or name else type(module).__name__,
    )


def _parameters(module: nn.Module, name: str) -> Finding | None:
    """``parameters`` that leaves out or raises."""
    thing = _replaced(module, "parameters")
    if thing is None:
        return None
    real = {id(one): key for key, one in nn.Module.named_parameters(module)}
    try:
        given = {id(one) for one in module.parameters()}
    except Exception:
        given = set()
    trained = {id(one) for one in nn.Module.parameters(module) if one.requires_grad}
    lost = [key for key in real if key not in given and key in trained]
    if not lost:
        return None
    shown = ", ".join(f"`{real[key]}`" for key in lost[:4])
    return finding(
        "M20",
        severity="warning",
        evidence=(
            f"`parameters` stands in the place of Module.parameters and leaves out {len(lost)} of {len(real)}: {shown}"
        ),
        cure="Give it another name and hand that to the optimizer, or freeze what is left out.",
        place=_place(module, thing, "parameters"),
        layer=name or None,
        where=None if name else type(module).__name__,
    )


def back_to_training(subject: Subject) -> Iterator[Finding]:
    """M20: a forward pass that switches the module back to train mode."""
    model = set_mode(subject.fresh(), train=False)
    if any(one.training for one in model.modules()):
        raise NotCheckedError("the module does not go into eval mode")
    inputs, _ = subject.rows()
    subject.call(model, inputs)
    back = [(name, one) for name, one in model.named_modules() if one.training and _depends_on_mode(one)]
    if not back:
        return
    # Dropout alone that a forward pass keeps on is the way of Monte-Carlo dropout.
    meant = all(isinstance(one, nn.modules.dropout._DropoutNd) for _, one in back) and not model.training
    yield finding(
        "M20",
        title="forward switches to train mode",
        severity="note" if meant else "error",
        evidence=(
            f"I put a copy in eval mode and called it once: {', '.join(f'`{name}`' for name, _ in back[:4])} "
            "came back in train mode"
        ),
        cure="Take .train() out of forward; the loop calls model.train() and model.eval().",
        place=class_place(type(subject.model)),
    )


CHECKS: tuple[Check, ...] = (
    Check("methods of Module that are replaced", ("M20",), replaced_methods),
    Check("a forward pass that switches to train mode", ("M20",), back_to_training),
)
