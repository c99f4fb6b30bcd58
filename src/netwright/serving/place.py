"""Where and for whom a server listens, and how much it may open there."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass

from netwright.errors import NetwrightError, UsageError

BACKLOG = 1024
OWN_FILES = 40  # that the server itself may have open, beside its connections: bundles that are read, logs, its loop


@dataclass(frozen=True, slots=True)
class Place:
    """Where and for whom the server listens.

    Attributes:
        host: An address or name of this machine.
        port: 0 for any that is free.
        allowed: Further hosts that requests may name.
        keys: Of which a request must bring one; empty for none.
        handed: Descriptor of a socket that listens already, and the process that handed it over; None to make one.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    allowed: tuple[str, ...] = ()
    keys: tuple[bytes, ...] = ()
    handed: tuple[int, int] | None = None


def listening(place: Place) -> socket.socket:
    """A socket that listens, for children to take over.

    Raises:
        UsageError: The address cannot be had.
    """
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise taken(place) from error
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # `::` is not 0.0.0.0 too
        one.bind(address)
        one.listen(BACKLOG)
    except OSError as error:
        one.close()
        raise taken(place) from error
    one.set_inheritable(True)
    return one


def taken(place: Place) -> NetwrightError:
    """The error for an address that cannot be had."""
    return UsageError(
        where=f"--host {place.host} --port {place.port}",
        expected="an address of this machine and a free port",
        got="one that cannot be had",
        cure="Take another --port, or 0 for any that is free.",
    )


def room_for(connections: int) -> int:
    """How many of so many connections the system lets this process have; its limit of files is raised where it may be.

    Without this a server at its limit could accept nobody, so that who comes would hang and not be told.
    """
    if sys.platform == "win32":
        return connections
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OWN_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, min(connections, max(soft, allowed) - OWN_FILES))
