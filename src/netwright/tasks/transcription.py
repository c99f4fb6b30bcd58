"""Letters of what is said, aligned to no place: connectionist temporal classification.

Outputs are a dict: ``logits`` float32 (B, F, C), whose output 0 is the blank, and ``lengths`` (B,), the frames of each
sound. Targets are letters from 1 on, int64 (B, S), ignored at padding.
``B`` sounds, ``F`` frames, ``C`` outputs, ``S`` letters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from netwright.batch import Batch, LossFunction
from netwright.ctc import decode, greedy, parts
from netwright.data.dataset import Data
from netwright.data.ragged import Ragged
from netwright.data.sound_source import SoundSource
from netwright.errors import DataError, LossError, ModelError, NonFiniteError
from netwright.evaluation import Predictions
from netwright.evaluation.transcription import score_transcripts, transcript_baselines
from netwright.evaluation.worst_sounds import worst_transcripts
from netwright.frames import FrameMap
from netwright.metrics.edits import edit_distance
from netwright.records import DataSpec
from netwright.results import Baseline, Evaluation, Prediction, WorstSample
from netwright.tasks.emitted import OutputKind, output_kind
from netwright.tasks.objective import IGNORE_INDEX, Objective, loss_name, no_weights
from netwright.tasks.protocol import Running
from netwright.transcripts import BLANK, Alphabet, needed_frames

Outputs = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Transcription:
    """Outputs (B, F, C): a blank and the letters of the alphabet, for each frame.

    Attributes:
        beam: Beginnings that are kept when answers are read; 1 takes the likeliest path.
    """

    name: ClassVar[str] = "transcription"
    metric: ClassVar[str] = "character_error_rate"
    higher_is_better: ClassVar[bool] = False

    alphabet: Alphabet
    kind: OutputKind
    evidence: str
    beam: int = 1

    @classmethod
    def fit(cls, spec: DataSpec, outputs: Outputs, batch: Batch) -> Transcription:
        """As many outputs a frame as there are letters, and the blank.

        Raises:
            ModelError: There are more or fewer, or no frames.
        """
        alphabet = Alphabet(spec.letters or ())
        logits, lengths = outputs["logits"], outputs["lengths"]
        if logits.ndim != 3 or logits.shape[2] != alphabet.num_outputs:
            raise ModelError(
                where="the module's output",
                expected=f"(B, frames, {alphabet.num_outputs}): the blank and {len(alphabet.letters)} letters",
                got=f"shape {tuple(logits.shape)}",
                cure=f"Give the last layer {alphabet.num_outputs} outputs, and put the frames second: "
                "x.transpose(1, 2) after a Conv1d.",
            )
        if lengths.shape != (len(logits),) or bool((lengths < 0).any()) or bool((lengths > logits.shape[1]).any()):
            raise ModelError(
                where="lengths of the module's output",
                expected=f"one of each of {len(logits)} sounds, in [0, {logits.shape[1]}]",
                got=f"{lengths.tolist()[:8]} of shape {tuple(lengths.shape)}",
                cure="Count frames, not samples; or return the logits alone: then the frames are found by themselves.",
            )
        inside = torch.arange(logits.shape[1])[None] < lengths[:, None]
        return cls(alphabet, *output_kind(logits[inside]))

    def log_probs(self, outputs: Outputs) -> Tensor:
        """Log-probabilities of blank and letters, float32 (B, F, C)."""
        logits = outputs["logits"].float()
        if self.kind == "log_probs":
            return logits
        return logits.clamp_min(1e-30).log() if self.kind == "probs" else logits.log_softmax(2)

    def propose_loss(self, weight: Tensor | None) -> Objective:
        """CTC of log-probabilities. An infinite loss is never hidden: sounds too short for it are refused before."""
        no_weights(weight, "CTCLoss")
        how = "" if self.kind == "log_probs" else "; their logarithm is taken" if self.kind == "probs" else ""
        reason = f"the letters stand at no known place in the sound; {self.evidence}{how}"
        return Objective(nn.CTCLoss(blank=BLANK, zero_infinity=False), self._hand, "CTCLoss", reason)

    def use_loss(self, loss_fn: LossFunction, outputs: Any, batch: Batch) -> Objective:
        """A person's loss, called as ``torch.nn.CTCLoss`` is.

        Raises:
            LossError: It compares outputs and targets place by place.
        """
        if isinstance(loss_fn, nn.modules.loss._Loss) and not isinstance(loss_fn, nn.CTCLoss):
            raise LossError(
                where=f"--loss {loss_name(loss_fn)}",
                expected="CTCLoss, or a function of its arguments",
                got="a loss that compares outputs and targets place by place",
                cure="Leave it out: transcripts have other lengths than sounds.",
            )
        return Objective(loss_fn, self._hand, loss_name(loss_fn), "asked for; called as CTCLoss is")

    def _hand(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(F, B, C), letters end to end, frames (B,), letters of each (B,); those without an output are left out."""
        known = (batch.target > BLANK) & (batch.target < self.alphabet.num_outputs)
        return (
            self.log_probs(outputs).transpose(0, 1),
            batch.target[known],
            outputs["lengths"].long(),
            known.sum(1),
        )

    def running(self, outputs: Outputs, batch: Batch) -> Running:
        """Edits and true letters, by the likeliest path. Waits for the device."""
        logits, frames = outputs["logits"].detach().float().cpu().numpy(), outputs["lengths"].long().tolist()
        edits = letters = 0
        for row, count, target in zip(logits, frames, batch.target.cpu().numpy(), strict=True):
            truth = target[target != IGNORE_INDEX].tolist()
            edits += edit_distance(truth, greedy(row[:count]).tolist())
            letters += len(truth)
        return {"character_error_rate": (torch.tensor(edits), letters)}

    def served(self, outputs: Outputs, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``log_probs`` float32 (B, F, C), and ``frames`` of each sound, int64 (B,)."""
        return {"log_probs": self.log_probs(outputs), "frames": outputs["lengths"].long()}

    def predictions(self, outputs: Outputs, batch: Batch) -> Predictions:
        """Letters of each sound, end to end."""
        ids = batch.sample_ids.cpu().numpy()
        answers = self.served(outputs, batch.inputs)
        log_probs, frames = answers["log_probs"].cpu().numpy(), answers["frames"].cpu().numpy()
        finite = np.isfinite(log_probs).all(2)
        letters, answer_starts = decode(log_probs, frames, width=self.beam)
        broken = [not finite[row, :count].all() for row, count in enumerate(frames)]
        if any(broken):  # an answer that is no number is told by one
            told = [
                np.full(1, np.nan) if bad else one
                for bad, one in zip(broken, parts(letters, answer_starts), strict=True)
            ]
            letters, answer_starts = _joined(told)
        if batch.targets is None:
            none = np.zeros(0, dtype=np.int64)
            return Predictions(ids, none, letters, np.zeros(len(ids) + 1, dtype=np.int64), answer_starts)
        targets = [row[row != IGNORE_INDEX] for row in batch.target.cpu().numpy()]
        return Predictions(ids, *_swap(_joined(targets), letters), answer_starts)

    def score(self, predictions: Predictions, *, split: str, seed: int) -> Evaluation:
        """Error rates of words and letters."""
        broken = ~np.isfinite(predictions.probs)
        if broken.any():
            raise NonFiniteError(
                where=f"the model's answers on {split}",
                expected="finite numbers",
                got=f"NaN or infinity for {int(broken.sum()):,} of {len(predictions):,} samples",
                cure="Look for overflow in the module: a large rate, a logarithm of 0, half precision.",
            )
        truths, said = self._texts(predictions)
        return score_transcripts(truths, said, split=split, unspaced=self.alphabet.unspaced, seed=seed)

    def baselines(self, data: Data, split: str, *, seed: int) -> tuple[Baseline, ...]:
        """The most frequent transcript, and none."""
        train, scored = data.train, data.split(split)
        if not isinstance(train, SoundSource) or not isinstance(scored, SoundSource):
            return ()
        return transcript_baselines(train.texts or (), scored.texts or (), unspaced=self.alphabet.unspaced, seed=seed)

    def worst(self, data: Data, split: str, predictions: Predictions) -> tuple[WorstSample, ...]:
        """The utterances with most edits for their length, to be listened to."""
        truths, said = self._texts(predictions)
        return worst_transcripts(
            data.split(split), predictions.sample_ids, truths, said, words=not self.alphabet.unspaced
        )

    def answer(self, predictions: Predictions, index: int, name: str) -> Prediction:
        """What was said."""
        starts = predictions.answer_starts
        if starts is None:
            raise ValueError("predictions of transcripts have the starts of their answers")
        return Prediction(name=name, text=self.alphabet.decode(parts(predictions.probs, starts)[index]))

    def _texts(self, predictions: Predictions) -> tuple[list[str], list[str]]:
        """What was said, and what was recognised."""
        if predictions.starts is None or predictions.answer_starts is None:
            raise ValueError("predictions of transcripts have starts")
        truths = [self.alphabet.decode(one) for one in parts(predictions.targets, predictions.starts)]
        return truths, [self.alphabet.decode(one) for one in parts(predictions.probs, predictions.answer_starts)]


def _joined(rows: list[Any]) -> tuple[Any, Any]:
    """Stretches end to end, and where each begins."""
    starts = np.concatenate(([0], np.cumsum([len(one) for one in rows]))).astype(np.int64)
    return np.concatenate([*rows, np.zeros(0, dtype=np.int64)]), starts


def _swap(targets: tuple[Any, Any], letters: Any) -> tuple[Any, Any, Any]:
    """Targets, answers, and where targets begin: in the order of ``Predictions``."""
    return targets[0], letters, targets[1]


def refuse_short(data: Data, frames: Callable[[Tensor], Tensor]) -> None:
    """Refuse sounds for which the module emits fewer frames than their transcript needs: their loss is infinite.

    Args:
        data: Training and validation are looked at; a test has no loss.
        frames: From samples to frames.

    Raises:
        DataError: The first are named, with the numbers.
    """
    found: list[str] = []
    count = 0
    for split in ("train", "val"):
        source = {"train": data.train, "val": data.val}[split]
        if not isinstance(source, SoundSource) or not isinstance(source.all_targets, Ragged):
            continue
        emitted = frames(torch.from_numpy(source.lengths)).numpy()
        needed = np.asarray([needed_frames(source.all_targets[index]) for index in range(len(source))])
        short = np.flatnonzero(emitted < needed)
        count += len(short)
        found += [
            f"{source.name(int(at))} ({source.lengths[at]:,} {source.unit}, {emitted[at]} frames, "
            f"“{(source.texts or ())[at][:40]}” needs {needed[at]})"
            for at in short[: 3 - len(found)]
        ]
    if count:
        formula = f", {frames.text}" if isinstance(frames, FrameMap) else ""
        raise DataError(
            where=f"{count:,} sound{'s' if count > 1 else ''}, {'; '.join(found)}{'; …' if count > len(found) else ''}",
            expected="a frame for each letter, and one more between two equal letters",
            got=f"fewer: the module's frames of n samples are{formula or ' its own'}",
            cure="Take smaller strides in the module, or correct or remove these rows of the manifest.",
        )
