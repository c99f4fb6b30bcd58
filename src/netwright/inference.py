"""Run a trained module over data: scores of a split, predictions for new inputs.

Always in eval mode, without gradients, with the random generators left as they were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from netwright.allocation import memory_kept
from netwright.batch import Batch
from netwright.binding import Binding, ask, in_full
from netwright.checkpoints import digest_of, read_weights
from netwright.copies import data_spec_of, source_of, with_own_task
from netwright.data import load
from netwright.data.batches import eval_batches
from netwright.data.dataset import Data
from netwright.data.sound_source import SoundSource
from netwright.errors import CheckpointError, DataError, ModelError, RunError, UsageError
from netwright.evaluation import Predictions
from netwright.layout import channels_last, has_convolutions, takes_channels_last
from netwright.models import fingerprint, load_model, parse_arguments
from netwright.randomness import unchanged_random
from netwright.records import DataSpec, RunSpec
from netwright.run import Run, open_run
from netwright.session import bind_to, evaluating, probe_outputs
from netwright.sums import Sums
from netwright.tasks import Objective, Task, find_task
from netwright.tasks.transcription import Transcription

EVAL_BATCH = 512
# With convolutions on a processor: what lies between the layers stays near it, and 512 pictures are no faster.
CONVOLVED = 256
LOOKED_AT = 8  # samples that are answered in two layouts, to see whether a module takes both
# Numbers that a module may answer with at once where it answers at each place of a text: 128 MB of float32.
MOST_ANSWERS = 2**25
# Positions asked at once, padding included: of sound 32 MB, and with spectra some ten times as much.
MOST_POSITIONS = 8_000_000


@dataclass(frozen=True, slots=True)
class Trained:
    """A run opened again: the module with its best weights, and how to ask it.

    Attributes:
        beam: Beginnings kept when transcripts are read; 1 takes the likeliest path.
    """

    run: Run
    spec: RunSpec
    data_spec: DataSpec
    model: nn.Module
    beam: int = 1


@contextlib.contextmanager
def answering(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode, no gradients, and the random generators as before after."""
    with evaluating(model), torch.no_grad(), unchanged_random(device):
        yield


def split_means(
    model: nn.Module,
    task: Task,
    objective: Objective,
    binding: Binding,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[float, dict[str, float]] | None:
    """Mean loss and mean of each metric over batches, each sample counted once; None where ``stop`` said so."""
    sums = Sums.zero(device)
    with answering(model, device):
        for batch in batches:
            if stop():
                return None
            here = batch.to(device)
            if here.targets is None:
                raise DataError(where="evaluation", expected="targets", got="none", cure="Give inputs and targets.")
            outputs = in_full(ask(binding, model, here.inputs))
            count = objective.count(here)
            sums.update(objective.mean(objective(outputs, here), count), count, task.running(outputs, here))
    return sums.means()


def eval_batch(model: nn.Module, data: Data, split: str) -> int:
    """Samples asked at once: 512, or fewer where they are long, or each has many answers, as of a vocabulary.

    Of a network of 2-D convolutions that is on the CPU, 256 at most.
    """
    convolved = has_convolutions(model) and next(model.parameters()).device.type == "cpu"
    most = CONVOLVED if convolved else EVAL_BATCH
    source = data.split(split)
    # Of sounds the samples, also where spectra stand for them: networks make some hundred numbers of each frame.
    lengths = source.sizes if isinstance(source, SoundSource) else source.lengths
    operation = data.spec.preprocess.text
    if lengths is not None:
        return max(1, min(most, MOST_POSITIONS // max(1, int(lengths.max(initial=1)))))
    if data.spec.task != "next_token" or operation is None:
        return most
    return max(1, min(most, MOST_ANSWERS // (operation.max_length * operation.vocab_size)))


def predict_split(
    model: nn.Module, data: Data, split: str, *, batch_size: int | None = None, beam: int = 1
) -> tuple[Task, Predictions]:
    """The module's answer to each sample of a split, in order; samples to be ignored are left out.

    Returns:
        The task as fitted to the module, and what it keeps of the answers.

    Raises:
        DataError: The split is empty.
        UsageError: A beam is asked for where answers are not searched.
    """
    device = next(model.parameters()).device
    parts: list[Predictions] = []
    task: Task | None = None
    binding: Binding | None = None
    with contextlib.ExitStack() as around:
        around.enter_context(unchanged_random(device))
        around.enter_context(memory_kept(device.type))
        for batch in eval_batches(data, split, batch_size=batch_size or eval_batch(model, data, split), workers=0):
            if task is None or binding is None:
                task, binding = fit_task(model, data.spec, batch, device, beam=beam)
                around.enter_context(fast_layout(model, binding, batch, device))
            here = batch.to(device)
            with evaluating(model), torch.no_grad():
                parts.append(task.predictions(in_full(ask(binding, model, here.inputs)), here))
    if task is None:
        raise DataError(where=split, expected="samples", got="an empty split", cure="Name another with --split.")
    return task, Predictions.join(parts)


@contextlib.contextmanager
def fast_layout(model: nn.Module, binding: Binding, batch: Batch, device: torch.device) -> Iterator[None]:
    """On the CPU convolutions over pixels with their channels side by side inside, where the module takes them."""
    few = Batch({name: value[:LOOKED_AT] for name, value in batch.inputs.items()}, None, batch.sample_ids[:LOOKED_AT])
    with contextlib.ExitStack() as around:
        if device.type == "cpu" and has_convolutions(model):
            with evaluating(model):
                taken = takes_channels_last(model, binding, few)
            if taken:
                around.enter_context(channels_last(model))
        yield


def open_trained(run: Run | Path | str, model: nn.Module | None = None) -> Trained:
    """Open a run and put its best weights into its module.

    Args:
        run: The run or its folder.
        model: The module, where the run cannot build it again by itself (an instance from Python).

    Raises:
        RunError: The run has no weights, or the module is another one.
    """
    run = run if isinstance(run, Run) else open_run(run)
    spec = run.read_spec()
    if not run.weights_file.is_file():
        raise RunError(
            where=str(run.path),
            expected="weights.safetensors",
            got="a run that has not finished its first epoch",
            cure=f"Go on with it: netwright train --resume {run.path}",
        )
    module = rebuild(run, spec) if model is None else model
    if is_lazy(module):  # its shapes come with the weights
        module.load_state_dict(read_weights(run.weights_file))
    check_same_model(module, spec, run)
    module.load_state_dict(read_weights(run.weights_file))
    return Trained(run, spec, data_spec_of(spec, run), module)


def is_lazy(model: nn.Module) -> bool:
    """Whether some of its parameters get their shape from the first batch, as in ``nn.LazyLinear``."""
    return any(nn.parameter.is_lazy(parameter) for parameter in model.parameters())


def rebuild(run: Run, spec: RunSpec) -> nn.Module:
    """The module, from the copy of its source in the run folder.

    Raises:
        ModelError: It was an instance from Python whose source is not in a file.
    """
    if spec.net.entry is None:
        raise ModelError(
            where=str(run.path),
            expected="a module that can be built again from its source",
            got=f"a {spec.net.class_name} that was made in Python",
            cure="Give the module: nw.evaluate(run, model=net), nw.export(run, model=net, data=data).",
        )
    arguments = parse_arguments([f"{name}={value}" for name, value in spec.net.arguments.items()])
    return load_model(spec.net.entry, arguments, root=run.model_folder)


def check_same_model(model: nn.Module, spec: RunSpec, run: Run) -> None:
    """Refuse a module whose parameters have other names, shapes or dtypes than the run's.

    Raises:
        CheckpointError: It is another model; the first difference is named.
    """
    if fingerprint(model) == spec.net.fingerprint:
        return
    detail = ""
    if run.weights_file.is_file():
        held = {name: tuple(value.shape) for name, value in read_weights(run.weights_file).items()}
        mine = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        for name in sorted(held.keys() | mine.keys()):
            if held.get(name) != mine.get(name):
                detail = f"; {name} is {mine.get(name, 'absent')} here and {held.get(name, 'absent')} there"
                break
    raise CheckpointError(
        where=str(run.path),
        expected=f"a run of this module, {type(model).__name__}",
        got=f"a run of another one, {spec.net.class_name} with {spec.net.num_parameters:,} parameters{detail}",
        cure="Name the run of this module, or give the module and arguments that the run was made with.",
    )


def data_of(trained_run: Run, spec: RunSpec, data: Data | None) -> Data:
    """The run's data, loaded again, or those given; the digest must be the run's own.

    Raises:
        DataError: The data have changed, or they were made in Python and are not given.
    """
    known = trained_run.read_data()
    if data is None:
        if spec.data.startswith("python:"):
            raise DataError(
                where=str(trained_run.path),
                expected="data that can be loaded by name",
                got="data that were handed over in Python",
                cure="Give them again: nw.evaluate(run, data), nw.resume(run, data=data), nw.export(run, data=data).",
            )
        source, options = source_of(spec, trained_run)
        data = load(source, options=options)
    if data.spec.digest != known.digest:
        raise DataError(
            where=data.spec.source,
            expected=f"the data the run was made with (digest {known.digest[:12]})",
            got=f"other data (digest {data.spec.digest[:12]})",
            cure="Bring the files back as they were, or train a new run on the new ones.",
        )
    if data.spec.preprocess != known.preprocess:
        raise DataError(
            where=data.spec.source,
            expected="the preprocessing the run was made with",
            got="another one of the same data: other options, another tokenizer.json, or another version of a library",
            cure="Load them with the run's own options, and with the tokenizer.json as it was.",
        )
    return with_own_task(data, spec, trained_run)


def fit_task(
    model: nn.Module, spec: DataSpec, batch: Batch, device: torch.device, *, beam: int = 1
) -> tuple[Task, Binding]:
    """Task and binding from a first batch; the module goes back to its device."""
    few = batch.split(max(1, len(batch) // 2))[0]
    binding = bind_to(model, spec, few)
    outputs = probe_outputs(model, binding, few)
    model.to(device)
    return _with_beam(find_task(spec.task).fit(spec, outputs, few), beam), binding


def _with_beam(task: Task, beam: int) -> Task:
    if beam == 1:
        return task
    if not isinstance(task, Transcription) or beam < 1:
        raise UsageError(
            where=f"--beam {beam}",
            expected="a width of 1 or more, for a run that writes down speech",
            got=f"one of {task.name}",
            cure="Leave it out.",
        )
    return replace(task, beam=beam)


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of a module's state dict."""
    return digest_of(model.state_dict())
