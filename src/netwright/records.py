"""The nouns that travel between verbs: frozen records that go to JSON and back.

Knows nothing of torch, of files or of words on a screen. Shapes in records leave the batch dimension out.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo

from netwright.preprocess import Preprocess


class Record(BaseModel):
    """Base of all records: frozen, and without fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Choice(Record):
    """Something decided for the person, with its reason."""

    name: str
    value: Any
    reason: str
    asked: bool = Field(default=False, description="True where the person asked for it.")


class Settings(Record):
    """What was asked of training. ``None`` means "decide for me"."""

    epochs: int | None = Field(default=None, ge=1, description="Passes over the training split.")
    batch_size: int | None = Field(default=None, ge=1, description="Samples per update, over all micro-batches.")
    loss: str | None = Field(default=None, description="Name of a torch.nn loss, or file.py:function.")
    optimizer: str | None = Field(default=None, description="Name of a torch.optim optimizer, or file.py:function.")
    optimizer_args: dict[str, Any] = Field(default_factory=dict, description="Its further arguments, as momentum=0.9.")
    lr: float | None = Field(default=None, gt=0, description="Learning rate at the schedule's height.")
    weight_decay: float | None = Field(default=None, ge=0, description="Weight decay of the optimizer.")
    schedule: str | None = Field(
        default=None, description="constant, linear, cosine, one_cycle, or file.py:function of the step."
    )
    warmup_steps: int | None = Field(default=None, ge=0, description="Steps over which the rate rises from near zero.")
    max_grad_norm: float | None = Field(default=None, gt=0, description="Clip the norm of all gradients to this.")
    gradient_accumulation_steps: int | None = Field(default=None, ge=1, description="Micro-batches per update.")
    ema_decay: float | None = Field(
        default=None, gt=0, lt=1, description="Average the weights with this decay per update."
    )
    class_weights: Literal["none", "balanced"] = Field(default="none", description="Weigh classes by 1 / frequency.")
    augment: tuple[str, ...] | None = Field(
        default=None, description="crop, flip, rotate, shift, cutout; of sound speed, shift, noise; none for none."
    )
    patience: int | None = Field(
        default=None, ge=1, description="Stop after so many evaluations without a better score."
    )
    monitor: str | None = Field(default=None, description="Score that picks the best weights, as val/loss.")
    keep: Literal["best", "last"] = Field(default="best", description="Weights the run ends with.")
    on_nonfinite: Literal["stop", "skip"] = Field(
        default="stop", description="At a loss or gradient that is not finite."
    )
    checkpoint_every_steps: int | None = Field(default=None, ge=1, description="Also save every so many updates.")
    log_every_steps: int = Field(default=50, ge=1, description="Write a row of metrics every so many updates.")
    plan: Literal["auto", "eager", "fused", "recorded", "kernels", "split", "compiled", "captured"] = Field(
        default="auto",
        description="auto; eager for the plain loop; fused optimizer, recorded operations, those with 3x3 "
        "convolutions, LSTM, GRU and dense layers by kernels made for the processor, or parts of a batch, on a CPU; "
        "compiled updates; captured ones, on a GPU.",
    )
    device: str | None = Field(default=None, description="cpu, cuda, cuda:1, mps.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        default=None, description="Precision of the forward pass."
    )
    threads: int | None = Field(default=None, ge=1, description="Threads of one operation on the CPU.")
    workers: int | None = Field(default=None, ge=0, description="Processes that read data.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of weights, order, augmentation and dropout.")
    skip: tuple[str, ...] = Field(
        default=(), description="Codes of findings to pass over, as M05 or M05,D06; all for no check before training."
    )

    @field_validator("skip", mode="before")
    @classmethod
    def _codes(cls, skip: object) -> object:
        """Codes from the command line, each possibly several with commas."""
        texts = [skip] if isinstance(skip, str) else skip
        if not isinstance(texts, (list, tuple)):
            return skip
        return tuple(code.strip().upper() for text in texts for code in str(text).split(",") if code.strip())

    def asked(self) -> frozenset[str]:
        """Names of what differs from the default; the same after a way through a file."""
        return frozenset(name for name, field in type(self).model_fields.items() if self._differs(name, field))

    def _differs(self, name: str, field: FieldInfo) -> bool:
        return bool(getattr(self, name) != field.get_default(call_default_factory=True))


class LoadOptions(Record):
    """What was asked of reading the data."""

    image_size: tuple[int, int] | None = Field(
        default=None, description="Height and width to resize to, as 28 or 32x48."
    )
    image_mode: Literal["L", "RGB"] | None = Field(default=None, description="Grey or colour.")
    val_fraction: float | None = Field(
        default=None, ge=0, lt=1, description="Share of the training data kept for validation."
    )
    test_fraction: float | None = Field(
        default=None, ge=0, lt=1, description="Share kept for the test, where none is given."
    )
    group_by: str | None = Field(
        default=None, description="Regular expression on a file's name; what it matches stays together."
    )
    split_seed: int = Field(default=0, ge=0, description="Seed of the split; apart from the seed of training.")
    horizon: int | None = Field(default=None, ge=1, description="Steps ahead to forecast, of a series.")
    context: int | None = Field(default=None, ge=1, description="Steps of the past a forecast is made from.")
    test_group: str | None = Field(
        default=None, description="Groups kept out of training and tested on, as a speaker: theo, or theo,lucas."
    )
    sample_rate: int | None = Field(default=None, ge=1_000, le=768_000, description="Samples of sound a second.")
    max_seconds: float = Field(default=60.0, gt=0, description="A longer sound counts as unreadable.")
    mel_bands: int | None = Field(
        default=None, ge=1, le=512, description="Make log-mel spectra of so many bands of each sound, once, as 40."
    )
    task: str | None = Field(
        default=None, description="Kind of answer: classification, regression, next_token, …, or file.py:Class."
    )
    input: str | None = Field(default=None, description="Column of the text, or columns of a table, as age,fare.")
    target: str | None = Field(default=None, description="Column of what is to be answered, or several, as a,b.")
    tokenizer: str | None = Field(default=None, description="word, character, bpe, or a tokenizer.json.")
    vocab_size: int = Field(default=20_000, ge=3, description="Most different tokens; the others count as unknown.")
    max_length: int | None = Field(
        default=None, ge=1, description="Tokens after which a text is cut; of a running one those of a window."
    )
    cache_gb: float = Field(
        default=4.0, ge=0, description="Most disk for decoded pictures, in GB, of all data sets; 0 keeps none."
    )
    max_unreadable: float = Field(default=0.01, ge=0, le=1, description="Share of samples that may be unreadable.")

    @field_validator("task", mode="before")
    @classmethod
    def _name_of_a_class(cls, task: object) -> object:
        """A class is kept as the place where it stands, so that a run finds it again."""
        if not isinstance(task, type):
            return task
        file = inspect.getsourcefile(task) if task.__module__ != "__main__" and "<" not in task.__qualname__ else None
        if file is None:
            raise ValueError("put the class into a file of its own that can be imported, not into the running script")
        return f"{file}:{task.__qualname__}"


class Sampling(Record):
    """How a text is continued."""

    max_new_tokens: int = Field(default=200, ge=1, le=100_000, description="Tokens to write.")
    temperature: float = Field(
        default=0.8, ge=0, le=100, description="Below 1 likelier tokens, above 1 bolder ones; 0 the likeliest."
    )
    top_k: int | None = Field(default=None, ge=1, description="Draw among so many of the likeliest tokens.")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="Draw among the likeliest tokens that hold so much probability."
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of the draws: the same seed writes the same text.")


class FieldSpec(Record):
    """One input or target: its name, shape without the batch (-1 where it varies), dtype as torch names it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class SplitSpec(Record):
    """How many samples a split has, in all and by class."""

    count: int
    class_counts: tuple[int, ...] | None = None
    tokens: int | None = Field(default=None, description="Of a running text, in all its windows.")
    characters: int | None = Field(default=None, description="That these tokens are written with.")
    unknown: int | None = Field(default=None, description="Tokens that training had not.")


class Unreadable(Record):
    """A sample that could not be read, and why."""

    name: str
    reason: str


class Finding(Record):
    """Something found: a stable code, how grave, where, with which numbers, and the cure."""

    code: str
    severity: Literal["error", "warning", "note"]
    title: str
    where: str
    evidence: str
    cure: str
    layer: str | None = Field(default=None, description="Name of the submodule, as named_modules() has it.")
    file: str | None = Field(default=None, description="The person's source, as they would type its path.")
    line: int | None = Field(default=None, description="In that file, from 1.")


class CheckReport(Record):
    """What checking gave: the findings, what to mend first ahead, and what could not be looked for and why."""

    subject: str = Field(description="What was checked, as net.py:Net on digits.")
    findings: tuple[Finding, ...] = ()
    not_checked: tuple[str, ...] = Field(default=(), description="A sentence each.")
    skipped: tuple[str, ...] = Field(default=(), description="Findings that were silenced, as M05 net.py:12.")
    seconds: float = 0.0

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that say that the result is wrong."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


class AnswerSpec(Record):
    """One answer of several: its name, what kind it is, its target, and its classes where it has such."""

    name: str
    task: Literal["classification", "multi_label", "regression"]
    target: FieldSpec
    classes: tuple[str, ...] | None = None


class DataSpec(Record):
    """What was understood of the data."""

    name: str
    source: str
    kind: Literal["image", "text", "sound", "table", "series", "tensor"]
    task: str = Field(description="Name of a task, as classification; or file.py:Class of a person's own.")
    inputs: tuple[FieldSpec, ...]
    target: FieldSpec
    classes: tuple[str, ...] | None
    letters: tuple[str, ...] | None = Field(default=None, description="Of transcripts; output 0 is the blank.")
    splits: dict[str, SplitSpec]
    preprocess: Preprocess
    options: LoadOptions
    choices: tuple[Choice, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    answers: tuple[AnswerSpec, ...] = Field(default=(), description="Where there are several; else empty.")
    parts: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Which fields a field of several is made of, as features of columns."
    )
    digest: str = Field(description="SHA-256 over the samples' bytes and targets, split by split.")


class Plan(Record):
    """How the training is executed here."""

    choices: tuple[Choice, ...]

    def __getitem__(self, name: str) -> Any:
        """The value chosen under ``name``."""
        for choice in self.choices:
            if choice.name == name:
                return choice.value
        raise KeyError(name)


class Candidate(Record):
    """A way of doing updates, as it was measured here; or why it cannot be done."""

    name: str
    seconds: float | None = Field(default=None, description="An update; None where it cannot be done.")
    cost_s: float | None = Field(default=None, description="Seconds that it took to make; less once it is cached.")
    pays_after: int | None = Field(
        default=None, description="Updates that save what it cost; None where it is no faster."
    )
    apart: float | None = Field(
        default=None, description="How far parameters part from the plain ones, as a share of the way they went."
    )
    reason: str = Field(default="", description="Why it cannot be done.")


class PlanReport(Record):
    """How a training would be executed here, and what that was chosen from."""

    subject: str = Field(description="What was measured, as net.py:Net on digits.")
    steps: int = Field(description="Updates of the whole run.")
    candidates: tuple[Candidate, ...] = Field(description="The plain update, eager, is the first.")
    plan: Choice = Field(description="What a run of this length would take.")
    choices: tuple[Choice, ...] = Field(description="All else that was decided.")
    seconds: float = Field(default=0.0, description="That measuring took.")


class NetSpec(Record):
    """How to build the person's module again."""

    reference: str | None = Field(default=None, description="file.py:Class as given; None for an instance from Python.")
    entry: str | None = Field(default=None, description="The same, relative to the run's model/ folder.")
    arguments: dict[str, str] = Field(default_factory=dict, description="Constructor arguments, as Python literals.")
    class_name: str
    num_parameters: int
    fingerprint: str = Field(description="SHA-256 over names, shapes and dtypes of the state dict.")


class RunSpec(Record):
    """What was asked, whole: goes to settings.yaml."""

    netwright: str = Field(description="Version that wrote it.")
    net: NetSpec
    data: str
    load: LoadOptions
    settings: Settings
    given: tuple[str, ...] = Field(default=(), description="What was handed over as Python objects: loss, step …")
    functions: dict[str, str] = Field(
        default_factory=dict,
        description="What lies in a file of the person's, as a loss or a task: where the run keeps a copy.",
    )


class Environment(Record):
    """Where a run was made."""

    python: str
    platform: str
    processor: str
    cores: int
    packages: dict[str, str]
    git: str | None = None
    command: tuple[str, ...] = ()
