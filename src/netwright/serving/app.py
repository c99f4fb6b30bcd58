"""The application: who may ask is looked at first, then the handler is asked, and each reply is counted and logged.

Addresses without a name in them are looked up in a dict; FastAPI routes the others, and describes all of them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from netwright.serving.access import Access
from netwright.serving.asked import JSON, Asked, Reply, reply_json, reply_refusal
from netwright.serving.exchange import SAFE_LINES
from netwright.serving.handlers import Handlers
from netwright.serving.http1 import Head
from netwright.serving.logs import Log
from netwright.serving.metrics import Metrics
from netwright.serving.openapi import describe, routes
from netwright.serving.refusals import Refused

Handler = Callable[[Asked], Awaitable[Reply]]
# Pages and probes are answered without a key: they tell nothing of a model.
OPEN = frozenset({"/", "/v2/health/live", "/v2/health/ready"})


class App:
    """The ASGI application of one server, for connections of ``protocol``.

    Args:
        handlers: What answers.
        access: Who may ask.
        counted: What Prometheus reads.
        log: Where requests are told.
    """

    def __init__(self, handlers: Handlers, access: Access, counted: Metrics, log: Log) -> None:
        self._access = access
        self._counted = counted
        self._log = log
        self._described: tuple[Any, dict[str, Any]] | None = None
        self._handlers = handlers
        table = routes(handlers, self._openapi)
        self._plain: dict[str, dict[str, Handler]] = {}
        for route in table:
            if "{" not in route.path:
                self._plain.setdefault(route.path, {})[route.method] = route.handler
        self.api = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
        self.api.add_exception_handler(HTTPException, _missed)
        for route in table:
            self.api.add_api_route(
                route.path, _endpoint(route.handler), methods=[route.method], include_in_schema=route.shown,
                summary=route.summary, openapi_extra=route.extra, responses=route.responses, response_model=None,
                operation_id=route.operation, tags=[route.tag],
            )  # fmt: skip

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request. Any: ASGI's own types."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        head: Head = scope["netwright.head"]
        body: bytes = scope["netwright.body"]
        request_id = self._access.identify(head.fields.get(b"x-request-id"))
        asked = Asked(head.method, head.path, head.query, head.fields, body, request_id, {}, {})
        route = "none"
        try:
            self._access.check(head, is_open=head.path in OPEN or head.path.startswith("/page/"))
            methods = self._plain.get(head.path)
            if methods is not None:
                route = head.path
                reply = await _handler(methods, head.method)(asked)
            else:
                scope["netwright.asked"] = asked
                reply = await self._routed(scope, receive)
                route = asked.notes.get("route", "none")
        except Exception as error:
            reply = reply_refusal(self._refusal(error, request_id), request_id)
        seconds = time.perf_counter() - started
        self._counted.request(route, reply.status, seconds)
        self._log.request(request_id, head.method, route, reply.status, seconds, len(body))
        lines = b"content-type: application/json\r\n"
        if len(reply.headers) != 1 or reply.headers[0] is not JSON:
            lines = b"".join(b"%b: %b\r\n" % pair for pair in reply.headers)
        ending = b"content-length: %d\r\nx-request-id: %b\r\n" % (len(reply.body), request_id.encode())
        scope["netwright.reply"](reply.status, lines + ending + SAFE_LINES, reply.body)

    def _refusal(self, error: Exception, request_id: str) -> Refused:
        refusal = error if isinstance(error, Refused) else Refused(500, "internal", "Something went wrong here.")
        if refusal.status >= 500 and refusal.code == "internal":
            self._log.fault(request_id, refusal.__cause__ or error)
        return refusal

    async def _routed(self, scope: dict[str, Any], receive: Any) -> Reply:
        """Have FastAPI find the handler; its reply is kept, so that all are sent in one place."""
        found = Reply(500, [], b"")

        async def keep(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                found.status = message["status"]
                found.headers = [one for one in message["headers"] if one[0] not in (b"content-length",)]
            else:
                found.body += message.get("body", b"")

        await self.api(scope, receive, keep)  # type: ignore[arg-type]
        return found

    async def _openapi(self, asked: Asked) -> Reply:
        """The description of all addresses, with examples of the models that are served now."""
        del asked
        now = [one.loaded for one in self._handlers.models.all]
        if self._described is None or self._described[0] != [id(one) for one in now]:
            self._described = [id(one) for one in now], describe(self.api, self._handlers.models)
        return reply_json(self._described[1])


def _handler(methods: dict[str, Handler], method: str) -> Handler:
    if method in methods:
        return methods[method]
    if method == "HEAD" and "GET" in methods:
        return methods["GET"]
    raise _not_allowed(", ".join(sorted(methods)))


def _not_allowed(allow: str) -> Refused:
    return Refused(405, "method_not_allowed", f"This address takes {allow}.", allow=allow)


def _endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """What FastAPI calls."""

    async def endpoint(request: Request) -> Response:
        asked: Asked = request.scope["netwright.asked"]
        asked.params = {name: str(value) for name, value in request.path_params.items()}
        asked.notes["route"] = request.scope["route"].path
        try:
            reply = await handler(asked)
        except Refused as refusal:
            if refusal.code == "internal":
                raise
            reply = reply_refusal(refusal, asked.id)
        response = Response(reply.body, reply.status)
        response.raw_headers = list(reply.headers)
        return response

    return endpoint


async def _missed(request: Request, error: Exception) -> Response:
    """No handler, or another method."""
    asked: Asked = request.scope["netwright.asked"]
    refusal = Refused(404, "not_found", "There is nothing here.")
    if isinstance(error, HTTPException) and error.status_code == 405:
        refusal = _not_allowed((error.headers or {}).get("Allow", "other methods"))
    reply = reply_refusal(refusal, asked.id)
    response = Response(reply.body, reply.status)
    response.raw_headers = list(reply.headers)
    return response
