"""The token that follows, at each place of a running text. ``B`` windows of ``T`` tokens, ``V`` different ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from netwright.batch import Batch, LossFunction
from netwright.data.dataset import Data
from netwright.data.streams import StreamSource
from netwright.errors import LossError, ModelError
from netwright.evaluation import Predictions
from netwright.evaluation.language import language_baselines, score_language
from netwright.metrics.answers import token_answer
from netwright.preprocess import Tokenise, detokenise
from netwright.records import DataSpec, SplitSpec
from netwright.results import Baseline, Evaluation, Prediction, WorstSample
from netwright.tasks.emitted import OutputKind, output_kind
from netwright.tasks.objective import (
    ELEMENTWISE,
    IGNORE_INDEX,
    LogOfProbabilities,
    Objective,
    by_position,
    loss_name,
)
from netwright.tasks.protocol import Running

MOST_PASSAGES = 8
CONTEXT_SHOWN = 60  # tokens that are shown before a passage


@dataclass(frozen=True, slots=True)
class NextToken:
    """Outputs (B, T, V); targets int64 (B, T), of which those that another window counts are to be ignored."""

    name: ClassVar[str] = "next_token"
    metric: ClassVar[str] = "bits_per_token"
    higher_is_better: ClassVar[bool] = False

    operation: Tokenise
    splits: dict[str, SplitSpec]
    kind: OutputKind
    evidence: str

    @classmethod
    def fit(cls, spec: DataSpec, outputs: Tensor, batch: Batch) -> NextToken:
        """One row of logits, or of log-probabilities, for each place.

        Raises:
            ModelError: The outputs have another shape, or are no answer to one question.
        """
        operation = spec.preprocess.text
        if operation is None:
            raise ModelError(where="the data", expected="a text", got=f"{spec.kind} data", cure="Name another --task.")
        tokens = batch.inputs["tokens"]
        wanted = (*tokens.shape, operation.vocab_size)
        if tuple(outputs.shape) != wanted:
            raise ModelError(
                where="the module's output",
                expected=f"(B, T, {operation.vocab_size}): at each place one number for each token of the vocabulary",
                got=f"shape {tuple(outputs.shape)} for tokens of shape {tuple(tokens.shape)}",
                cure=_cure(tuple(outputs.shape), wanted),
            )
        kind, evidence = output_kind(outputs.flatten(0, 1))
        if kind == "sigmoids":
            raise ModelError(
                where="the module's output",
                expected="logits, of which one token is the answer",
                got="sigmoids, of which each is an answer of its own",
                cure="Leave out the sigmoid.",
            )
        return cls(operation, spec.splits, kind, evidence)

    def propose_loss(self, weight: Tensor | None) -> Objective:
        """Cross entropy over all places."""
        if self.kind == "log_probs":
            return Objective(nn.NLLLoss(weight), by_position, "NLLLoss", f"at each place: {self.evidence}")
        if self.kind == "probs":
            reason = f"at each place: {self.evidence}, so their logarithm is taken (logits would train better)"
            return Objective(LogOfProbabilities(weight), by_position, "NLLLoss of log(output)", reason)
        return Objective(
            nn.CrossEntropyLoss(weight), by_position, "CrossEntropyLoss", f"at each place: {self.evidence}"
        )

    def use_loss(self, loss_fn: LossFunction, outputs: Tensor, batch: Batch) -> Objective:
        """A person's loss of outputs (B * T, V) and tokens (B * T,).

        Raises:
            LossError: It compares values one by one.
        """
        if isinstance(loss_fn, nn.Module) and type(loss_fn).__name__ in ELEMENTWISE:
            raise LossError(
                where=f"--loss {loss_name(loss_fn)}",
                expected="a loss of classes, as each next token is one",
                got="one that compares values one by one",
                cure="Take CrossEntropyLoss, or leave out --loss.",
            )
        return Objective(loss_fn, by_position, loss_name(loss_fn), "asked for; places are laid end to end")

    def running(self, outputs: Tensor, batch: Batch) -> Running:
        """Surprise in bits, and right answers, of the tokens that are not to be ignored."""
        counted = batch.target != IGNORE_INDEX
        count = counted.sum()
        wanted = batch.target.clamp_min(0)
        bits = -self._log_probs(outputs).gather(2, wanted[..., None])[..., 0] / math.log(2)
        right = outputs.argmax(2) == batch.target
        return {
            "bits_per_token": (bits.masked_fill(~counted, 0).sum(), count),
            "accuracy": ((right & counted).sum(), count),
        }

    def served(self, outputs: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``log_probs`` of what follows the last token, float32 (B, V)."""
        return {"log_probs": self._log_probs(outputs[:, -1:])[:, 0]}

    def predictions(self, outputs: Tensor, batch: Batch) -> Predictions:
        """Of each token that counts its log-probability and the likeliest token, float32 (M, 2).

        All probabilities would be M times V numbers, gigabytes for Chinese. Where there are no targets, the
        log-probabilities of what follows the last token, (B, V).
        """
        ids = batch.sample_ids.cpu().numpy()
        if batch.targets is None:
            log_probs = self.served(outputs, batch.inputs)["log_probs"]
            return Predictions(ids, np.zeros(0, dtype=np.int64), log_probs.cpu().numpy())
        targets, log_probs = batch.target, self._log_probs(outputs)
        counted = targets != IGNORE_INDEX
        own = log_probs.gather(2, targets.clamp_min(0)[..., None])[..., 0]
        kept = torch.stack((own, log_probs.argmax(2).to(own.dtype)), dim=2)[counted]
        starts = np.concatenate(([0], np.cumsum(counted.sum(1).cpu().numpy()))).astype(np.int64)
        return Predictions(ids, targets[counted].cpu().numpy(), kept.cpu().numpy(), starts=starts)

    def score(self, predictions: Predictions, *, split: str, seed: int) -> Evaluation:
        """Bits per character first."""
        spec = self.splits[split]
        return score_language(
            -predictions.probs[:, 0],
            predictions.probs[:, 1] == predictions.targets,
            characters=spec.characters or len(predictions.targets),
            split=split,
            seed=seed,
            unknown=spec.unknown or 0,
            kind=self.operation.kind,
        )

    def baselines(self, data: Data, split: str, *, seed: int) -> tuple[Baseline, ...]:
        """Every token alike, frequencies, and n-grams."""
        text = np.asarray(data.split(split).targets)
        characters = self.splits[split].characters or len(text)
        return language_baselines(data.train.targets, text, self.operation, characters=characters, seed=seed)

    def worst(self, data: Data, split: str, predictions: Predictions) -> tuple[WorstSample, ...]:
        """The passages that surprised most, token by token; each is what one window counts."""
        source, starts = data.split(split), predictions.starts
        if starts is None or not isinstance(source, StreamSource):
            return ()
        source = source.once()
        bits = -predictions.probs[:, 0].astype(np.float64) / math.log(2)
        sizes = np.diff(starts)
        means = np.add.reduceat(bits, starts[:-1]) / np.maximum(sizes, 1)
        usual = sizes >= sizes.max() / 2  # a short rest at the end is no passage
        order = np.argsort(np.where(usual, -means, np.inf), kind="stable")[: min(MOST_PASSAGES, int(usual.sum()))]
        found = []
        for place in order.tolist():
            tokens = predictions.targets[starts[place] : starts[place + 1]]
            before = predictions.targets[max(0, starts[place] - CONTEXT_SHOWN) : starts[place]]
            own = bits[starts[place] : starts[place + 1]]
            written = [detokenise(self.operation, [token]) for token in tokens]
            found.append(
                WorstSample(
                    sample_id=int(predictions.sample_ids[place]),
                    name=source.name(int(predictions.sample_ids[place])),
                    target=detokenise(self.operation, tokens),
                    prediction=f"{means[place]:.2f} bits a token",
                    error=float(means[place]),
                    text=detokenise(self.operation, before),
                    surprise=tuple(zip(written, (round(float(one), 2) for one in own), strict=True)),
                )
            )
        return tuple(found)

    def answer(self, predictions: Predictions, index: int, name: str) -> Prediction:
        """The likeliest token after the last, with its probability."""
        row: NDArray[np.float32] = predictions.probs[index]
        return Prediction(name=name, **token_answer(row, detokenise(self.operation, [int(row.argmax())])))

    def _log_probs(self, outputs: Tensor) -> Tensor:
        """Outputs as log-probabilities, float32 (B, T, V)."""
        outputs = outputs.float()
        if self.kind == "probs":
            return outputs.clamp_min(torch.finfo(outputs.dtype).tiny).log()
        return outputs.log_softmax(2)


def _cure(got: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if len(got) == 3 and got == (wanted[0], wanted[2], wanted[1]):
        return "Put the tokens of the vocabulary last: return logits.transpose(1, 2)."
    if len(got) == 2:
        return (
            "Answer at each place, not at the last one alone: return self.out(outputs), not self.out(outputs[:, -1])."
        )
    return f"Give the last layer {wanted[2]} outputs, as nn.Linear(…, vocab_size), and keep the first two dimensions."
