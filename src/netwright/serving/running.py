"""The server's life: models are opened, the port is opened, requests are answered, and at the end nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from netwright.serving.access import LOOPBACK, Access, is_loopback
from netwright.serving.app import App
from netwright.serving.handlers import Handlers
from netwright.serving.limits import Limits
from netwright.serving.logs import FLUSH_S, Log
from netwright.serving.metrics import Metrics
from netwright.serving.models import Models, Wanted
from netwright.serving.place import BACKLOG, Place, room_for, taken
from netwright.serving.protocol import SWEEP_S, Hub
from netwright.serving.refusals import Refused

PAGE = Path(__file__).parent / "page"
PARENT_S = 1.0  # how often a server looks whether its supervisor lives
LAST_REQUEST_S = 1.0  # after SIGTERM: a client that keeps its connection may have one more under way


class Server(uvicorn.Server):
    """uvicorn's server, whose end loses nothing that was accepted.

    Args:
        config: uvicorn's.
        hub: Of the connections.
        handlers: Told that the end is near.
        log: Where it is told.
    """

    def __init__(self, config: uvicorn.Config, hub: Hub, handlers: Handlers, log: Log) -> None:
        super().__init__(config)
        self._hub = hub
        self._handlers = handlers
        self._log = log

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ``serve``'s own: uvicorn would end the process by the signal, as if it had failed."""
        yield

    async def shutdown(self, sockets: Any = None) -> None:
        """Answer what was accepted, tell clients to go, and end within the deadline. Any: uvicorn's list of sockets."""
        del sockets
        limits = self._hub.limits
        end = time.monotonic() + limits.drain_s
        self._handlers.draining = self._hub.draining = True
        self._log.say("info", "draining", connections=len(self._hub.open))
        # What the kernel has accepted for us is taken before the door is closed: else it would be cut off.
        for _ in range(3):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        last = time.monotonic() + min(LAST_REQUEST_S, limits.drain_s / 2)
        while self._hub.open and time.monotonic() < last:
            await asyncio.sleep(0.02)
        while self._hub.open and time.monotonic() < end:
            for one in list(self._hub.open):
                one.shutdown()
            await asyncio.sleep(0.02)
        left = len(self._hub.open)
        for one in list(self._hub.open):
            one.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        self._log.say("info" if not left else "warning", "drained", left=left)


async def serve(asked: Sequence[Wanted], place: Place, limits: Limits, log: Log, *, threads: int, announce: Any) -> int:
    """Serve until SIGTERM or Ctrl-C; the exit code.

    Args:
        asked: Names, versions and places of bundles.
        place: Where to listen.
        limits: The bounds.
        log: Where all is told.
        threads: Of one operation of a model.
        announce: Called with the address once requests are answered; a function.

    Raises:
        NetwrightError: A bundle cannot be opened, or the address cannot be had.
    """
    room = room_for(limits.connections)
    if room < limits.connections:
        log.say("warning", "the system's limit of open files", connections=room, wanted=limits.connections)
        limits = dataclasses.replace(limits, connections=room)
    counted = Metrics()
    models = Models(asked, limits, counted, log.say, threads=threads)
    for one in models.all:
        await one.load()
    handlers = Handlers(models, counted, PAGE)
    hosts = (*LOOPBACK, place.host, *place.allowed) if is_loopback(place.host) else (place.host, *place.allowed)
    access = Access(hosts, place.keys, any_address=not is_loopback(place.host))
    app = App(handlers, access, counted, log)

    def refused(refusal: Refused, request_id: str) -> None:
        counted.request("none", refusal.status, 0.0)
        log.request(request_id, "-", "none", refusal.status, 0.0, 0)

    hub = Hub(limits, refused, access.identify)
    counted.connections(lambda: len(hub.open))
    config = uvicorn.Config(
        app, host=place.host, port=place.port, http=hub.make, ws="none", lifespan="off", log_config=None,  # type: ignore[arg-type]
        access_log=False, server_header=False, date_header=True, proxy_headers=False, backlog=BACKLOG,
    )  # fmt: skip
    server = Server(config, hub, handlers, log)
    keeping = [
        asyncio.create_task(_keep(hub, models, log)),
        asyncio.create_task(models.watch()),
        asyncio.create_task(_announce(server, place, announce)),
    ]
    if place.handed is not None:
        keeping.append(asyncio.create_task(_end_with_parent(server, place.handed[1])))
    _listen_to_signals(server, models)
    try:
        await server.serve(None if place.handed is None else [socket.socket(fileno=place.handed[0])])
    except SystemExit as error:  # uvicorn's word for an address that it cannot have
        raise taken(place) from error
    finally:
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        models.close()
        log.flush()
    return 0


async def _keep(hub: Hub, models: Models, log: Log) -> None:
    """Deadlines and the log, for as long as the server lives."""
    turns = max(1, round(FLUSH_S / SWEEP_S))
    turn = 0
    while True:
        await asyncio.sleep(SWEEP_S)
        now = time.monotonic()
        hub.sweep(now)
        models.sweep(now)
        turn += 1
        if turn % turns == 0:
            log.flush()


async def _end_with_parent(server: Server, parent: int) -> None:
    """A server that nobody watches any more, as its supervisor was killed, ends as by SIGTERM."""
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_S)
    server.should_exit = True


async def _announce(server: Server, place: Place, announce: Any) -> None:
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    host = f"[{place.host}]" if ":" in place.host else place.host
    announce(f"http://{host}:{port}")


def _listen_to_signals(server: Server, models: Models) -> None:
    loop = asyncio.get_running_loop()
    kept = set()

    def end() -> None:
        server.should_exit = True

    def again() -> None:
        task = loop.create_task(models.reload())
        kept.add(task)
        task.add_done_callback(kept.discard)

    for number, action in (("SIGTERM", end), ("SIGINT", end), ("SIGHUP", again)):
        if hasattr(signal, number) and sys.platform != "win32":
            loop.add_signal_handler(getattr(signal, number), action)
