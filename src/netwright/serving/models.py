"""The models that are served: opened, verified, warmed, and replaced while requests go on.

A bundle that changes on the disk is opened beside the one that answers, checked by its digests and asked the examples
of its own certificate; only then it takes over. Requests that were accepted before are answered by the one they met.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netwright.answering.bundle import is_bundle, open_bundle
from netwright.answering.model import Model
from netwright.answering.predictor import BundleEngine, Predictor
from netwright.answering.spec import read_spec
from netwright.errors import NetwrightError, UsageError
from netwright.serving.batching import Answer, Batcher, Sample, Worker, as_refusal
from netwright.serving.inputs import LARGE, ONE_LARGE, check_picture, of_json
from netwright.serving.limits import Limits
from netwright.serving.metrics import Metrics
from netwright.serving.refusals import Refused

WATCH_S = 1.0
SMALL = 16 * 1024  # bytes of a file that is decoded with its batch: sending it to another thread would cost more
SMALL_PIXELS = 65_536
TOLERANCE = 1e-4  # of probabilities, as in certificates
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?:@([0-9]{1,9}))?")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for: a name, a version, and where the bundle lies."""

    name: str
    version: int
    path: Path


@dataclass(slots=True)
class Loaded:
    """An opened bundle with its queue."""

    predictor: Predictor
    model: Model
    spec: dict[str, Any]
    classes: dict[str, Any]
    batcher: Batcher
    made: str


def wanted(arguments: Sequence[str]) -> list[Wanted]:
    """Read ``NAME@VERSION=PATH``, ``NAME=PATH`` and ``PATH``.

    Raises:
        UsageError: A name cannot be one, or stands twice.
    """
    found: list[Wanted] = []
    for argument in arguments:
        before, equals, after = argument.partition("=")
        named = _NAME.fullmatch(before) if equals and not Path(argument).exists() else None
        if equals and named is None and not Path(argument).exists():
            raise _name_error(argument)
        path = Path(after if named else argument)
        name = named[1] if named else _own_name(path)
        one = Wanted(name, int(named[2] or 1) if named else 1, path)
        if any((one.name, one.version) == (other.name, other.version) for other in found):
            raise UsageError(
                where="netwright serve",
                expected="each name with a version once",
                got=f"{one.name}@{one.version} twice",
                cure=f"Name them, as first={found[0].path} second={path}, or {one.name}@2={path}.",
            )
        found.append(one)
    return found


def _own_name(path: Path) -> str:
    whole = path.resolve()
    named = whole if whole.name.removesuffix(".zip") != "bundle" else whole.parent  # as export calls it, in its run
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", named.name.removesuffix(".zip")).strip("-._")
    return plain[:64] or "model"


def _name_error(argument: str) -> UsageError:
    return UsageError(
        where=argument,
        expected="NAME=BUNDLE or NAME@VERSION=BUNDLE, of letters, digits, dots and dashes, the version a number",
        got="another name",
        cure="As netwright serve digits=bundle or digits@2=bundle.",
    )


class Served:
    """One model in one version, and the bundle that answers for it now.

    Args:
        asked: What it is called and where it lies.
        home: What all models share.
    """

    def __init__(self, asked: Wanted, home: Models) -> None:
        self.asked = asked
        self.home = home
        self.loaded: Loaded | None = None
        self._seen: tuple[object, ...] = ()
        self._lock = asyncio.Lock()

    @property
    def label(self) -> str:
        """Its name with its version."""
        return f"{self.asked.name}@{self.asked.version}"

    def now(self) -> Loaded:
        """The bundle that answers now.

        Raises:
            Refused: There is none yet.
        """
        if self.loaded is None:
            raise Refused(503, "not_ready", "The model is being loaded.", retry_s=2)
        return self.loaded

    async def load(self) -> None:
        """Open the bundle, and let it answer from now on.

        Raises:
            NetwrightError: It cannot be opened, or does not answer as its certificate says.
        """
        async with self._lock:
            self._seen = signature(self.asked.path)
            loop = asyncio.get_running_loop()
            predictor, model = await loop.run_in_executor(
                self.home.loading, opened, self.asked.path, self.home.threads, self.home.limits
            )
            spec = dict(predictor.spec)
            # Names of the data's fields whose length varies.
            varying = [one["name"] for one in spec["fields"] if one["shape"][:1] == [-1]]
            batcher = Batcher(
                predictor,
                self.home.worker,
                self.home.limits,
                varying=varying,
                together=bool(spec.get("together", False)),
                observe=self.home.metrics.batches(self.label),
            )
            first = self.loaded is None
            self.loaded = Loaded(predictor, model, spec, {}, batcher, "")
            if predictor.bundle is not None:
                self.loaded.classes = dict(predictor.bundle.classes)
                self.loaded.made = str(predictor.bundle.certificate.get("made", ""))
            self.home.metrics.queue(self.label, lambda: len(self.now().batcher))
            self.home.metrics.load(self.label, "loaded" if first else "replaced")

    async def follow(self) -> None:
        """Load the bundle anew if it changed; one that cannot be used is told and left."""
        now = await asyncio.get_running_loop().run_in_executor(self.home.loading, signature, self.asked.path)
        if now != self._seen:
            await self.reload()

    async def reload(self) -> None:
        """Load the bundle anew; one that cannot be used is told and left."""
        try:
            await self.load()
        except (NetwrightError, OSError) as error:
            self.home.metrics.load(self.label, "refused")
            self.home.say("warning", "bundle refused, the old one goes on", model=self.label, reason=str(error))
        else:
            self.home.say("info", "bundle replaced", model=self.label, made=self.now().made)

    async def answer(self, raw: Any, name: str, *, counted: bool = False) -> Answer:
        """The answer to one raw input.

        Args:
            raw: As its kind takes it.
            name: What the answer calls it.
            counted: Whether there was found to be room in the queue already.

        Raises:
            Refused: It cannot be read or answered.
        """
        loaded = self.now()
        if not counted:
            loaded.batcher.refuse_where_full()
        if not _costly(loaded.spec, raw, self.home.limits):
            return await loaded.batcher.submit(raw, name)
        return await loaded.batcher.submit(None, name, sample=await self.decoded(loaded, raw))

    async def decoded(self, loaded: Loaded, raw: Any) -> Sample:
        """One raw input by field, decoded in the pool.

        Raises:
            Refused: It cannot be read.
        """
        batcher, limits = loaded.batcher, self.home.limits
        batcher.coming += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.home.pool, decode, loaded.predictor, loaded.spec, raw, limits)
        except Refused:
            raise
        except Exception as error:
            raise as_refusal(error) from error
        finally:
            batcher.came()


def _costly(spec: dict[str, Any], raw: Any, limits: Limits) -> bool:
    """Whether an input is decoded in the pool; a picture's header is checked on the way."""
    if isinstance(raw, bytes):
        if spec["kind"] == "image":
            return check_picture(raw, limits) > SMALL_PIXELS or len(raw) > SMALL
        return len(raw) > 4 * SMALL
    if isinstance(raw, dict):
        return any(isinstance(one, bytes) for one in raw.values())
    return isinstance(raw, str) and len(raw) > SMALL


def decode(predictor: Predictor, spec: dict[str, Any], raw: Any, limits: Limits) -> Sample:
    """One raw input by field; large pictures one at a time.

    Raises:
        Refused: A picture is too large, or of a format that is not taken.
        NetwrightError: It cannot be read.
    """
    pixels = 0
    if isinstance(raw, bytes) and spec["kind"] != "sound":
        pixels = check_picture(raw, limits)
    elif isinstance(raw, dict):
        pixels = sum(check_picture(one, limits) for one in raw.values() if isinstance(one, bytes))
    if pixels > LARGE:
        with ONE_LARGE:
            return dict(predictor.decode(raw))
    return dict(predictor.decode(raw))


class Models:
    """All that is served.

    Args:
        asked: Names, versions and places.
        limits: The bounds.
        metrics: Told of loads and batches.
        say: Writes a line of the log.
        threads: Of one operation of a model.
    """

    def __init__(
        self, asked: Iterable[Wanted], limits: Limits, metrics: Metrics, say: Callable[..., None], *, threads: int
    ) -> None:
        self.threads = threads
        self.limits = limits
        self.metrics = metrics
        self.say = say
        self.worker = Worker()
        self.pool = ThreadPoolExecutor(2, "netwright-decode")
        self.loading = ThreadPoolExecutor(1, "netwright-load")
        self.all = [Served(one, self) for one in asked]

    def find(self, name: str | None, version: str | None = None) -> Served:
        """A model by its name, the newest version where none is named; without a name the first.

        Raises:
            Refused: There is none.
        """
        if name is None:
            return self.all[0]
        if version is None and "@" in name:
            name, _, version = name.partition("@")
        found = [one for one in self.all if one.asked.name == name]
        if version is not None:
            found = [one for one in found if str(one.asked.version) == version]
        if not found:
            raise Refused(404, "unknown_model", "There is no such model; GET /models names them.")
        return max(found, key=lambda one: one.asked.version)

    def names(self) -> list[str]:
        """Names, each once."""
        return list(dict.fromkeys(one.asked.name for one in self.all))

    @property
    def ready(self) -> bool:
        """Whether each model answers."""
        return self.worker.healthy and all(one.loaded is not None for one in self.all)

    async def watch(self) -> None:
        """Look for bundles that changed, for as long as the server lives."""
        while True:
            await asyncio.sleep(WATCH_S)
            for one in self.all:
                await one.follow()

    async def reload(self) -> None:
        """Load each bundle anew."""
        for one in self.all:
            await one.reload()

    def sweep(self, now: float) -> None:
        """Give up what took too long."""
        for one in self.all:
            if one.loaded is not None:
                one.loaded.batcher.sweep(now)

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.loading.shutdown(wait=False, cancel_futures=True)


def signature(path: Path) -> tuple[object, ...]:
    """What changes where a bundle is written anew: names, sizes, times and places of its files."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found: list[object] = []
    for file in files:
        try:
            about = file.stat()
        except OSError:  # just being replaced
            continue
        found.append((file.name, about.st_size, about.st_mtime_ns, about.st_ino))
    return tuple(found)


def opened(path: Path, threads: int, limits: Limits) -> tuple[Predictor, Model]:
    """Open a bundle, and ask it what its certificate says it answers.

    Raises:
        NetwrightError: It cannot be opened, or answers otherwise.
    """
    if path.is_dir() and not is_bundle(path):
        raise UsageError(
            where=str(path),
            expected="a bundle: a folder with certificate.json, or a .zip",
            got="another folder",
            cure="Make one of a run: netwright export RUN.",
        )
    bundle = open_bundle(path)
    model = Model(bundle, threads=threads)
    spec = read_spec(bundle.spec, bundle.classes, where=str(path))
    predictor = Predictor(BundleEngine(bundle, spec, model), bundle=bundle)
    examples = bundle.certificate.get("examples") or []
    for place, example in enumerate(examples):
        _compare(predictor, example, place, limits)
    if not examples:
        for value in (bundle.spec.get("samples") or [])[:1]:
            predictor.answer([predictor.decode(of_json(bundle.spec, value, limits))], ["sample"])
    return predictor, model


def _compare(predictor: Predictor, example: dict[str, Any], place: int, limits: Limits) -> None:
    try:
        raw = of_json(predictor.spec, example["input"], limits)
        (answer,) = predictor.answer([predictor.decode(raw)], ["example"])
    except Refused as refusal:
        raise _not_certified(place, refusal.message) from refusal
    certified = example["answer"]
    if answer.get("label") != certified.get("label") or answer.get("text") != certified.get("text"):
        raise _not_certified(place, "another answer")
    before, now = certified.get("probabilities") or {}, answer.get("probabilities") or {}
    if before.keys() != now.keys() or any(abs(now[name] - before[name]) > TOLERANCE for name in before):
        raise _not_certified(place, "other probabilities")


def _not_certified(place: int, got: str) -> NetwrightError:
    return NetwrightError(
        where=f"example {place} of certificate.json",
        expected="the answer that is certified",
        got=got,
        cure="Export the bundle anew: netwright export RUN.",
    )
