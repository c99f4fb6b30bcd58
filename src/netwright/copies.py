"""What a run keeps of the person's files: loss, optimizer, schedule, task and the function that loads the data.

So that it can be resumed, evaluated and asked from its folder, whatever has become of the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from netwright.data.dataset import Data
from netwright.data.own import names_function
from netwright.models import copy_sources
from netwright.records import DataSpec, LoadOptions, RunSpec, Settings
from netwright.run import Run

OF_SETTINGS = ("loss", "optimizer", "schedule")


def keep_functions(settings: Settings, data: DataSpec, run: Run) -> dict[str, str]:
    """Copy the files beside the module's; where each lies, from the run."""
    references: Mapping[str, str | None] = {
        **{name: getattr(settings, name) for name in OF_SETTINGS},
        "task": data.task,
        "data": data.source if names_function(data.source) else None,
    }
    kept = {}
    for name, reference in references.items():
        if reference is not None and ":" in reference:
            folder = run.functions_folder / name
            entry = copy_sources(reference, folder)
            if entry is not None and entry != reference:  # of an installed module nothing is copied
                kept[name] = f"{folder.relative_to(run.path).as_posix()}/{entry}"
    return kept


def settings_of(spec: RunSpec, run: Run) -> Settings:
    """The settings, with the run's own copies of what lies in files."""
    copies = {name: _place(run, entry) for name, entry in spec.functions.items() if name in OF_SETTINGS}
    return spec.settings.model_copy(update=copies)


def data_spec_of(spec: RunSpec, run: Run) -> DataSpec:
    """What was understood of the data, with the run's own copy of the task."""
    return _with_task(run.read_data(), spec, run)


def with_own_task(data: Data, spec: RunSpec, run: Run) -> Data:
    """Data that are answered by the run's own copy of the task, where that is the person's."""
    return replace(data, spec=_with_task(data.spec, spec, run))


def source_of(spec: RunSpec, run: Run) -> tuple[str, LoadOptions]:
    """Where the data can be loaded from again, and with which options."""
    options = spec.load.model_copy(update={"task": _still(spec, run, "task", spec.load.task)})
    return _still(spec, run, "data", spec.data) or spec.data, options


def lasting(source: str) -> str:
    """Where the data are, also for who goes on from another folder."""
    if names_function(source):
        file, _, name = source.rpartition(":")
        return f"{Path(file).resolve()}:{name}" if Path(file).is_file() else source
    path = Path(source)
    return str(path.resolve()) if path.exists() else source


def _with_task(data: DataSpec, spec: RunSpec, run: Run) -> DataSpec:
    return data.model_copy(update={"task": _still(spec, run, "task", spec.load.task) or data.task})


def _still(spec: RunSpec, run: Run, name: str, original: str | None) -> str | None:
    """What names a function or class: where it lies as long as its file is as it was, else the run's copy.

    A function may look for data beside its file; and errors name the file that the person knows.
    """
    if name not in spec.functions:
        return original
    copy = _place(run, spec.functions[name])
    there, own = (Path((reference or "").rpartition(":")[0]) for reference in (original, copy))
    return original if there.is_file() and there.read_bytes() == own.read_bytes() else copy


def _place(run: Run, entry: str) -> str:
    return str(run.path / entry)
