"""Runs one rival on fault programs, in the rivals' environment, and prints a JSON line for each.

    .venv-bench/bin/python bench/rival_runs.py torchtest2 FILE...

bench/rivals.py starts it. It knows nothing of netwright, nor which program is sick. A program with a RECIPE hands over
its Net, data and recipe. Of any other the objects are taken out of its running script just before the first update, as
a person would write the rival's call there.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
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
    make, parameters = recipe["optimizer"], model.parameters()
    takes_lr = "lr" in inspect.signature(make).parameters
    optimizer = make(parameters, lr=recipe["lr"]) if takes_lr else make(parameters)
    val_loader = DataLoader(Pairs(test), batch_size=size)
    return Parts(model, inputs, targets, recipe["loss"], optimizer, loader, val_loader)


class _Listener:
    """Notes modules, losses, optimizers and loaders as a script uses them, in replacements of what torch calls."""

    def __init__(self) -> None:
        self.parts = Parts()
        self.runs: list[tuple[Any, Any, Any]] = []  # module, inputs and outputs
        self.optimizers: list[Any] = []
        self.depth = 0  # of modules that call modules; what is called at 0 the script itself calls

    def called(self, original: Any) -> Any:
        """For ``Module.__call__``."""
        from torch.nn.modules.loss import _Loss

        def noted(module: Any, *args: Any, **kwargs: Any) -> Any:
            self.depth += 1
            try:
                outputs = original(module, *args, **kwargs)
            finally:
                self.depth -= 1
            if self.depth == 0 and isinstance(module, _Loss):
                self.parts.loss = (module, args, kwargs)
            elif self.depth == 0 and module.training and next(module.parameters(), None) is not None:
                self.runs.append((module, kwargs if kwargs and not args else args, outputs))
            return outputs

        return noted

    def computed(self, original: Any) -> Any:
        """For the losses of ``torch.nn.functional``."""

        def noted(*args: Any, **kwargs: Any) -> Any:
            if self.depth == 0:
                self.parts.loss = (original, args, kwargs)
            return original(*args, **kwargs)

        return noted

    def made(self, original: Any) -> Any:
        """For ``Optimizer.__init__`` and ``DataLoader.__init__``."""
        from torch.utils.data import DataLoader

        def noted(made: Any, *args: Any, **kwargs: Any) -> None:
            original(made, *args, **kwargs)
            if isinstance(made, DataLoader):
                self.parts.loaders.append(made)
            else:
                self.optimizers.append(made)
                self.parts.optimizer = made

        return noted

    def iterated(self, original: Any) -> Any:
        """For ``DataLoader.__iter__``: the one that runs before the first update is that of training."""

        def noted(loader: Any) -> Any:
            if self.parts.train_loader is None:
                self.parts.train_loader = loader
            return original(loader)

        return noted

    def stepping(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Before each update; the first one after a module has run ends the script."""
        if self.runs:
            self.parts.optimizer = optimizer
            raise _FirstUpdateError

    def choose(self) -> None:
        """Take the module that ran last, with those it was fed by in a row; none that another optimizer trains."""
        others = [one for one in self.optimizers if one is not self.parts.optimizer]
        foreign = {id(value) for one in others for group in one.param_groups for value in group["params"]}
        runs = [run for run in self.runs if all(id(value) not in foreign for value in run[0].parameters())] or self.runs
        if not runs:
            return
        chain = [runs[-1]]
        while len(runs) > len(chain) and _fed(runs[-1 - len(chain)], chain[0]):
            chain.insert(0, runs[-1 - len(chain)])
        module, inputs, outputs = chain[-1]
        if len(chain) > 1 and isinstance(chain[0][1], tuple) and len(chain[0][1]) == 1:  # what Sequential takes
            from torch import nn

            module, inputs = nn.Sequential(*(run[0] for run in chain)), chain[0][1]
        self.parts.model, self.parts.inputs, self.parts.outputs = module, inputs, outputs


def _fed(first: tuple[Any, Any, Any], second: tuple[Any, Any, Any]) -> bool:
    """Whether the second module got what the first gave, and nothing else."""
    return isinstance(second[1], tuple) and len(second[1]) == 1 and second[1][0] is first[2]


@contextlib.contextmanager
def _listening(listener: _Listener) -> Iterator[None]:
    """Put the replacements in place, and take them away."""
    from torch import nn
    from torch.nn import functional
    from torch.optim import Optimizer
    from torch.optim.optimizer import register_optimizer_step_pre_hook
    from torch.utils.data import DataLoader

    places: list[tuple[Any, str, Callable[[Any], Any]]] = [
        (nn.Module, "__call__", listener.called),
        (Optimizer, "__init__", listener.made),
        (DataLoader, "__init__", listener.made),
        (DataLoader, "__iter__", listener.iterated),
        *((functional, name, listener.computed) for name in FUNCTIONS),
    ]
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for (owner, name, original), (_, _, replace) in zip(kept, places, strict=True):
        setattr(owner, name, replace(original))
    handle = register_optimizer_step_pre_hook(listener.stepping)
    try:
        yield
    finally:
        handle.remove()
        for owner, name, original in kept:
            setattr(owner, name, original)


def harvested(file: str) -> Parts:
    """The parts of a script at its first update, or at its end where there is none."""
    listener = _Listener()
    with _listening(listener), contextlib.suppress(_FirstUpdateError):
        runpy.run_path(file, run_name="__main__")
    listener.choose()
    parts = listener.parts
    first = parts.train_loader
    parts.val_loader = next((loader for loader in parts.loaders if loader is not first), None)
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
    return [(one.name, severities[one.status.value], one.message) for one in report if one.status.value in severities]


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
    signal.setitimer(signal.ITIMER_REAL, SECONDS, 10)  # again every 10 s: a program may catch the first
    began = time.perf_counter()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            found = run(file)
    except (Exception, SystemExit) as error:
        note = f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
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
