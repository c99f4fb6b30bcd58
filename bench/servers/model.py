"""The tutorial network in eager PyTorch, as the rivals serve it: files to probabilities. Runs in their environment."""

from __future__ import annotations

import importlib.util
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

BUNDLE = Path(os.environ["BENCH_BUNDLE"])
NET = Path(__file__).resolve().parent.parent.parent / "examples" / "tutorial" / "net.py"


def load() -> Any:
    """A function of a list of files: eager, one thread, eval mode, no gradients."""
    torch.set_num_threads(1)
    found = importlib.util.spec_from_file_location("net", NET)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    net = module.Net().eval()
    net.load_state_dict(load_file(BUNDLE / "weights.safetensors"))
    spec = json.loads((BUNDLE / "preprocess.json").read_text(encoding="utf-8"))
    classes = json.loads((BUNDLE / "classes.json").read_text(encoding="utf-8"))["classes"]
    steps = {one["op"]: one for one in spec["preprocess"]["operations"]}
    size = steps["resize"]["width"], steps["resize"]["height"]
    mean, std = steps["normalise"]["mean"][0], steps["normalise"]["std"][0]

    def pixels(content: bytes) -> torch.Tensor:
        image = Image.open(io.BytesIO(content)).convert("L")
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image, dtype=np.float32)[None] / 255)

    @torch.inference_mode()
    def answer(contents: list[bytes]) -> list[dict[str, Any]]:
        batch = (torch.stack([pixels(one) for one in contents]) - mean) / std
        shares = torch.softmax(net(batch), dim=1)
        return [
            {"label": classes[int(row.argmax())], "probabilities": dict(zip(classes, row.tolist(), strict=True))}
            for row in shares
        ]

    return answer
