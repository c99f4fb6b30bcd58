"""A kind of answer that netwright has not: stars, which are classes in an order. Outputs are cumulative logits.

With K stars the module gives K - 1 logits a sample, the k-th for "more than k stars".
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from netwright.errors import ModelError
from netwright.evaluation import Predictions
from netwright.intervals import bootstrap_t
from netwright.results import Baseline, Evaluation, Prediction, Score, WorstSample
from netwright.tasks import Objective


def beyond(outputs, batch):
    """What the loss is handed: the logits, and for each sample which of the heights its stars reach, (B, K - 1)."""
    heights = torch.arange(outputs.shape[1], device=outputs.device)
    return outputs, (batch.target[:, None] > heights).to(outputs.dtype)


def rank_error(given, true):
    """Score by how many stars answers are off, with the interval of the studentised bootstrap."""
    error = np.abs(given - true).astype(np.float64)
    low, high = bootstrap_t(error[:, None], seed=0)[0]
    return Score(
        name="mean_rank_error", value=error.mean(), low=low, high=high, method="bootstrap_t", higher_is_better=False
    )


@dataclass(frozen=True)
class Stars:
    """Targets are int64 (B,) from 0: one star less than was given."""

    name = "stars"
    metric = "rank_error"
    higher_is_better = False

    count: int  # K

    @classmethod
    def fit(cls, spec, outputs, batch):
        """One logit less than there are stars."""
        count = len(spec.classes)
        if tuple(outputs.shape[1:]) != (count - 1,):
            raise ModelError(
                where="the module's output",
                expected=f"(B, {count - 1}): for each star but the first whether there are so many",
                got=f"shape {tuple(outputs.shape)}",
                cure=f"Give the last layer {count - 1} outputs.",
            )
        return cls(count)

    def propose_loss(self, weight):
        """Each height is a question of yes or no."""
        return Objective(nn.BCEWithLogitsLoss(), beyond, "cumulative BCE", "stars are in an order")

    def use_loss(self, loss_fn, outputs, batch):
        """Another loss is handed the same."""
        return Objective(loss_fn, beyond, type(loss_fn).__name__, "asked for; handed the heights that were reached")

    def running(self, outputs, batch):
        """Shown while training: by name a sum over the batch and the count it is over."""
        return {"rank_error": (((outputs > 0).sum(1) - batch.target).abs().sum(), len(batch))}

    def predictions(self, outputs, batch):
        """What is kept of a batch: the probabilities of being beyond each height, (B, K - 1)."""
        targets = np.zeros(0, np.int64) if batch.targets is None else batch.target.cpu().numpy()
        return Predictions(batch.sample_ids.cpu().numpy(), targets, outputs.sigmoid().cpu().numpy())

    def score(self, predictions, *, split, seed):
        """How many stars answers are off first; then how many are right."""
        given = self.stars(predictions)
        return Evaluation(
            task=self.name,
            split=split,
            count=len(given),
            headline="mean_rank_error",
            scores=(
                rank_error(given, predictions.targets),
                Score(name="accuracy", value=np.mean(given == predictions.targets)),
            ),
        )

    def baselines(self, data, split, *, seed):
        """Always the middle of the training split's stars."""
        middle = np.median(data.train.targets)
        score = rank_error(np.full(len(data.split(split)), middle), data.split(split).targets)
        return (Baseline(name="median", detail=f"always {middle + 1:.0f} stars, as in training", score=score),)

    def worst(self, data, split, predictions):
        """The answers that are off by most."""
        given = self.stars(predictions)
        error = given - predictions.targets
        return tuple(
            WorstSample(
                sample_id=predictions.sample_ids[index],
                name=data.split(split).name(index),
                target=f"{predictions.targets[index] + 1}",
                prediction=f"{given[index] + 1}",
                error=float(error[index]),
            )
            for index in np.argsort(-np.abs(error), kind="stable")[:8].tolist()
        )

    def answer(self, predictions, index, name):
        """What is served for one input."""
        stars = int(self.stars(predictions)[index]) + 1
        return Prediction(name=name, label=f"{stars} star{'s' if stars > 1 else ''}")

    def stars(self, predictions):
        """Stars less one, int64 (N,): the heights that are likelier reached than not."""
        return (predictions.probs > 0.5).sum(1)
