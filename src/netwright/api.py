"""The verbs, as Python calls them. The command line calls the same ones.

Each loads what it needs when it is called: what can be begun before is, and a verb does not wait for another's.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors.numpy import save as to_safetensors
from torch import nn

from netwright.answering.bundle import is_bundle
from netwright.batch import LossFunction, Step, StepFunction
from netwright.checks.asked import SECONDS, known_codes, refuse_seconds
from netwright.data import load
from netwright.data.dataset import Data
from netwright.disk import atomic_write_bytes
from netwright.errors import UsageError
from netwright.given import Given, OptimizerGiven
from netwright.optim import Schedule
from netwright.options import make_options
from netwright.plans import ahead
from netwright.progress import Progress, choose_progress
from netwright.records import CheckReport, PlanReport, Sampling, Settings
from netwright.results import Evaluation, Prediction
from netwright.run import Run, open_run

if TYPE_CHECKING:
    from netwright.evaluation import Predictions


def train(  # noqa: PLR0913 - the four objects a person may hand over, and where to put the run
    model: nn.Module,
    data: Any,
    *,
    run: Path | str | None = None,
    loss: str | LossFunction | Mapping[str, LossFunction] | None = None,
    optimizer: str | OptimizerGiven | None = None,
    schedule: str | Schedule | None = None,
    step: StepFunction | None = None,
    progress: Progress | None = None,
    report: bool = True,
    **options: Any,
) -> Run:
    """Train a plain module, evaluate it, and keep everything in a run folder.

    Args:
        model: Any ``nn.Module``; trained in place and left with the weights the run ends with.
        data: From ``load``, or anything that ``load`` takes.
        run: New or empty folder. None: ``runs/DATE-DATA-CLASS``.
        loss: Name of a torch.nn loss, or any callable ``(outputs, targets) -> loss``; of several answers a mapping of
            their names to losses. None: chosen from the data and from what the module emits.
        optimizer: Name of a torch.optim optimizer, its class, a function of the parameters, or the optimizer itself.
        schedule: Name, or function from the update's index (from 0) to the factor of the learning rate.
        step: ``(model, batch) -> loss`` for what fits no loss.
        progress: Where progress is shown. None: a bar, lines or a notebook's display, as fits.
        report: Write report.html at the end, where the ``report`` extra is installed.
        options: Fields of ``Settings``, as ``epochs=3, lr=0.01, seed=1``.

    Returns:
        The run; ``evaluation.json`` and ``weights.safetensors`` lie in it.

    Raises:
        NetwrightError: What cannot work is said before the first update wherever it can be.
        KeyboardInterrupt: Ctrl-C or SIGTERM came; the run is saved and can be resumed.
    """
    given, names = split_given(loss=loss, optimizer=optimizer, schedule=schedule, step=step)
    loaded, settings = _loaded(data, options | names, where="train(skip)")
    progress = progress or choose_progress(sys.stderr)
    ahead.begin(model, loaded, settings, given)
    from netwright import training

    done = training.train(model, loaded, run=run, given=given, progress=progress, settings=settings)
    finish(done, model, loaded, write_report=report)
    return done


def resume(  # noqa: PLR0913 - what cannot be read back from the run folder
    run: Run | Path | str,
    *,
    model: nn.Module | None = None,
    data: Any = None,
    loss: LossFunction | Mapping[str, LossFunction] | None = None,
    optimizer: OptimizerGiven | None = None,
    schedule: Schedule | None = None,
    step: StepFunction | None = None,
    progress: Progress | None = None,
    report: bool = True,
) -> Run:
    """Go on with a run that was stopped; it ends as if it had not been.

    Model, data and Python objects need giving only where the run was made from such.

    Raises:
        CheckpointError: No checkpoint is whole, or the model is another one.
        DataError: The data are not those of the run.
    """
    given, _ = split_given(loss=loss, optimizer=optimizer, schedule=schedule, step=step)
    folder = run if isinstance(run, Run) else open_run(run)
    progress = progress or choose_progress(sys.stderr)
    loaded = data if data is None or isinstance(data, Data) else load(data)
    from netwright import training

    done = training.resume(folder, model=model, data=loaded, given=given, progress=progress)
    finish(done, model, loaded, write_report=report)
    return done


def _loaded(data: Any, options: Mapping[str, Any], *, where: str) -> tuple[Data, Settings]:
    """The data and the settings of a training; codes to pass over that there are not are refused."""
    loaded = data if isinstance(data, Data) else load(data)
    settings = make_options(Settings, options)
    known_codes(settings.skip, where=where)
    return loaded, settings


def training_steps(
    model: nn.Module,
    data: Any,
    *,
    loss: str | LossFunction | Mapping[str, LossFunction] | None = None,
    optimizer: str | OptimizerGiven | None = None,
    schedule: str | Schedule | None = None,
    step: StepFunction | None = None,
    **options: Any,
) -> Iterator[Step]:
    """Train and yield after each update; no files. Arguments as in ``train``."""
    from netwright.loop import training_steps as loop_over

    given, names = split_given(loss=loss, optimizer=optimizer, schedule=schedule, step=step)
    loaded = data if isinstance(data, Data) else load(data)
    return loop_over(model, loaded, given=given, **(options | names))


def evaluate(
    subject: Run | Path | str | nn.Module,
    data: Any = None,
    *,
    split: str | None = None,
    model: nn.Module | None = None,
    with_baselines: bool = True,
    beam: int = 1,
) -> Evaluation:
    """Score a run, or a module, on a split: each sample once, an interval on each headline number.

    Args:
        subject: A run, its folder, or a module.
        data: Needed for a module, and for a run whose data were handed over in Python.
        split: None: test, or val where there is no test.
        model: The module of a run made from an instance in Python.
        with_baselines: Also score simple methods on the same samples.
        beam: Beginnings kept when transcripts are read; 1 takes the likeliest path.

    Returns:
        The evaluation; of a run, also kept in its folder, with all predictions.

    Raises:
        UsageError: There is no such split, or no data.
    """
    from netwright.inference import data_of, open_trained

    loaded = data if data is None or isinstance(data, Data) else load(data)
    if isinstance(subject, nn.Module):
        if loaded is None:
            raise UsageError(
                where="evaluate(net)", expected="data to score the module on", got="none", cure="nw.evaluate(net, data)"
            )
        predictions, evaluation = assess(subject, loaded, split, with_baselines=with_baselines, beam=beam)
        return evaluation
    trained = open_trained(subject, model)
    loaded = data_of(trained.run, trained.spec, loaded)
    predictions, evaluation = assess(trained.model, loaded, split, with_baselines=with_baselines, beam=beam)
    _keep(trained.run, predictions, evaluation)
    return evaluation


def assess(
    model: nn.Module, data: Data, split: str | None, *, with_baselines: bool = True, beam: int = 1
) -> tuple[Predictions, Evaluation]:
    """Predictions on a split, and what they score."""
    from netwright.evaluation import beside_baselines
    from netwright.generation import continuations
    from netwright.inference import predict_split
    from netwright.tasks import Calibrated, NextToken

    have = [name for name in ("test", "val", "train") if name in data.spec.splits]
    if split is not None and split not in have:
        raise UsageError(
            where="--split", expected=f"one of {', '.join(have)}", got=f'"{split}"', cure="Name one of those."
        )
    split = split or have[0]
    task, predictions = predict_split(model, data, split, beam=beam)
    if isinstance(task, Calibrated) and split != "val" and "val" in data.spec.splits:
        task = task.calibrated(predict_split(model, data, "val")[1])
    evaluation = task.score(predictions, split=split, seed=0)
    evaluation = evaluation.model_copy(update={"worst": task.worst(data, split, predictions)})
    if task.name == NextToken.name:
        evaluation = evaluation.model_copy(update={"continuations": continuations(model, data, split)})
    if with_baselines:
        evaluation = beside_baselines(evaluation, task.baselines(data, split, seed=0))
    return predictions, evaluation


def predict(
    run: Run | Path | str,
    inputs: Sequence[Any],
    *,
    model: nn.Module | None = None,
    batch_size: int = 64,
    beam: int = 1,
    **sampling: Any,
) -> list[Prediction]:
    """Answer raw inputs with a run's module: texts, paths of images, bytes, or arrays as the training data were.

    An input that cannot be read gets a ``Prediction`` whose ``error`` says why; the others are answered.

    Args:
        run: The run or its folder; or a bundle, which ``nw.Predictor`` asks without torch.
        inputs: A list; of a run that predicts next tokens the texts to continue.
        model: The module of a run made from an instance in Python.
        batch_size: Inputs answered at once.
        beam: Beginnings kept when transcripts are read; 1 takes the likeliest path.
        sampling: Fields of ``Sampling``, for a run that predicts next tokens: ``max_new_tokens=200``,
            ``temperature=0.8``, ``top_k``, ``top_p``, ``seed=0``. The same seed writes the same text.

    Raises:
        UsageError: Options of sampling for a run that writes no text.
    """
    from netwright.predicting import as_list

    inputs = as_list(inputs)
    if model is None and not isinstance(run, Run) and is_bundle(Path(run)):
        from netwright.answering.predictor import Predictor

        found = Predictor.open(run).predict(inputs, batch_size=batch_size, beam=beam, **sampling)
        return [Prediction(**one) for one in found]
    from netwright.generation import continue_texts
    from netwright.inference import open_trained
    from netwright.predicting import predict as predict_inputs
    from netwright.tasks import NextToken

    trained = open_trained(run, model)
    if trained.data_spec.task == NextToken.name:
        return continue_texts(trained, inputs, make_options(Sampling, sampling))
    if sampling:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sampling)
        raise UsageError(
            where=names,
            expected="a run that predicts next tokens, which such options are for",
            got=f"one of {trained.data_spec.task}",
            cure="Leave them out, or train on a text with --task next_token.",
        )
    return predict_inputs(replace(trained, beam=beam), inputs, batch_size=batch_size)


def check(
    subject: nn.Module | Run | Path | str,
    data: Any = None,
    *,
    loss: str | LossFunction | Mapping[str, LossFunction] | None = None,
    optimizer: str | OptimizerGiven | None = None,
    schedule: str | Schedule | None = None,
    step: StepFunction | None = None,
    seconds: float = SECONDS,
    **options: Any,
) -> CheckReport:
    """Find the silent faults of a module with its data and its recipe, or of a run's history.

    Nothing is changed: neither weights, buffers, gradients and modes nor random generators.

    Args:
        subject: A module; or a run or its folder, of which the history is checked.
        data: From ``load``, or anything that ``load`` takes; needed for a module.
        loss, optimizer, schedule, step: As in ``train``.
        seconds: For all checks together; what was not reached is said.
        options: Fields of ``Settings``, as ``lr=0.01, skip=("M05",)``.

    Raises:
        UsageError: No data for a module, a class in its place, a code that there is not, or no time.
    """
    refuse_seconds(seconds, where="check(seconds)")
    if not isinstance(subject, (nn.Module, Run, Path, str)):
        is_class = isinstance(subject, type)
        raise UsageError(
            where="check(net)",
            expected="an instance of a module, or the folder of a run",
            got=f"the class {subject.__name__}" if is_class else f"a {type(subject).__name__}",
            cure=f"nw.check({subject.__name__}(), data)" if is_class else "nw.check(net, data)",
        )
    if not isinstance(subject, nn.Module):
        from netwright.checks.history import check_run

        folder = subject if isinstance(subject, Run) else open_run(subject)
        return check_run(folder, skip=known_codes(make_options(Settings, options).skip, where="check(skip)"))
    if data is None:
        raise UsageError(
            where="check(net)", expected="data to check the module with", got="none", cure="nw.check(net, data)"
        )
    given, names = split_given(loss=loss, optimizer=optimizer, schedule=schedule, step=step)
    settings = make_options(Settings, options | names)
    skip = known_codes(settings.skip, where="check(skip)")
    loaded = data if isinstance(data, Data) else load(data)
    from netwright.checks.assemble import check as check_module

    return check_module(subject, loaded, given=given, settings=settings, skip=skip, seconds=seconds)


def plan(
    model: nn.Module,
    data: Any,
    *,
    loss: str | LossFunction | Mapping[str, LossFunction] | None = None,
    optimizer: str | OptimizerGiven | None = None,
    schedule: str | Schedule | None = None,
    step: StepFunction | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> PlanReport:
    """Measure how updates would be executed here, without training: each plan's time, what it costs, how far it parts.

    Nothing is changed: neither weights, buffers, gradients and modes nor random generators.

    Args:
        model: Any ``nn.Module``; copied.
        data, loss, optimizer, schedule, step, progress: As in ``train``.
        options: Fields of ``Settings``: those that the run to be planned would be given, ``epochs`` above all.

    Raises:
        ModelError: The module cannot be copied, or its update fails.
        NetwrightError: As in ``train``, what cannot work.
    """
    from netwright.plans.surveying import survey

    given, names = split_given(loss=loss, optimizer=optimizer, schedule=schedule, step=step)
    loaded, settings = _loaded(data, options | names, where="plan(skip)")
    progress = progress or choose_progress(sys.stderr)
    return survey(model, loaded, given=given, settings=settings, say=progress.say)


def report(run: Run | Path | str, *, lang: Literal["en", "zh"] = "en", out: Path | None = None) -> Path:
    """Write a run's report, one HTML file that needs nothing else.

    Raises:
        MissingExtraError: The ``report`` extra is not installed.
    """
    from netwright.reporting import report as write

    folder = run if isinstance(run, Run) else open_run(run)
    return write(folder.path, lang=lang, out=out)


def finish(
    run: Run, model: nn.Module | None, data: Data | None, *, write_report: bool, lang: Literal["en", "zh"] = "en"
) -> Evaluation:
    """Evaluate a finished run and write its report, where the extra for it is there."""
    from netwright.inference import data_of, open_trained

    trained = open_trained(run, model)
    loaded = data_of(run, trained.spec, data)
    predictions, evaluation = assess(trained.model, loaded, None)
    _keep(run, predictions, evaluation)
    if write_report and all(importlib.util.find_spec(name) for name in ("jinja2", "matplotlib")):
        report(run, lang=lang)
    return evaluation


def split_given(
    *,
    loss: str | LossFunction | Mapping[str, LossFunction] | None,
    optimizer: str | OptimizerGiven | None,
    schedule: str | Schedule | None,
    step: StepFunction | None,
) -> tuple[Given, dict[str, str]]:
    """Objects on one side, names (which are settings) on the other."""
    asked = {"loss": loss, "optimizer": optimizer, "schedule": schedule}
    names = {name: value for name, value in asked.items() if isinstance(value, str)}
    objects: dict[str, Any] = {
        name: value for name, value in asked.items() if value is not None and not isinstance(value, str)
    }
    return Given(step=step, **objects), names


def _keep(run: Run, predictions: Predictions, evaluation: Evaluation) -> None:
    arrays = {name: np.ascontiguousarray(value) for name, value in predictions.arrays().items()}
    if evaluation.task == "regression":
        arrays["values"] = arrays.pop("probs")
    atomic_write_bytes(run.predictions_file, to_safetensors(arrays, metadata={"split": evaluation.split}))
    run.write(evaluation)


fit = train
