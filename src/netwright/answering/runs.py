"""A run's module in place of a bundle's graph: the one part of answering that needs torch, and is imported late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from netwright import __version__
from netwright.answering.answers import not_finite
from netwright.answering.batches import Sample, fields_of, plan
from netwright.answering.bundle import FORMAT
from netwright.answering.writing import Drawing
from netwright.data.raw import first_line
from netwright.generation import asker
from netwright.inference import Trained, open_trained
from netwright.predicting import answer_samples
from netwright.sampling import continuation

Answer = dict[str, Any]


def described(trained: Trained) -> dict[str, Any]:
    """What preprocess.json says of a run's data, before there is a graph."""
    spec = trained.data_spec
    return {
        "format": FORMAT,
        "netwright": __version__,
        "name": spec.name,
        "title": f"{trained.spec.net.class_name} on {spec.name}",
        "kind": spec.kind,
        "task": spec.task,
        "fields": [field.model_dump(mode="json") for field in spec.inputs],
        "preprocess": spec.preprocess.model_dump(mode="json"),
        "parts": {name: list(parts) for name, parts in spec.parts.items()},
    }


def open_run_engine(path: Path) -> RunEngine:
    """Open a run's folder.

    Raises:
        RunError: It has no weights, or is no run.
    """
    return RunEngine(open_trained(path))


@final
class RunEngine:
    """A trained module, asked as ``netwright.predict`` asks it."""

    def __init__(self, trained: Trained) -> None:
        spec = trained.data_spec
        self.kind, self.task = spec.kind, spec.task
        self.fields, self.preprocess = spec.inputs, spec.preprocess
        self._trained = trained

    def record(self) -> Mapping[str, Any]:
        """What is known of the run, in the form of preprocess.json; a run has no graph."""
        return described(self._trained)

    def answer(
        self, samples: Sequence[Sample], names: Sequence[str], *, batch_size: int, beam: int, how: Drawing
    ) -> list[Answer]:
        """Answers to stored samples, in their order."""
        if self.task == "next_token":
            return self._written(samples, names, how)
        trained = replace(self._trained, beam=beam)
        varying = frozenset(field.name for field in self.fields if field.shape[:1] == (-1,))
        found: dict[int, Answer] = {}
        # Whether padding changes its answers was looked at for a bundle; of a run nobody knows, and none is added.
        for batch in plan(samples, batch_size, varying=varying, together=False):
            own = _batch(trained, [samples[index] for index in batch], [names[index] for index in batch])
            found |= dict(zip(batch, own, strict=True))
        return [found[index] for index in range(len(samples))]

    def _written(self, samples: Sequence[Sample], names: Sequence[str], how: Drawing) -> list[Answer]:
        operation = self.preprocess.text
        ask = asker(self._trained.model, self._trained.data_spec)
        return [
            not_finite(name)
            if operation is None
            else {"name": name} | continuation(ask, operation, sample["tokens"], how)
            for sample, name in zip(samples, names, strict=True)
        ]


def _batch(trained: Trained, samples: Sequence[Sample], names: Sequence[str]) -> list[Answer]:
    """Asked at once; where that fails one by one, so that those that can be answered are."""
    try:
        answers = answer_samples(trained, [fields_of(sample) for sample in samples], list(names))
    # Of several shapes no batch can be made, and layers refuse what they cannot take.
    except (ValueError, RuntimeError) as error:
        if len(samples) == 1:
            return [{"name": names[0], "error": first_line(error)}]
        return [
            answer for sample, name in zip(samples, names, strict=True) for answer in _batch(trained, [sample], [name])
        ]
    return [
        (answer.model_copy(update={"words": sample["_words"]}) if "_words" in sample and not answer.error else answer)
        .model_dump(mode="json", exclude_none=True)
        for sample, answer in zip(samples, answers, strict=True)
    ]  # fmt: skip
