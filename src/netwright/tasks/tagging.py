"""One tag a word. ``B`` sentences, ``T`` words of the longest, ``M`` words in all, ``C`` tags."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from netwright.batch import Batch, LossFunction
from netwright.data.dataset import Data
from netwright.data.ragged import Ragged, RaggedSource
from netwright.data.sources import Source
from netwright.errors import ModelError
from netwright.evaluation import Predictions
from netwright.evaluation.tag_baselines import tag_baselines
from netwright.evaluation.tagging import headline, score_tagging
from netwright.evaluation.worst_tags import worst_sentences
from netwright.metrics.answers import tag_answer
from netwright.metrics.entities import BEGIN, END, INSIDE, OUTSIDE, Scheme, find_scheme
from netwright.records import DataSpec
from netwright.results import Baseline, Evaluation, Prediction, WorstSample
from netwright.tasks.emitted import OutputKind, output_kind
from netwright.tasks.objective import (
    IGNORE_INDEX,
    LogOfProbabilities,
    Objective,
    as_given,
    by_position,
    loss_name,
    refuse_distances,
)
from netwright.tasks.protocol import Running

# Losses of torch.nn that take a class for each position, once positions are laid end to end.
OF_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)


@dataclass(frozen=True, slots=True)
class Tagging:
    """Outputs (B, T, C); targets int64 (B, T), -100 at padding and where a word has no tag."""

    name: ClassVar[str] = "tagging"
    metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    classes: tuple[str, ...]
    kind: OutputKind
    evidence: str
    scheme: Scheme | None

    @classmethod
    def metric_for(cls, classes: tuple[str, ...]) -> str:
        """Entity F1 where tags make up entities: most words are outside of any, so that accuracy says little."""
        return headline(classes)

    @classmethod
    def fit(cls, spec: DataSpec, outputs: Tensor, batch: Batch) -> Tagging:
        """A row of as many columns as tags for each word.

        Raises:
            ModelError: There are more or fewer, or there is no row for each word.
        """
        names = spec.classes or ()
        real = _real(batch)
        shape = f"(B, {', '.join(map(str, outputs.shape[1:]))})" if outputs.ndim > 1 else "(B,)"
        if outputs.ndim != 3 or outputs.shape[:2] != real.shape:
            raise ModelError(
                where="the module's output",
                expected=f"a row for each word, (B, T, {len(names)}); here T is {real.shape[1]}",
                got=f"shape {shape}",
                cure="Answer each position: leave out what makes one vector of a sentence, as a mean or a last state.",
            )
        if outputs.shape[2] != len(names):
            some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            turned = outputs.shape[1] == len(names)
            raise ModelError(
                where="the module's output",
                expected=f"{len(names)} columns, one for each tag of {spec.name} ({some})",
                got=f"{outputs.shape[2]}: shape {shape}",
                cure="Turn it: x.transpose(1, 2)." if turned else f"End with nn.Linear(…, {len(names)}).",
            )
        return cls(names, *output_kind(outputs[real]), find_scheme(names))

    def propose_loss(self, weight: Tensor | None) -> Objective:
        """Cross entropy over words, in the form that fits what the module emits."""
        where = "over the words, padding left out"
        if self.kind == "log_probs":
            return Objective(nn.NLLLoss(weight), by_position, "NLLLoss", f"{self.evidence}; {where}")
        if self.kind in ("probs", "sigmoids"):
            reason = f"{self.evidence}: probabilities, so their logarithm is taken; {where}"
            return Objective(LogOfProbabilities(weight), by_position, "NLLLoss of log(output)", reason)
        return Objective(nn.CrossEntropyLoss(weight), by_position, "CrossEntropyLoss", f"{self.evidence}; {where}")

    def use_loss(self, loss_fn: LossFunction, outputs: Tensor, batch: Batch) -> Objective:
        """A person's loss: one of classes is handed words end to end, any other what there is."""
        refuse_distances(loss_fn)
        if isinstance(loss_fn, OF_CLASSES):
            reason = "asked for; it is handed the words end to end, (B * T, C) and (B * T,)"
            return Objective(loss_fn, by_position, loss_name(loss_fn), reason)
        reason = "asked for; it is handed outputs (B, T, C) and tags (B, T), -100 at padding"
        return Objective(loss_fn, as_given, loss_name(loss_fn), reason)

    def running(self, outputs: Tensor, batch: Batch) -> Running:
        """Right tags of words; where tags make up entities, these too."""
        targets = batch.target
        preds = outputs.argmax(2)
        kept = targets >= 0
        found: Running = {"accuracy": (((preds == targets) & kept).sum(), kept.sum())}
        if self.scheme is not None:
            tables = _tables(targets.device, tuple(self.scheme.places.tolist()), tuple(self.scheme.type_ids.tolist()))
            found["entity_f1"] = _entity_f1(preds, targets, kept, *tables)
        return found

    def served(self, outputs: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``probabilities`` of each place, float32 (B, T, C); at padding they mean nothing."""
        return {"probabilities": self._probabilities(outputs.detach().float())}

    def _probabilities(self, rows: Tensor) -> Tensor:
        """Outputs (..., C) as probabilities."""
        if self.kind not in ("probs", "sigmoids"):
            return rows.softmax(-1)
        if self.kind == "sigmoids":
            return rows / rows.sum(-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
        return rows

    def predictions(self, outputs: Tensor, batch: Batch) -> Predictions:
        """Probabilities of the words of each sentence, (M, C), padding left out."""
        real = _real(batch)
        rows = self._probabilities(outputs.detach().float()[real])
        starts = np.concatenate(([0], np.cumsum(real.sum(1).cpu().numpy()))).astype(np.int64)
        targets = np.zeros(0, dtype=np.int64) if batch.targets is None else batch.target[real].cpu().numpy()
        return Predictions(batch.sample_ids.cpu().numpy(), targets, rows.cpu().numpy(), starts)

    def score(self, predictions: Predictions, *, split: str, seed: int) -> Evaluation:
        """Entity F1 first where tags make up entities, else accuracy; tables by type or tag."""
        del seed  # intervals here are in closed form
        return score_tagging(predictions, split=split, classes=self.classes)

    def baselines(self, data: Data, split: str, *, seed: int) -> tuple[Baseline, ...]:
        """The most frequent tag, and that of each word."""
        del seed
        train, scored = data.train, data.split(split)
        if not isinstance(scored, RaggedSource) or not isinstance(scored.all_targets, Ragged):
            return ()
        starts = scored.all_targets.starts
        return tag_baselines(
            (_all_words(train), train.targets), (_all_words(scored), scored.targets, starts), self.classes
        )

    def worst(self, data: Data, split: str, predictions: Predictions) -> tuple[WorstSample, ...]:
        """Sentences with the most confidently wrong tags."""
        source = data.split(split)
        if not isinstance(source, RaggedSource):
            return ()
        return worst_sentences(predictions, self.classes, source.names, source.words)

    def answer(self, predictions: Predictions, index: int, name: str) -> Prediction:
        """A tag for each word with its probability, and the entities that they make up."""
        starts = predictions.starts
        begin, end = (0, 0) if starts is None else (int(starts[index]), int(starts[index + 1]))
        return Prediction(name=name, **tag_answer(predictions.probs[begin:end], self.classes, self.scheme))


def _all_words(source: Source) -> list[str] | None:
    """The words of all sentences end to end; None where they are not known."""
    words = source.words if isinstance(source, RaggedSource) else None
    return None if words is None else [word for one in words for word in one]


def _real(batch: Batch) -> Tensor:
    """Which positions hold a word, bool (B, T): by the mask, else by the targets."""
    mask = batch.inputs.get("mask")
    if mask is not None:
        return mask
    if isinstance(batch.targets, Tensor) and batch.targets.ndim == 2:
        return batch.targets != IGNORE_INDEX
    first = next(iter(batch.inputs.values()))
    return torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)


@functools.lru_cache(maxsize=8)
def _tables(device: torch.device, places: tuple[int, ...], types: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Of each tag, and last of none, whether it is of an entity, and of which type; of each two, whether they part.

    Two tags in a row part where the second one does not go on with an entity of the first. Kept on the device, since a
    copy at each update would wait for it.
    """
    place, kind = torch.tensor((*places, OUTSIDE), device=device), torch.tensor((*types, -1), device=device)
    opens, goes_on = (place == BEGIN) | (place == INSIDE), (place == INSIDE) | (place == END)
    return place != OUTSIDE, kind, ~(opens[:, None] & goes_on & (kind[:, None] == kind)).flatten()


def _entity_f1(
    preds: Tensor, targets: Tensor, kept: Tensor, inside: Tensor, types: Tensor, part: Tensor
) -> tuple[Tensor, Tensor]:
    """Twice the entities found, and those there and answered; on the device, without a look at a number.

    The same entities as ``find_entities`` gives: an entity is found where both end at a word, began at the same one,
    and are of one type.
    """
    tags = torch.where(kept, torch.stack((targets, preds)), len(inside) - 1)  # (2, B, T)
    parted = part[torch.add(tags[..., 1:], tags[..., :-1], alpha=len(inside))]
    kind, last = types[tags], inside[tags]
    first = last.clone()
    first[..., 1:] &= parted
    last[..., :-1] &= parted
    begin = torch.where(first, torch.arange(tags.shape[-1], device=tags.device), -1).cummax(-1).values
    hits = last[0] & last[1] & (begin[0] == begin[1]) & (kind[0] == kind[1])
    return 2 * hits.sum(), last.sum()
