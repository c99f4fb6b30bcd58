"""What a model scored and what it answers, as records."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from netwright.records import Record


class Score(Record):
    """One number with its 95 % interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    method: str | None = Field(default=None, description="How the interval was made, as wilson or bootstrap.")
    higher_is_better: bool = True


class ClassRow(Record):
    """One class of the per-class table. Precision, recall and F1 carry Wilson or bootstrap intervals."""

    name: str
    support: int
    predicted: int
    precision: Score
    recall: Score
    f1: Score
    roc_auc: float | None = None
    average_precision: float | None = None


class CalibrationBin(Record):
    """One bin of the reliability curve: confidences in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class Baseline(Record):
    """What a simple method scores on the same samples."""

    name: str
    detail: str
    score: Score
    others: tuple[Score, ...] = Field(default=(), description="Further scores, where they were computed.")


class ForecastStep(Record):
    """One step ahead: its time, what is expected, and the 90 % interval where there is one."""

    time: str
    value: float
    low: float | None = None
    high: float | None = None


class Forecast(Record):
    """A forecast beside what came: the past before it, the truth, and its steps; None where nothing is known."""

    column: str
    past: tuple[float | None, ...]
    truth: tuple[float | None, ...]
    steps: tuple[ForecastStep, ...]


class HorizonRow(Record):
    """One step ahead over all origins: its error, half of the interval's width by column, and what share it held."""

    step: int
    mae: float
    half_width: tuple[float, ...] | None = None
    coverage: float | None = None


class WordMark(Record):
    """A word, its true tag and what was answered."""

    word: str
    target: str | None = None
    prediction: str
    confidence: float


class Span(Record):
    """An entity: its type, and its words as [begin, end)."""

    type: str
    begin: int
    end: int


class Edit(Record):
    """One step from what was said to what was recognised."""

    kind: Literal["same", "wrong", "missing", "extra"]
    true: str
    said: str


class WorstSample(Record):
    """A sample the model got wrong with confidence (or, in regression, by far)."""

    sample_id: int
    name: str
    target: str
    prediction: str
    confidence: float | None = None
    error: float | None = None
    picture: str | None = Field(default=None, description="PNG as a data URI.")
    text: str | None = Field(default=None, description="What was written, where the input is text.")
    forecast: Forecast | None = Field(default=None, description="Of a series, to be drawn.")
    sound: str | None = Field(default=None, description="A sound's beginning, as a data URI.")
    seconds: float | None = Field(default=None, description="How long the sound is.")
    edits: tuple[Edit, ...] | None = Field(default=None, description="From the true transcript to the recognised.")
    row: tuple[tuple[str, str], ...] | None = Field(default=None, description="Columns and cells, of a table.")
    surprise: tuple[tuple[str, float], ...] = Field(default=(), description="Tokens of a passage, and bits of each.")
    marks: tuple[WordMark, ...] | None = Field(default=None, description="Its words, where each has a tag.")


class Continuation(Record):
    """What a model writes after a passage, beside what stands there."""

    place: str = Field(description="Where in the split.")
    prompt: str = Field(description="The end of what the model was given.")
    written: str
    true: str
    temperature: float
    seed: int


class Evaluation(Record):
    """What a model scored on one split."""

    task: str
    split: str
    count: int
    headline: str = Field(description="Name of the score that stands first.")
    scores: tuple[Score, ...]
    classes: tuple[str, ...] | None = None
    per_class: tuple[ClassRow, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = Field(default=(), description="Counts; row is the true class.")
    calibration: tuple[CalibrationBin, ...] = ()
    horizon: tuple[HorizonRow, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    worst: tuple[WorstSample, ...] = ()
    continuations: tuple[Continuation, ...] = Field(default=(), description="What a language model writes.")
    answers: dict[str, Evaluation] = Field(default_factory=dict, description="Of several answers, each by itself.")
    notes: tuple[str, ...] = Field(default=(), description="Doubts, in plain words.")

    def score(self, name: str) -> Score:
        """The score called ``name``; KeyError where it was not computed."""
        for score in self.scores:
            if score.name == name:
                return score
        raise KeyError(name)


class Prediction(Record):
    """One served answer; fields that its task does not give stay None."""

    name: str = Field(description="The input: its path, its text, or its place in the list.")
    label: str | None = Field(default=None, description="Class name.")
    confidence: float | None = Field(default=None, description="The label's probability, 0 to 1.")
    probabilities: dict[str, float] | None = Field(default=None, description="By class name.")
    text: str | None = Field(default=None, description="What was said.")
    value: tuple[float, ...] | None = Field(default=None, description="The predicted numbers.")
    forecast: dict[str, tuple[ForecastStep, ...]] | None = Field(
        default=None, description="By column, what is to come."
    )
    continuation: str | None = Field(default=None, description="What was written after the text.")
    note: str | None = Field(default=None, description="What speaks against the answer.")
    answers: dict[str, Prediction] | None = Field(default=None, description="Each of several answers, by name.")
    words: tuple[str, ...] | None = Field(default=None, description="What the tags are of.")
    tags: tuple[str, ...] | None = Field(default=None, description="One for each word.")
    confidences: tuple[float, ...] | None = Field(default=None, description="Probability of each tag.")
    entities: tuple[Span, ...] | None = Field(default=None, description="What the tags make up, where they do.")
    labels: tuple[str, ...] | None = Field(default=None, description="All labels with a probability above 0.5.")
    error: str | None = Field(default=None, description="Why there is no answer.")
