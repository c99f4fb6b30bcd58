"""What each address answers. Each takes an ``Asked`` and gives a ``Reply``, or raises ``Refused``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netwright.serving import metrics, openinference
from netwright.serving.asked import Asked, Reply, reply_json
from netwright.serving.batching import Answer, as_refusal
from netwright.serving.explaining import explained
from netwright.serving.inputs import Raw, raw_inputs
from netwright.serving.jsons import read_json
from netwright.serving.models import Loaded, Models, Served
from netwright.serving.refusals import Refused, too_many

PARSED_HERE = 64 * 1024  # bytes; longer bodies are read in the pool, so that others are not kept waiting
TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".mjs": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".json": b"application/json",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
    ".ico": b"image/x-icon",
    ".woff2": b"font/woff2",
}
# Scripts, styles and pictures of this server alone; pictures and sounds that the page itself made.
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src blob:; "
    b"connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = (
    (b"content-security-policy", POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(self), microphone=(self)"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Handlers:
    """All addresses over some models.

    Args:
        models: What is served.
        counted: What Prometheus reads.
        page: Folder of the page.
    """

    def __init__(self, models: Models, counted: metrics.Metrics, page: Path) -> None:
        self.models = models
        self.draining = False
        self._counted = counted
        self._files = _page_files(page)
        self._explaining = 0

    # Answers.

    async def predict(self, asked: Asked) -> Reply:
        """One input, one answer; with ``explain`` also what was seen and where."""
        served = self._model(asked)
        if asked.flag("explain"):
            return await self._explain(served, asked)
        raw, name = await self._one(served, asked)
        return reply_json(await served.answer(raw, name))

    async def predict_batch(self, asked: Asked) -> Reply:
        """Several inputs, an answer or an error each, in their order."""
        served = self._model(asked)
        loaded = served.now()
        raws, names = await self._read(loaded, asked, several=True)
        loaded.batcher.refuse_where_full(len(raws))
        found = await asyncio.gather(
            *(served.answer(raw, name, counted=True) for raw, name in zip(raws, names, strict=True)),
            return_exceptions=True,
        )
        return reply_json({"answers": [_told(one, name) for one, name in zip(found, names, strict=True)]})

    async def _explain(self, served: Served, asked: Asked) -> Reply:
        if self._explaining >= self.models.limits.explained:
            raise too_many("Too many explanations are being made.")
        self._explaining += 1
        try:
            loaded = served.now()
            raw, name = await self._one(served, asked)
            sample = await served.decoded(loaded, raw)
            answer = await loaded.batcher.submit(None, name, sample=sample)
            return reply_json(answer | await explained(loaded, raw, sample, answer))
        finally:
            self._explaining -= 1

    async def _one(self, served: Served, asked: Asked) -> tuple[Raw, str]:
        raws, names = await self._read(served.now(), asked, several=False)
        return raws[0], names[0]

    async def _read(self, loaded: Loaded, asked: Asked, *, several: bool) -> tuple[list[Raw], list[str]]:
        arguments = loaded.spec, asked.content_type, asked.body, self.models.limits
        if len(asked.body) <= PARSED_HERE or not asked.content_type.startswith("application/json"):
            return raw_inputs(*arguments, several=several)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.models.pool, lambda: raw_inputs(*arguments, several=several))

    def _model(self, asked: Asked) -> Served:
        name = asked.params.get("name")
        return self.models.find(asked.option("model") if name is None else name)

    # What is served.

    async def list_models(self, asked: Asked) -> Reply:
        """Names, versions, kinds and tasks."""
        del asked
        return reply_json({"models": [_listed(one) for one in self.models.all]})

    async def one_model(self, asked: Asked) -> Reply:
        """All that the page needs to know: the spec, the classes, the limits."""
        served = self.models.find(asked.params["name"])
        loaded, limits = served.now(), self.models.limits
        bounds = {"max_bytes": limits.body, "max_pixels": limits.pixels, "max_text": limits.text}
        told = loaded.spec | _listed(served) | loaded.classes
        return reply_json(told | {"limits": (loaded.spec.get("limits") or {}) | bounds})

    # The Open Inference Protocol.

    async def v2_server(self, asked: Asked) -> Reply:
        """Name and extensions of the server."""
        del asked
        return reply_json({"name": "netwright", "version": "2", "extensions": []})

    async def v2_live(self, asked: Asked) -> Reply:
        """Whether the process answers."""
        del asked
        return reply_json({"live": True})

    async def v2_ready(self, asked: Asked) -> Reply:
        """Whether all models answer and no end is near."""
        del asked
        ready = self.models.ready and not self.draining
        return reply_json({"ready": ready}, 200 if ready else 503)

    async def v2_model(self, asked: Asked) -> Reply:
        """Tensors of a model."""
        served = self._versioned(asked)
        name = served.asked.name
        versions = [str(one.asked.version) for one in self.models.all if one.asked.name == name]
        return reply_json(openinference.metadata(name, served.asked.version, served.now().spec, versions))

    async def v2_model_ready(self, asked: Asked) -> Reply:
        """Whether a model answers."""
        served = self._versioned(asked)
        ready = served.loaded is not None and not self.draining
        return reply_json({"name": served.asked.name, "ready": ready}, 200 if ready else 503)

    async def v2_infer(self, asked: Asked) -> Reply:
        """Tensors in, tensors out."""
        served = self._versioned(asked)
        loaded, limits = served.now(), self.models.limits
        if asked.content_type.partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "unsupported_type", "Send application/json.")
        loaded.batcher.refuse_where_full()

        def read() -> tuple[dict[str, Any], list[str], str | None]:
            return openinference.tensors(read_json(asked.body, limits), loaded.spec, limits.inputs)

        if len(asked.body) <= PARSED_HERE:
            fields, names, own_id = read()
        else:
            fields, names, own_id = await asyncio.get_running_loop().run_in_executor(self.models.pool, read)
        try:
            outputs = await loaded.batcher.call(lambda: loaded.model.run(fields))
        except Refused:
            raise
        except Exception as error:
            raise as_refusal(error) from error
        label = served.asked.name, served.asked.version
        return reply_json(openinference.response(label, own_id or asked.id, outputs, names))

    def _versioned(self, asked: Asked) -> Served:
        return self.models.find(asked.params["name"], asked.params.get("version"))

    # The rest.

    async def prometheus(self, asked: Asked) -> Reply:
        """Counters."""
        del asked
        return Reply(200, [(b"content-type", metrics.CONTENT_TYPE.encode())], self._counted.text())

    async def page(self, asked: Asked) -> Reply:
        """A file of the page; the page itself at the root."""
        name = asked.params.get("file", "index.html")
        found = self._files.get(name)
        if found is None:
            raise Refused(404, "not_found", "There is nothing here.")
        return Reply(200, [(b"content-type", found[0]), *PAGE_HEADERS], found[1])


def _page_files(folder: Path) -> Mapping[str, tuple[bytes, bytes]]:
    """Files of the page by name, read once: no request ever opens a file."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix in TYPES]
    return {file.relative_to(folder).as_posix(): (TYPES[file.suffix], file.read_bytes()) for file in files}


def _listed(served: Served) -> dict[str, Any]:
    about: dict[str, Any] = {"name": served.asked.name, "version": str(served.asked.version)}
    if served.loaded is None:
        return about | {"ready": False}
    spec = served.loaded.spec
    return about | {"ready": True, "title": spec.get("title"), "kind": spec["kind"], "task": spec["task"]}


def _told(result: Answer | BaseException, name: str) -> Answer:
    if isinstance(result, Refused):
        return {"name": name, "error": result.message}
    if isinstance(result, BaseException):
        raise result
    return result
