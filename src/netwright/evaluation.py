"""TEMPORARY stand-in by the lead, to be replaced by helper."""
from dataclasses import dataclass
import numpy as np
from netwright.records import Evaluation, Score
@dataclass(frozen=True, slots=True)
class Predictions:
    sample_ids: np.ndarray
    targets: np.ndarray
    probs: np.ndarray
def score(predictions, *, task, split, classes, seed=0):
    acc = float((predictions.probs.argmax(1) == predictions.targets).mean())
    return Evaluation(task=task, split=split, count=len(predictions.targets), headline="accuracy", scores=(Score(name="accuracy", value=acc, low=acc, high=acc),), classes=classes)
def baselines(data, split, task, *, seed=0): return ()
def worst_samples(data, split, predictions, *, count=24): return ()
