"""Decide what was not asked: the recipe, and how it is executed here. Each choice carries its reason.

Reads records and the machine; touches neither the model nor the data.
"""

from __future__ import annotations

import math
import os
from typing import Any

import torch
from torch import nn

from netwright.allocation import can_keep
from netwright.data.augment import AUGMENTATIONS
from netwright.data.augment_sound import SOUND_AUGMENTATIONS
from netwright.errors import UsageError, unknown_name
from netwright.layout import has_convolutions
from netwright.optim import SCHEDULES, USUAL_LR, find_optimizer
from netwright.precision import told
from netwright.records import Choice, DataSpec, Plan, Settings
from netwright.tasks import Discerning, find_task

# Samples seen in a run chosen by us: 4 passes over 55,000 images, 20 over 1,300, measured with the tutorial network.
SAMPLES_SEEN = 220_000
MOST_AT_ONCE = 128
# A transcript has many answers, and letters part only after some hundred updates; docs/log.md has the figures.
MOST_UTTERANCES = 16
# Of a running text, whose samples are windows: 8 passes over Shakespeare, which take an LSTM of 512 some 8 minutes on
# two cores; 32 windows of 128 characters an update leave enough updates.
TOKENS_SEEN, TOKENS_AT_ONCE = 8_000_000, 4_096


def plan(model: nn.Module, spec: DataSpec, settings: Settings, *, given: frozenset[str] = frozenset()) -> Plan:
    """Choose everything that was left to us.

    Args:
        model: Looked at for its layers only.
        spec: What was understood of the data.
        settings: What was asked.
        given: Names of settings for which a Python object was handed over: optimizer, schedule, loss.

    Raises:
        UsageError: Something asked cannot be had here.
        UnknownNameError: A misspelt name.
    """
    asked = settings.asked() | given
    choices = [*_recipe(spec, settings, asked), *_execution(model, settings)]
    return Plan(choices=tuple(choices))


def _recipe(spec: DataSpec, settings: Settings, asked: frozenset[str]) -> list[Choice]:
    own_optimizer = "optimizer" in asked
    epochs, why_epochs, batch_size, why_batch = _passes(spec)
    optimizer = settings.optimizer or "AdamW"
    if ":" not in optimizer and "optimizer" not in (asked - settings.asked()):
        optimizer = find_optimizer(optimizer).__name__
    schedule = settings.schedule or ("constant" if own_optimizer else "one_cycle")
    if schedule not in SCHEDULES and ":" not in schedule:
        raise unknown_name("schedule", schedule, SCHEDULES, where="--schedule")
    choose = _chooser(settings)
    return [
        choose("epochs", settings.epochs or epochs, why_epochs),
        choose("batch_size", settings.batch_size or batch_size, why_batch),
        choose("optimizer", optimizer, "adapts its step to each weight, so that one rate suits most networks"),
        choose("lr", *_rate(settings, optimizer, own_optimizer)),
        choose("weight_decay", *_decay(settings, own_optimizer)),
        choose("schedule", schedule, *_schedule_reason(own_optimizer)),
        choose("warmup_steps", settings.warmup_steps or 0, "one_cycle rises by itself; the others start at once"),
        choose("augment", *_augment(spec, settings, own_optimizer)),
        choose("monitor", *_monitor(spec, settings)),
        choose("better", *_better(spec, _monitor(spec, settings)[0])),
        choose("gradient_accumulation_steps", settings.gradient_accumulation_steps or 1, "a batch fits in memory"),
    ]


def _execution(model: nn.Module, settings: Settings) -> list[Choice]:
    device, device_reason = _device(settings.device)
    choose = _chooser(settings)
    dtype = choose("dtype", *_dtype(device, settings.dtype))
    if device.startswith("cpu") and dtype.value != "float32":
        dtype = dtype.model_copy(update={"reason": f"asked for; {told(getattr(torch, dtype.value))}"})
    threads = settings.threads or torch.get_num_threads()
    choices = [
        choose("device", device, device_reason),
        dtype,
        choose("threads", threads, f"of {os.cpu_count()} processors, as torch counts them"),
        choose("workers", settings.workers or 0, "data lie in memory, or no worker was asked for"),
    ]
    if settings.plan == "eager" or not has_convolutions(model):
        reason = "the plain plan was asked for" if settings.plan == "eager" else "no 2-D convolution"
        layout = Choice(name="memory_format", value="contiguous", reason=reason)
    else:
        layout = Choice(
            name="memory_format",
            value="channels_last",
            reason="2-D convolutions run over pixels with their channels side by side",
        )
    return [*choices, layout, _memory(device)]


def _memory(device: str) -> Choice:
    if device != "cpu":
        return Choice(name="memory", value="returned", reason="torch itself keeps what is freed on a GPU")
    if not can_keep():
        reason = "the allocator is set by a variable of the environment, or is not glibc's"
        return Choice(name="memory", value="returned", reason=reason)
    return Choice(
        name="memory", value="kept", reason="what an update frees the next one uses; fetched anew it would be cleared"
    )


def _chooser(settings: Settings) -> Any:
    def choose(name: str, value: Any, reason: str) -> Choice:
        if name in settings.asked():
            return Choice(name=name, value=value, reason="asked for", asked=True)
        return Choice(name=name, value=value, reason=reason)

    return choose


def _passes(spec: DataSpec) -> tuple[int, str, int, str]:
    """Passes over the training split, samples an update, and why."""
    train, tokens = spec.splits["train"].count, spec.splits["train"].tokens
    if tokens is None:
        most = MOST_AT_ONCE if spec.letters is None else MOST_UTTERANCES
        epochs, size = max(4, min(20, round(SAMPLES_SEEN / train))), _batch_size(train, most)
        why = f"about {SAMPLES_SEEN:,} samples seen, at least 4 and at most 20 passes over {train:,}"
        return epochs, why, size, f"{train:,} samples give {math.ceil(train / size):,} updates a pass"
    window = spec.inputs[0].shape[0]
    epochs = max(1, min(20, round(TOKENS_SEEN / tokens)))
    why = f"about {TOKENS_SEEN:,} tokens seen, at most 20 passes over {tokens:,}"
    size = max(1, min(TOKENS_AT_ONCE // window, max(4, train // 40)))
    return epochs, why, size, f"windows of {window} tokens; {math.ceil(train / size):,} updates a pass"


def _batch_size(train: int, most: int) -> int:
    """The most, or less where that would leave fewer than about 40 updates a pass."""
    nearest = int(2 ** round(math.log2(max(1, train) / 40)))
    size = max(8, min(most, nearest))
    while train % size == 1 and train > 1:  # one sample alone cannot be normalised over a batch
        size += 1
    return size


def _rate(settings: Settings, optimizer: str, own: bool) -> tuple[float | None, str]:
    if settings.lr is not None:
        return settings.lr, ""
    if ":" in optimizer:
        return None, "the given optimizer has its own"
    if not own:
        return 0.003, "height of the cycle; three times AdamW's usual rate, since it is reached slowly and left again"
    usual = USUAL_LR.get(optimizer, 0.001)
    return usual, f"the usual rate of {optimizer}"


def _decay(settings: Settings, own: bool) -> tuple[float | None, str]:
    if settings.weight_decay is not None:
        return settings.weight_decay, ""
    if own:
        return None, "the optimizer's own"
    return 0.01, "AdamW's usual one, on matrices and kernels only"


def _schedule_reason(own: bool) -> tuple[str]:
    if own:
        return ("an optimizer was asked for, and no schedule",)
    return ("short runs gain most from a rate that rises and then falls to zero",)


def _augment(spec: DataSpec, settings: Settings, own: bool) -> tuple[tuple[str, ...], str]:
    known = {"image": tuple(AUGMENTATIONS), "sound": tuple(SOUND_AUGMENTATIONS)}.get(spec.kind, ())
    if settings.augment is not None:
        names = tuple(name for name in settings.augment if name != "none")
        if names and not known:
            raise UsageError(
                where="--augment", expected="pictures or sound", got=f"{spec.kind} data", cure="Leave it out."
            )
        for name in names:
            if name not in known:
                raise unknown_name(f"augmentation of {spec.kind}", name, [*known, "none"], where="--augment")
        if "speed" in names and spec.task == "transcription":
            raise UsageError(
                where="--augment speed",
                expected="changes that leave a sound its length, for transcripts need their frames",
                got="one that may shorten it",
                cure="Take noise and shift.",
            )
        return names, ""
    if not known:
        return (), "only pictures and sound have augmentations that keep their meaning"
    if own:
        return (), "an optimizer was asked for, so the recipe is the person's own"
    if spec.kind == "sound":
        return _sound_augment(spec)
    if spec.source in ("python:dataset", "python:loader"):
        return (), "a person's own data set changes its pictures itself"
    return ("shift",), "moving a picture a little keeps its class; turning or mirroring it may not"


def _sound_augment(spec: DataSpec) -> tuple[tuple[str, ...], str]:
    if spec.preprocess.log_mel is not None:
        return (), "spectra are made without; --augment shift changes the sounds, and makes them anew in each epoch"
    if spec.task == "transcription":
        return ("shift",), "a little silence around an utterance changes no word of it"
    return ("shift",), "a little silence around a sound keeps its class"


def _metric(spec: DataSpec) -> str:
    task = find_task(spec.task)
    return task.metric_for(spec.classes or ()) if isinstance(task, Discerning) else task.metric


def _monitor(spec: DataSpec, settings: Settings) -> tuple[str, str]:
    metric = _metric(spec)
    fitting = (f"val/{metric}", "val/loss") if "val" in spec.splits else ()
    usable = dict.fromkeys((*fitting, "train/loss"))
    if settings.monitor is not None:
        name = settings.monitor.replace("_", "/", 1) if "/" not in settings.monitor else settings.monitor
        if name not in usable:
            raise unknown_name("score to monitor", settings.monitor, usable, where="--monitor")
        return name, ""
    if "val" not in spec.splits:
        return "train/loss", "there is no validation split"
    return f"val/{metric}", "it is what the result is judged by"


def _better(spec: DataSpec, monitor: str) -> tuple[str, str]:
    higher = monitor.endswith(f"/{_metric(spec)}") and find_task(spec.task).higher_is_better
    return ("higher" if higher else "lower"), f"of {monitor}"


def _device(asked: str | None) -> tuple[str, str]:
    if asked is not None:
        try:
            kind = torch.device(asked).type
        except RuntimeError as error:
            raise unknown_name("device", asked, ["cpu", "cuda", "mps"], where="--device") from error
        here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not here.get(kind, False):
            have = ", ".join(name for name, there in here.items() if there)
            raise UsageError(
                where="--device",
                expected="a device that is here",
                got=asked,
                cure=f"Here: {have}. Leave it out to choose.",
            )
        return asked, ""
    if torch.cuda.is_available():
        return "cuda", f"a GPU is here: {torch.cuda.get_device_name()}"
    if torch.backends.mps.is_available():
        return "mps", "an Apple GPU is here"
    return "cpu", "no GPU is here"


def _dtype(device: str, asked: str | None) -> tuple[str, str]:
    if asked is not None:
        return asked, ""
    if device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16", "this GPU multiplies bfloat16 several times faster; weights and updates stay float32"
    if device.startswith("cuda"):
        return "float32", "this GPU has no bfloat16"
    return "float32", "half precision is emulated on most processors, and then many times slower"
