"""Made predictions and data that evaluations are tested on."""

from typing import Any

import numpy as np
import torch

from netwright.data.dataset import Data
from netwright.data.sources import TensorSource
from netwright.evaluation import Predictions, score
from netwright.preprocess import Preprocess
from netwright.records import DataSpec, FieldSpec, LoadOptions, SplitSpec
from netwright.results import Evaluation


def probabilities(targets: np.ndarray, num_classes: int, *, margin: float = 2.0, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(len(targets), num_classes))
    logits[np.arange(len(targets)), targets] += margin
    probs = np.exp(logits)
    return (probs / probs.sum(1, keepdims=True)).astype(np.float32)


def classified(count: int, num_classes: int, *, seed: int = 0, **more: Any) -> Evaluation:
    targets = np.random.default_rng(seed).integers(0, num_classes, count)
    predictions = Predictions(np.arange(count), targets, probabilities(targets, num_classes, seed=seed))
    return score(predictions, task="classification", split="test", **more)


def data_of(inputs: torch.Tensor, targets: torch.Tensor, *, train: int, classes: tuple[str, ...] | None = None) -> Data:
    """Samples in memory, the first ``train`` of them for training, the others for the test."""
    field = "image" if inputs.ndim == 4 else "inputs"
    spec = DataSpec(
        name="made",
        source="made",
        kind="image" if inputs.ndim == 4 else "tensor",
        task="regression" if targets.is_floating_point() else "classification",
        inputs=(FieldSpec(name=field, shape=tuple(inputs.shape[1:]), dtype="float32"),),
        target=FieldSpec(name="label", shape=tuple(targets.shape[1:]), dtype=str(targets.dtype)[6:]),
        classes=classes,
        splits={"train": SplitSpec(count=train), "test": SplitSpec(count=len(targets) - train)},
        preprocess=Preprocess(),
        options=LoadOptions(),
        digest="00",
    )
    return Data(
        spec,
        TensorSource({field: inputs[:train]}, targets[:train]),
        test=TensorSource({field: inputs[train:]}, targets[train:], split="test"),
    )


def blobs(count: int, *, seed: int = 0, train: int | None = None) -> Data:
    """Two clouds of points that a line separates to about 92 %."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, count)
    inputs = generator.normal(size=(count, 4)).astype(np.float32)
    inputs[:, 0] += 2.8 * targets
    return data_of(torch.from_numpy(inputs), torch.from_numpy(targets), train=train or count // 2, classes=("a", "b"))
