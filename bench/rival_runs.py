"""Runs one rival on fault programs and prints a JSON line for each; started by bench/rivals.py in the rivals' environment.

    .venv-bench/bin/python bench/rival_runs.py torchtest2 FILE...

Knows nothing of netwright, nor which program is sick. A program with a RECIPE hands over its Net, data and recipe. Of
any other the objects are taken out of its running script just before the first update, as a person would write the
rival's call there.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import random
import runpy
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 120  # the most for a program; the slowest healthy one took 20 on a busy core
BATCH = 32  # as in preflight-ml's README; torchtest2 wants one batch
FUNCTIONS = (
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div",
    "binary_cross_entropy", "binary_cross_entropy_with_logits",
)  # fmt: skip


@dataclass
class Parts:
    """What a rival is called with; whatever a program does not show stays None."""

    model: Any = None
    inputs: Any = None
    targets: Any = None
    loss_fn: Callable[..., Any] | None = None
    optimizer: Any = None
    train_loader: Any = None
    val_loader: Any = None
    outputs: Any = None
    loss: tuple[Any, tuple[Any, ...], dict[str, Any]] | None = None
    loaders: list[Any] = field(default_factory=list)


class _FirstUpdateError(BaseException):
    """Ends a script whose parts are known; no ``except Exception`` of the script may catch it."""


def built(module: Any) -> Parts:
    """The parts of a program with Net, data and RECIPE."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Pairs(Dataset):
        def __init__(self, split: Any) -> None:
            self.inputs, self.targets = split

        def __len__(self) -> int:
            return len(self.targets)

        def __getitem__(self, index: int) -> Any:
            inputs = self.inputs
            one = {name: part[index] for name, part in inputs.items()} if isinstance(inputs, dict) else inputs[index]
            return one, self.targets[index]

    train, test = module.data()
    torch.manual_seed(0)
    recipe, model, size = module.RECIPE, module.Net(), module.RECIPE.get("batch_size", BATCH)
    loader = DataLoader(Pairs(train), batch_size=size, shuffle=True)
    inputs, targets = next(iter(loader))
    optimizer = recipe["optimizer"](model.parameters(), lr=recipe["lr"])
    val_loader = DataLoader(Pairs(test), batch_size=size)
    return Parts(model, inputs, targets, recipe["loss"], optimizer, loader, val_loader)


@contextlib.contextmanager
def _listening(parts: Parts) -> Iterator[None]:
    """Note modules, losses, optimizers and loaders as a script uses them."""
    import torch
    from torch import nn
    from torch.nn import functional
    from torch.optim.optimizer import register_optimizer_step_pre_hook
    from torch.utils.data import DataLoader

    depth = 0
    originals = [(nn.Module, "__call__"), (torch.optim.Optimizer, "__init__"), (DataLoader, "__iter__")]
    kept = [(owner, name, getattr(owner, name)) for owner, name in originals]
    kept += [(functional, name, getattr(functional, name)) for name in FUNCTIONS]
    call, make, iterate = (original for _, _, original in kept[:3])

    def called(module: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        depth += 1
        try:
            outputs = call(module, *args, **kwargs)
        finally:
            depth -= 1
        if depth == 0 and isinstance(module, nn.modules.loss._Loss):
            parts.loss = (module, args, kwargs)
        elif depth == 0 and module.training and next(module.parameters(), None) is not None:
            parts.model, parts.outputs = module, outputs
            parts.inputs = kwargs if kwargs and not args else args
        return outputs

    def lost(function: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Any:
            if depth == 0:
                parts.loss = (function, args, kwargs)
            return function(*args, **kwargs)

        return noted

    def made(optimizer: Any, *args: Any, **kwargs: Any) -> None:
        make(optimizer, *args, **kwargs)
        parts.optimizer = optimizer

    def iterated(loader: Any) -> Any:
        if all(loader is not other for other in parts.loaders):
            parts.loaders.append(loader)
        return iterate(loader)

    def stepping(optimizer: Any, args: Any, kwargs: Any) -> None:
        if parts.model is not None:
            parts.optimizer = optimizer
            raise _FirstUpdateError

    for (owner, name), replacement in zip(originals, (called, made, iterated), strict=True):
        setattr(owner, name, replacement)
    for owner, name, original in kept[3:]:
        setattr(owner, name, lost(original))
    handle = register_optimizer_step_pre_hook(stepping)
    try:
        yield
    finally:
        handle.remove()
        for owner, name, original in kept:
            setattr(owner, name, original)


def harvested(file: str) -> Parts:
    """The parts of a script at its first update, or at its end where there is none."""
    from torch.utils.data import DataLoader

    parts = Parts()
    made: list[Any] = []
    init = DataLoader.__init__

    def noted(loader: Any, *args: Any, **kwargs: Any) -> None:
        init(loader, *args, **kwargs)
        made.append(loader)

    DataLoader.__init__ = noted
    try:
        with _listening(parts), contextlib.suppress(_FirstUpdateError):
            runpy.run_path(file, run_name="__main__")
    finally:
        DataLoader.__init__ = init
    loaders = parts.loaders + [loader for loader in made if all(loader is not one for one in parts.loaders)]
    parts.train_loader, parts.val_loader, *_ = [*loaders, None, None]
    if parts.loss is not None:
        function, args, kwargs = parts.loss
        # a loss of reshaped outputs cannot be called as loss_fn(outputs, targets); then it is left out
        if len(args) == 2 and args[0] is parts.outputs:
            parts.loss_fn = (lambda outputs, targets: function(outputs, targets, **kwargs)) if kwargs else function
            parts.targets = args[1]
    if isinstance(parts.inputs, tuple) and len(parts.inputs) == 1:
        parts.inputs = parts.inputs[0]
    return parts


def parts_of(file: str) -> Parts:
    """Built where the program has a RECIPE, else harvested."""
    if "\nRECIPE = " not in Path(file).read_text(encoding="utf-8"):
        return harvested(file)
    name = f"program_{Path(file).parent.name}_{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return built(module)


Found = list[tuple[str, str, str]]  # rule, severity and message


def torchtest2(file: str) -> Found:
    """All checks of ``check_model``; ``gradcheck`` where there is an autograd.Function, as its README says."""
    import torchtest2 as tool

    parts = parts_of(file)
    if parts.model is None:
        raise LookupError("no module ran before the first update")
    report = tool.check_model(
        parts.model, parts.inputs, parts.targets, loss_fn=parts.loss_fn, optimizer=parts.optimizer,
        gradcheck="autograd.Function" in Path(file).read_text(encoding="utf-8"),
    )  # fmt: skip
    severities = {"FAIL": "error", "WARN": "warning"}
    return [
        (one.name, severities[one.status.value], one.message) for one in report if one.status.value in severities
    ]


def torch_preflight(file: str) -> Found:
    """``torch-preflight check FILE``, in its default settings."""
    from torch_preflight.config import Config
    from torch_preflight.engine import check_file

    result = check_file(Path(file), Config())
    if result.error:
        raise ValueError(result.error)
    return [(one.code, one.severity.value, one.message) for one in result.diagnostics]


def preflight_ml(file: str) -> Found:
    """``preflight run`` with all four of its objects, through the function behind it."""
    import torch
    from preflight.runner import run_checks

    parts = parts_of(file)
    if parts.train_loader is None:
        raise LookupError("no DataLoader before the first update")
    batch = next(iter(parts.train_loader))
    # its checks call model(batch[0]) and loss_fn(outputs, batch[1]); what does not go that way is not given
    plain = isinstance(batch, (list, tuple)) and len(batch) == 2 and all(isinstance(one, torch.Tensor) for one in batch)
    plain = plain and isinstance(parts.inputs, torch.Tensor)
    results = run_checks(
        parts.train_loader, parts.model if plain else None, parts.loss_fn if plain else None,
        {"val_dataloader": parts.val_loader},
    )  # fmt: skip
    severities = {"fatal": "error", "warn": "warning", "info": "note"}
    return [(one.name, severities[one.severity.value], one.message) for one in results if not one.passed]


RIVALS = {"torchtest2": torchtest2, "torch-preflight": torch_preflight, "preflight-ml": preflight_ml}
MODULES = {"torchtest2": "torchtest2", "torch-preflight": "torch_preflight", "preflight-ml": "preflight"}


def _too_long(*_: object) -> None:
    raise TimeoutError(f"over {SECONDS} s")


def one(run: Callable[[str], Found], file: str) -> dict[str, Any]:
    """What a rival says of a file, in which time, and why not where it could not run."""
    random.seed(0)
    found: Found = []
    note = ""
    signal.alarm(SECONDS)
    began = time.perf_counter()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            found = run(file)
    except (Exception, SystemExit) as error:
        note = f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.alarm(0)
    return {"file": file, "found": found, "seconds": time.perf_counter() - began, "note": note}


def main() -> int:
    """Print that the rival cannot be imported, or what it says of each file."""
    name, files = sys.argv[1], sys.argv[2:]
    try:
        importlib.import_module(MODULES[name])
        if name != "torch-preflight":  # that one reads source alone
            importlib.import_module("torch")
    except Exception as error:
        print(json.dumps({"broken": f"{type(error).__name__}: {error}"[:300]}), flush=True)
        return 0
    signal.signal(signal.SIGALRM, _too_long)
    for file in files:
        print(json.dumps(one(RIVALS[name], file)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
