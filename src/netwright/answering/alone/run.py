"""Answer inputs with the model that lies beside this file. It needs no torch, and nothing of it is trained again.

    pip install numpy onnxruntime           and Pillow for images, soundfile for sounds, tokenizers for texts
    python run.py INPUT… [--format table|jsonl|csv]
    python run.py --help

From Python, with this folder as FOLDER: ``run.predictor(FOLDER).predict([…])`` after ``import run``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def loaded(name: str) -> Any:
    """A module of runtime/, which are parts of netwright as they were at export."""
    if "netwright" not in sys.modules:
        sys.path.insert(0, str(HERE / "runtime"))
    before = {name: sys.modules.get(name) for name in ("pydantic",)}
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the folder stays as it was certified
    try:
        import numpy  # noqa: F401 - first, so that nothing but runtime/ sees what stands in for pydantic

        sys.modules["pydantic"] = import_module("pydantic_stand_in")
        return import_module(name)
    finally:
        sys.dont_write_bytecode = writes
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def predictor(folder: Path = HERE, threads: int | None = None) -> Any:
    """What answers, to be asked from Python."""
    return loaded("netwright.answering.predictor").Predictor.open(folder, threads=threads)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    try:
        main = loaded("netwright.answering.asked").main
    except ImportError as error:
        sys.exit(f"error: {error.name} is not installed: pip install {error.name}")
    sys.exit(main(HERE))
