"""All addresses, and their description: OpenAPI with examples of the very models that are served."""

from __future__ import annotations

import copy
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from netwright.results import Prediction
from netwright.serving.asked import Asked, Reply
from netwright.serving.inputs import wants_bytes
from netwright.serving.metrics import CONTENT_TYPE
from netwright.serving.openinference import TYPES

if TYPE_CHECKING:
    from fastapi import FastAPI

    from netwright.serving.handlers import Handlers
    from netwright.serving.models import Loaded, Models, Served

MOST_EXAMPLES = 4
MOST_LETTERS = 20_000  # of an example; a picture in base64 may be longer than anybody wants to read
COMPONENT = "#/components/schemas/"
Responses = dict[int | str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One address: its method, what answers, and what is told of it."""

    method: str
    path: str
    handler: Callable[[Asked], Awaitable[Reply]]
    operation: str
    summary: str
    tag: str
    responses: Responses
    extra: dict[str, Any] = field(default_factory=dict)
    shown: bool = True


def _ok(told: dict[str, Any], *errors: int) -> Responses:
    """An answer, and refusals."""
    return {200: told, **_errors(*errors)}


def _json(schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": dict(schema)}}}


def _errors(*statuses: int) -> Responses:
    """Refusals that an address may give beside those that all may."""
    schema = {"$ref": COMPONENT + "Error"}
    told = {
        400: "It cannot be read.",
        404: "There is no such model.",
        413: "It is larger than is allowed.",
        415: "It is of another type than the model takes.",
        422: "The input cannot be used.",
        429: "Too much is waiting; Retry-After says when to come again.",
        503: "There is no answer now.",
    }
    every = (400, 401, 408, 421, 431)
    told |= {401: "There is no key.", 408: "It came too slowly.", 421: "It is for another host.", 431: "Large headers."}
    return {status: _json(schema, told[status]) for status in (*every, *statuses) if status in told}


def _place(name: str) -> dict[str, Any]:
    pattern = "^[0-9]{1,9}$" if name == "version" else "^[A-Za-z0-9][A-Za-z0-9._@-]{0,80}$"
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": pattern}}


def _option(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": dict(schema)}


EXPLAIN = _option("explain", "1 for what was seen and where the model looked.", {"type": "string", "enum": ["0", "1"]})
MODEL = _option("model", "Which model, NAME or NAME@VERSION; the first one otherwise.", {"type": "string"})
TEXT = {"type": "string"}
OBJECT = {"type": "object"}
BINARY = {"type": "string", "format": "binary"}
SIZE = {"type": "integer", "minimum": 1}


def routes(handlers: Handlers, openapi: Callable[[Asked], Awaitable[Reply]]) -> list[Route]:
    """All addresses."""
    answer = {"$ref": COMPONENT + "Answer"}
    infer = (404, 413, 415, 422, 429, 503)
    one = _ok(_json(answer, "The answer."), *infer)
    several = _ok(_json({"$ref": COMPONENT + "Answers"}, "An answer or an error for each input."), *infer)
    v2, name, version = "/v2/models/{name}", _place("name"), _place("version")
    ready = _ok(_json(OBJECT, "It answers."), 404) | {503: _json(OBJECT, "Not now.")}
    found = [
        Route("POST", "/predict", handlers.predict, "predict", "Answer one input", "answers", one,
              {"parameters": [MODEL, EXPLAIN], "x-body": "one"}),
        Route("POST", "/predict/batch", handlers.predict_batch, "predict_batch", "Answer several inputs", "answers",
              several, {"parameters": [MODEL], "x-body": "several"}),
        Route("POST", "/models/{name}/predict", handlers.predict, "predict_with", "Answer one input with a named model",
              "answers", one, {"parameters": [name, EXPLAIN], "x-body": "one"}),
        Route("GET", "/models", handlers.list_models, "list_models", "Models that are served", "models",
              _ok(_json(OBJECT, "Names, versions, kinds, tasks."))),
        Route("GET", "/models/{name}", handlers.one_model, "show_model", "All that is known of a model", "models",
              _ok(_json(OBJECT, "Its fields, classes, limits and samples."), 404, 503),
              {"parameters": [name]}),
        Route("GET", "/v2", handlers.v2_server, "v2_server", "The server", "v2", _ok(_json(OBJECT, "Its name."))),
        Route("GET", "/v2/health/live", handlers.v2_live, "v2_live", "Whether the process answers", "v2",
              _ok(_json(OBJECT, "It does."))),
        Route("GET", "/v2/health/ready", handlers.v2_ready, "v2_ready", "Whether all models answer", "v2", ready),
        Route("GET", "/metrics", handlers.prometheus, "metrics", "Counters for Prometheus", "server",
              _ok({"description": "Text.", "content": {CONTENT_TYPE: {"schema": TEXT}}})),
        Route("GET", "/openapi.json", openapi, "openapi", "This description", "server",
              _ok(_json(OBJECT, "OpenAPI."))),
        Route("GET", "/", handlers.page, "page", "The page", "server",
              _ok({"description": "HTML.", "content": {"text/html": {"schema": TEXT}}}), shown=False),
        Route("GET", "/page/{file:path}", handlers.page, "page_file", "A file of the page", "server", _errors(404),
              shown=False),
    ]  # fmt: skip
    for base, places in ((v2, [name]), (v2 + "/versions/{version}", [name, version])):
        own = "_version" if len(places) > 1 else ""
        extra: dict[str, Any] = {"parameters": places}
        tensors = _ok(_json({"$ref": COMPONENT + "Tensors"}, "Tensors."), *infer)
        found += [
            Route("GET", base, handlers.v2_model, f"v2_model{own}", "Tensors of a model", "v2",
                  _ok(_json(OBJECT, "Names, types and shapes."), 404, 503), extra),
            Route("GET", base + "/ready", handlers.v2_model_ready, f"v2_model_ready{own}", "Whether a model answers",
                  "v2", ready, extra),
            Route("POST", base + "/infer", handlers.v2_infer, f"v2_infer{own}", "Tensors in, tensors out", "v2",
                  tensors, extra | {"x-body": "tensors"}),
        ]  # fmt: skip
    return found


def describe(api: FastAPI, models: Models) -> dict[str, Any]:
    """The description, with bodies and examples of the first model, and of each by its name."""
    from fastapi.openapi.utils import get_openapi

    document: dict[str, Any] = dict(
        get_openapi(title="netwright", version="1", routes=api.routes, summary="Answers of trained models.")
    )
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= _schemas()
    paths: dict[str, Any] = {}
    for path, operations in document["paths"].items():
        for served in models.all:
            own = path.replace("{name}", served.asked.name).replace("{version}", str(served.asked.version))
            newest = models.find(served.asked.name) is served
            if served.loaded is not None and own not in paths and (newest or "{version}" in path):
                paths[own] = {method: _of_model(one, served, models, own) for method, one in operations.items()}
    return document | {"paths": paths}


def _of_model(operation: Mapping[str, Any], served: Served, models: Models, path: str) -> dict[str, Any]:
    """The description of an address, as it is for one model: its name stands in the path, its body is its own."""
    told = copy.deepcopy(dict(operation))
    body = told.pop("x-body", None)
    if body is not None and served.loaded is not None:
        told["requestBody"] = {"required": True, "content": _content(served.loaded, body, models)}
    kept = [one for one in told.pop("parameters", []) if one["in"] != "path"]
    for one in kept:
        if one["name"] == "model":  # of the others the bodies are of other kinds, which stand at their own addresses
            one["schema"] = {"type": "string", "enum": [models.all[0].asked.name]}
    if kept:
        told["parameters"] = kept
    told["operationId"] = re.sub(r"\W+", "_", f"{told['operationId']}{path}")
    return told


def _schemas() -> dict[str, Any]:
    made = Prediction.model_json_schema(ref_template=COMPONENT + "{model}", mode="serialization")
    parts: dict[str, Any] = made.pop("$defs", {})
    own = parts.pop("Prediction", made)
    own.pop("additionalProperties", None)
    properties = own["properties"] | {
        "seen": {"description": "What the model saw: png, or tokens.", "type": ["object", "null"]},
        "where": {"description": "Where it looked: grid, stretches, tokens or columns.", "type": ["object", "null"]},
    }
    error = {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message", "request_id"],
                "properties": {"code": TEXT, "message": TEXT, "request_id": TEXT},
            }
        },
    }
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": TEXT,
            "datatype": {"type": "string", "enum": sorted(TYPES.values())},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array"},
        },
    }
    return parts | {
        "Prediction": own,
        "Answer": own | {"title": "Answer", "properties": properties},
        "Answers": {
            "type": "object",
            "required": ["answers"],
            "properties": {"answers": {"type": "array", "items": {"$ref": COMPONENT + "Prediction"}}},
        },
        "Tensors": {
            "type": "object",
            "required": ["model_name", "model_version", "outputs"],
            "properties": {
                "model_name": TEXT,
                "model_version": TEXT,
                "id": TEXT,
                "outputs": {"type": "array", "items": tensor},
            },
        },
        "Error": error,
    }


def _content(loaded: Loaded, body: str, models: Models) -> dict[str, Any]:
    if body == "tensors":
        return {"application/json": {"schema": _tensors_schema(loaded)}}
    spec = loaded.spec
    samples = [one for one in spec.get("samples") or [] if len(str(one)) <= MOST_LETTERS][:MOST_EXAMPLES]
    own = _input_schema(spec)
    key, schema = ("input", own) if body == "one" else (
        "inputs", {"type": "array", "minItems": 1, "maxItems": models.limits.inputs, "items": own}
    )  # fmt: skip
    whole = {"type": "object", "required": [key], "properties": {key: schema}, "additionalProperties": False}
    shown = [{"input": one} for one in samples] if body == "one" else [{"inputs": samples}] if samples else []
    json_body: dict[str, Any] = {"schema": whole}
    if shown:
        json_body["examples"] = {f"sample {place + 1}": {"value": one} for place, one in enumerate(shown)}
    content: dict[str, Any] = {"application/json": json_body}
    if wants_bytes(spec) or spec["kind"] == "text":
        file = BINARY
        files = file if body == "one" else {"type": "array", "minItems": 1, "items": file}
        form = {"type": "object", "required": ["file"], "properties": {"file": files}}
        content["multipart/form-data"] = {"schema": form}
    if body == "one" and wants_bytes(spec):
        content["image/*" if spec["kind"] == "image" else "audio/*"] = {
            "schema": {"type": "string", "format": "binary"}
        }
    if body == "one" and spec["kind"] == "text":
        content["text/plain"] = {"schema": TEXT}
    return content


def _input_schema(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What one input looks like in JSON."""
    kind = spec["kind"]
    if wants_bytes(spec):
        return {"type": "string", "contentEncoding": "base64", "description": f"A file: {kind}, or a data URI of one."}
    operations = {one.get("op"): one for one in spec["preprocess"].get("operations") or []}
    if kind == "text":
        words = "words" in operations
        return {"type": ["string", "array"], "items": TEXT} if words or "pair" in operations else TEXT
    if kind == "table" and "encode_rows" in operations:
        columns = operations["encode_rows"]["columns"]
        cell = {"type": ["string", "number", "boolean", "null"]}
        return {"type": "object", "minProperties": 1, "properties": {one["column"]: cell for one in columns}}
    return {"description": "Columns, or fields, by name; or numbers where there is one."}


def _tensors_schema(loaded: Loaded) -> dict[str, Any]:
    tensors = []
    for one in loaded.spec["model"]["inputs"]:
        shape = [{"const": size} if isinstance(size, int) else SIZE for size in one["shape"]]
        properties = {
            "name": {"const": one["name"]},
            "datatype": {"const": TYPES[one["dtype"].removeprefix("torch.")]},
            "shape": {"type": "array", "prefixItems": shape, "minItems": len(shape), "maxItems": len(shape)},
            "data": {"type": "array"},
        }
        tensors.append({"type": "object", "required": list(properties), "properties": properties})
    inputs = {"type": "array", "minItems": len(tensors), "maxItems": len(tensors), "items": {"anyOf": tensors}}
    properties = {"id": {"type": "string", "maxLength": 200}, "inputs": inputs}
    return {"type": "object", "required": ["inputs"], "properties": properties}
