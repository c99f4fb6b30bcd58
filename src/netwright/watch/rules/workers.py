"""Worker processes that draw the same random numbers (D11): samples are read again as two workers would read them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import TensorDataset
from torch.utils.data._utils import worker as worker_of_torch

from netwright.checks.catalogue import finding
from netwright.checks.subject import Subject
from netwright.records import Finding
from netwright.watch.capture import dataset_of
from netwright.watch.rules.datasets import is_map_style, private_copy, read, same, seed_all
from netwright.watch.trace import LoaderSeen, Trace

READ = 4  # samples that are read again


def equal_workers(trace: Trace, subjects: dict[int, Subject]) -> Iterator[Finding]:
    """D11: random samples that come out the same in each worker, or in each epoch."""
    for seen in trace.loaders:
        workers, dataset = getattr(seen.loader, "num_workers", 0), getattr(seen.loader, "dataset", None)
        if not workers or not is_map_style(dataset) or isinstance(dataset_of(seen.loader)[0], TensorDataset):
            continue
        found = _draws(seen, dataset, workers)
        if found is not None:
            yield found
            return


def _draws(seen: LoaderSeen, dataset: Any, workers: int) -> Finding | None:
    """Read the same samples as two workers would, and as one would in the next epoch."""
    first, second = _as_worker(seen, dataset, 0, 1_000), _as_worker(seen, dataset, min(1, workers - 1), 1_000)
    later = _as_worker(seen, dataset, 0, 2_000)
    if first is None or second is None or later is None:
        return None
    if all(same(once, again) for once, again in zip(first[0], first[1], strict=True)):
        return None  # nothing is drawn
    alike = workers > 1 and all(same(one, other) for one, other in zip(first[0], second[0], strict=True))
    persistent = bool(getattr(seen.loader, "persistent_workers", False))
    repeated = not persistent and all(same(one, other) for one, other in zip(first[0], later[0], strict=True))
    if not alike and not repeated:
        return None
    init = getattr(seen.loader, "worker_init_fn", None)
    what = (
        [
            f"workers 0 and 1 of {workers} return exactly the same for {len(first[0])} samples, though each draws "
            "anew at every reading"
        ]
        if alike
        else []
    )
    what += ["each epoch begins with the draws of the epoch before"] if repeated else []
    where = f"; worker_init_fn is `{getattr(init, '__name__', init)}`" if init is not None else ""
    return finding(
        "D11",
        title=None if alike else "Each epoch draws the same random numbers",
        evidence=(
            f"read as {'two workers do' if alike else 'a worker does in two epochs'}, on copies: "
            f"{', and '.join(what)}{where}"
        ),
        cure=(
            "def seed_worker(worker_id): dataset = torch.utils.data.get_worker_info().dataset; "
            "dataset.rng = np.random.default_rng(torch.initial_seed())\nOr draw from torch's generator, which is "
            "seeded for each worker."
        ),
        place=seen.place,
        where=None if seen.place else "the workers",
    )


def _as_worker(
    seen: LoaderSeen, dataset: Any, worker: int, base: int
) -> tuple[list[list[Tensor]], list[list[Tensor]]] | None:
    """The first samples as a worker reads them that has just begun, and read once more."""
    own = private_copy(dataset)
    if own is None:
        return None
    seed_all(base + worker)
    before = worker_of_torch._worker_info
    init = getattr(seen.loader, "worker_init_fn", None)
    try:
        worker_of_torch._worker_info = worker_of_torch.WorkerInfo(
            id=worker, num_workers=seen.loader.num_workers, seed=base + worker, dataset=own
        )  # type: ignore[assignment]
        if init is not None:
            with contextlib.suppress(Exception):
                init(worker)
        once = [read(own, at) for at in range(min(READ, len(own)))]
        again = [read(own, at) for at in range(min(READ, len(own)))]
    except Exception:
        return None
    finally:
        worker_of_torch._worker_info = before
    if not once or any(one is None for one in (*once, *again)):
        return None
    return [one for one in once if one is not None], [one for one in again if one is not None]


RULES = (equal_workers,)
