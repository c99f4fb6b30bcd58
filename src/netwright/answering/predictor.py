"""Answers to raw inputs, from a bundle or from a run: read, put into batches, asked, told.

    import netwright as nw

    predictor = nw.Predictor.open("bundle")
    predictor.predict([Path("a.png"), Path("b.png")])

No torch is imported for a bundle; for a run it is, late.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np

from netwright.answering.answers import answers_of
from netwright.answering.batches import Sample, batch_of, plan
from netwright.answering.bundle import Bundle, is_bundle, open_bundle
from netwright.answering.model import Model
from netwright.answering.spec import Spec, read_spec
from netwright.answering.writing import Drawing, drawing, refuse_drawing, written
from netwright.data.raw import UNREADABLE, Field, first_line, input_name, read_input
from netwright.errors import DataError, MissingExtraError, NetwrightError, UsageError
from netwright.rows import slug
from netwright.words import sentence

if TYPE_CHECKING:
    from netwright.preprocess import Preprocess

Answer = dict[str, Any]
USUAL = Drawing()
POOL = 4  # batches read ahead, so that inputs of one length find each other


class Engine(Protocol):
    """What answers: a bundle's graph, or a run's module."""

    @property
    def kind(self) -> str:
        """Of the data."""

    @property
    def task(self) -> str:
        """Of the answers."""

    @property
    def fields(self) -> Sequence[Field]:
        """What the data's inputs are."""

    @property
    def preprocess(self) -> Preprocess:
        """What is done to them."""

    def record(self) -> Mapping[str, Any]:
        """All of it, as preprocess.json has it."""

    def answer(
        self, samples: Sequence[Sample], names: Sequence[str], *, batch_size: int, beam: int, how: Drawing
    ) -> list[Answer]:
        """Answers to stored samples, in their order."""


@final
class Predictor:
    """Answers raw inputs; made by ``open``. May be used by several threads at once.

    Attributes:
        spec: What stands between a raw input and an answer, as preprocess.json has it.
        bundle: The bundle that answers; None for a run.
    """

    def __init__(self, engine: Engine, *, bundle: Bundle | None = None) -> None:
        self._engine = engine
        self.spec = engine.record()
        self.bundle = bundle

    @classmethod
    def open(cls, path: Path | str, *, threads: int | None = None) -> Predictor:
        """Open what answers.

        Args:
            path: A bundle's folder or .zip, or a run's folder (which needs torch).
            threads: Of one operation, for a bundle; None for as many as there are cores.

        Raises:
            BundleError: The bundle is damaged or was changed.
            RunError: The run has no weights.
            MissingFileError: Nothing of that name.
        """
        path = Path(path)
        if path.is_dir() and not is_bundle(path):
            from netwright.answering.runs import open_run_engine

            return cls(open_run_engine(path))
        bundle = open_bundle(path)
        spec = read_spec(bundle.spec, bundle.classes, where=str(path))
        return cls(BundleEngine(bundle, spec, Model(bundle, threads=threads)), bundle=bundle)

    @property
    def kind(self) -> str:
        """Of the data: image, text, sound, table, series or tensor."""
        return self._engine.kind

    @property
    def task(self) -> str:
        """Of the answers, as classification."""
        return self._engine.task

    @property
    def preprocess(self) -> Preprocess:
        """What is done to raw inputs."""
        return self._engine.preprocess

    @property
    def field_names(self) -> tuple[str, ...]:
        """What the data's inputs are called."""
        return tuple(field.name for field in self._engine.fields)

    def decode(self, raw: Any, *, paths: bool = False) -> Sample:
        """One raw input as training stored its samples: arrays by field, without a batch.

        Args:
            raw: Text; bytes of a picture or sound; pixels, samples or numbers; a row, history or recording as a
                mapping; a ``Path``. As JSON has it, a picture or sound is a text in base64.
            paths: Whether a text names a file where a picture or sound is wanted. Never for what comes from others.

        Returns:
            Arrays by field. Names that begin with an underscore are no field: the answer needs them.

        Raises:
            DataError: It cannot be read.
        """
        engine = self._engine
        raw = _from_json(raw, engine, paths=paths)
        sample: dict[str, Any] = read_input(raw, engine.kind, engine.fields, engine.preprocess)
        words = engine.preprocess.words
        return sample | {"_words": tuple(sentence(words, raw))} if words is not None else sample

    def answer(
        self,
        samples: Sequence[Sample],
        names: Sequence[str],
        *,
        batch_size: int = 64,
        beam: int = 1,
        sampling: Mapping[str, Any] | None = None,
    ) -> list[Answer]:
        """Answers to what ``decode`` gave, in order, each as ``Prediction.model_dump`` gives it without what is None.

        Args:
            samples: Asked together as far as that changes no answer.
            names: What each is called.
            batch_size: Samples asked at once.
            beam: Beginnings kept when transcripts are read; 1 takes the likeliest path.
            sampling: Of what predicts next tokens: ``max_new_tokens``, ``temperature``, ``top_k``, ``top_p``, ``seed``.

        Raises:
            UsageError: An option is none, or for another task.
        """
        if not samples:
            return []
        how = self._how(batch_size, beam, sampling)
        return self._engine.answer(samples, names, batch_size=batch_size, beam=beam, how=how)

    def predict(self, raws: Sequence[Any], *, batch_size: int = 64, beam: int = 1, **sampling: Any) -> list[Answer]:
        """Answer raw inputs. One that cannot be read gets an answer whose ``error`` says why; the others are answered.

        Args:
            raws: A list; each as ``decode`` takes it, and a text names a file where a picture or sound is wanted.
            batch_size: Inputs asked at once.
            beam: Beginnings kept when transcripts are read.
            sampling: As ``answer`` takes them.

        Raises:
            UsageError: It is one input and no list, or an option is none.
        """
        if isinstance(raws, str | bytes | Path | Mapping):  # each of its letters or keys would be taken for an input
            kind = type(raws).__name__
            raise UsageError(where="inputs", expected="a list of inputs", got=f"one {kind}", cure="Give [input].")
        pairs = ((input_name(raw, index), raw) for index, raw in enumerate(raws))
        return list(self.stream(pairs, batch_size=batch_size, beam=beam, sampling=sampling))

    def stream(
        self,
        pairs: Iterable[tuple[str, Any]],
        *,
        batch_size: int = 64,
        beam: int = 1,
        sampling: Mapping[str, Any] | None = None,
    ) -> Iterator[Answer]:
        """Answer names with raw inputs, in order, before all of them have come.

        Args:
            pairs: A name and a raw input each; an exception in place of the input is told as its error.
            batch_size: Inputs asked at once.
            beam: Beginnings kept when transcripts are read.
            sampling: As ``answer`` takes them.
        """
        how = self._how(batch_size, beam, sampling)
        waiting = iter(pairs)
        at_once = 1 if self.task == "next_token" else batch_size * POOL  # a text takes long
        failed: NetwrightError | None = None
        while failed is None:
            pool: list[tuple[str, Any]] = []
            try:
                pool.extend(islice(waiting, at_once))
            except NetwrightError as error:  # what came before it is answered all the same
                failed = error
            yield from self._pool(pool, batch_size, beam, how)
            if len(pool) < at_once:
                break
        if failed is not None:
            raise failed

    def _pool(self, pool: Sequence[tuple[str, Any]], batch_size: int, beam: int, how: Drawing) -> Iterator[Answer]:
        found: dict[int, Answer] = {}
        samples: dict[int, Sample] = {}
        for place, (name, raw) in enumerate(pool):
            try:
                if isinstance(raw, Exception):
                    raise raw
                samples[place] = self.decode(raw, paths=True)
            except MissingExtraError:  # no fault of this input
                raise
            except UNREADABLE as error:
                found[place] = {"name": name, "error": first_line(error)}
        names = [pool[place][0] for place in samples]
        if samples:
            answers = self._engine.answer(list(samples.values()), names, batch_size=batch_size, beam=beam, how=how)
            found |= dict(zip(samples, answers, strict=True))
        for place in range(len(pool)):
            yield found[place]

    def _how(self, batch_size: int, beam: int, sampling: Mapping[str, Any] | None) -> Drawing:
        """Options, looked at."""
        if batch_size < 1:
            raise UsageError(
                where="--batch-size", expected="a whole number from 1", got=str(batch_size), cure="Leave it out."
            )
        if beam < 1 or (beam > 1 and self.task != "transcription"):
            raise UsageError(
                where=f"--beam {beam}",
                expected="a width of 1 or more, for a run that writes down speech",
                got=f"one of {self.task}",
                cure="Leave it out.",
            )
        if not sampling:
            return USUAL
        if self.task != "next_token":
            refuse_drawing(sampling, self.task)
        return drawing(sampling)


@final
class BundleEngine:
    """A bundle's graph."""

    def __init__(self, bundle: Bundle, spec: Spec, model: Model) -> None:
        self.kind, self.task = spec.kind, spec.task
        self.fields, self.preprocess = spec.fields, spec.preprocess
        self._bundle, self._spec, self._model = bundle, spec, model

    def record(self) -> Mapping[str, Any]:
        """What preprocess.json holds."""
        return self._bundle.spec

    def answer(
        self, samples: Sequence[Sample], names: Sequence[str], *, batch_size: int, beam: int, how: Drawing
    ) -> list[Answer]:
        """Answers to stored samples, in their order."""
        if self.task == "next_token":
            return written(self._spec, self._model, samples, names, how)
        if len(samples) == 1:
            return self._batch(samples, names, beam)
        found: dict[int, Answer] = {}
        for batch in plan(samples, batch_size, varying=self._spec.varying, together=self._spec.together):
            own = self._batch([samples[index] for index in batch], [names[index] for index in batch], beam)
            found |= dict(zip(batch, own, strict=True))
        return [found[index] for index in range(len(samples))]

    def _batch(self, samples: Sequence[Sample], names: Sequence[str], beam: int) -> list[Answer]:
        """Asked at once; where that fails one by one, so that those that can be answered are."""
        try:
            outputs = self._model.run(batch_of(samples, self._spec))
        except DataError as error:
            if len(samples) == 1:
                return [{"name": names[0], "error": first_line(error)}]
            return [
                answer
                for sample, name in zip(samples, names, strict=True)
                for answer in self._batch([sample], [name], beam)
            ]
        return answers_of(self._spec, outputs, samples, names, beam=beam)


def _from_json(raw: Any, engine: Engine, *, paths: bool) -> Any:
    """A raw input whose pictures and sounds, where they are texts, became paths or bytes."""
    if isinstance(raw, Mapping):
        return {
            name: _file(cell, paths=paths)
            if isinstance(cell, str) and cell and _is_picture(str(name), engine)
            else cell
            for name, cell in raw.items()
        }
    if isinstance(raw, str) and engine.kind in ("image", "sound", "tensor"):
        return _file(raw, paths=paths)
    if isinstance(raw, list) and engine.kind == "sound":
        return np.asarray(raw, dtype=np.float32)
    return raw


def _is_picture(name: str, engine: Engine) -> bool:
    """Whether what stands under a name is a picture."""
    if engine.kind in ("image", "tensor"):
        return bool(engine.preprocess.of(name).decode)
    return slug(name) in engine.preprocess.fields


def _file(text: str, *, paths: bool) -> Path | bytes:
    return Path(text) if paths and text[:5] != "data:" else _bytes(text)


def _bytes(text: str) -> bytes:
    """Base64, as in a data URI too."""
    try:
        return base64.b64decode(text.partition(",")[2] if text[:5] == "data:" else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(
            where="input", expected="a file in base64", got=repr(text[:40]), cure="Encode its bytes, or send them."
        ) from error
