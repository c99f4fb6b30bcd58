"""netwright: from a plain ``torch.nn.Module`` to a checked, trained and evaluated model.

    import netwright as nw

    data = nw.load("mnist")
    run = nw.train(Net(), data)
    print(nw.evaluate(run).score("accuracy"))

Importing it imports no torch: each name is fetched from its module when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from netwright.answering.predictor import Predictor
    from netwright.api import check, evaluate, plan, predict, report, resume, train, training_steps
    from netwright.api import train as fit
    from netwright.batch import Batch
    from netwright.data import load
    from netwright.errors import NetwrightError
    from netwright.metrics import accuracy, confusion_matrix
    from netwright.models import load_model
    from netwright.records import LoadOptions, Settings
    from netwright.results import Evaluation
    from netwright.run import Run, open_run
    from netwright.shipping.export import export
    from netwright.watch import watching

# Where each public name lives.
_HOMES = {
    "Batch": "batch",
    "Evaluation": "results",
    "LoadOptions": "records",
    "NetwrightError": "errors",
    "Predictor": "answering.predictor",
    "Run": "run",
    "Settings": "records",
    "accuracy": "metrics",
    "check": "api",
    "confusion_matrix": "metrics",
    "evaluate": "api",
    "export": "shipping.export",
    "fit": "api",
    "load": "data",
    "load_model": "models",
    "open_run": "run",
    "plan": "api",
    "predict": "api",
    "report": "api",
    "resume": "api",
    "train": "api",
    "training_steps": "api",
    "watching": "watch",
}

__all__ = [
    "Batch",
    "Evaluation",
    "LoadOptions",
    "NetwrightError",
    "Predictor",
    "Run",
    "Settings",
    "__version__",
    "accuracy",
    "check",
    "confusion_matrix",
    "evaluate",
    "export",
    "fit",
    "load",
    "load_model",
    "open_run",
    "plan",
    "predict",
    "report",
    "resume",
    "train",
    "training_steps",
    "watching",
]


def __getattr__(name: str) -> object:
    """Fetch a public name from its module (PEP 562), so that the import itself stays light."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'netwright' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(f"netwright.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
