"""Who may ask: the host that a request names, and the key that it brings."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Collection
from pathlib import Path

from netwright.errors import MissingFileError, UsageError
from netwright.serving.http1 import Head
from netwright.serving.refusals import Refused

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST_KEY = 16  # letters; what `openssl rand -hex 8` gives
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Access:
    """What each request is looked at for.

    Args:
        hosts: Names and addresses that a request may be for.
        keys: Of which a request must bring one; empty for none.
        any_address: Whether it may also be for any address in numbers: only a name can be made to point here.
    """

    def __init__(self, hosts: Collection[str], keys: Collection[bytes], *, any_address: bool) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._known: set[bytes] = set()  # whole Host headers that are allowed, with their ports
        self._keys = tuple(hashlib.sha256(key).digest() for key in keys)
        self._any_address = any_address
        self._prefix = secrets.token_hex(4)
        self._count = 0

    def identify(self, given: bytes | None) -> str:
        """The id of a request: the client's own where it is one, else a new one."""
        if given is not None and _SANE_ID.fullmatch(given):
            return given.decode()
        self._count += 1
        return f"{self._prefix}-{self._count:08x}"

    def check(self, head: Head, *, is_open: bool) -> None:
        """Refuse what is for another host, or has no key.

        Raises:
            Refused: It may not ask.
        """
        host = head.fields.get(b"host", b"")
        if host not in self._known:
            if not self._allowed(host.decode("latin-1")):
                raise Refused(421, "unknown_host", "This server does not answer for that host; see --allow-host.")
            if len(self._known) < 100:
                self._known.add(host)
        if self._keys and not is_open and not self._has_key(head):
            raise Refused(401, "no_key", "Send an API key, as Authorization: Bearer KEY or X-API-Key: KEY.")

    def _allowed(self, host: str) -> bool:
        name = host.partition("]")[0][1:] if host.startswith("[") else host.rpartition(":")[0] or host
        name = name.lower().rstrip(".")
        if name in self._hosts:
            return True
        return self._any_address and _is_address(name)

    def _has_key(self, head: Head) -> bool:
        given = head.fields.get(b"x-api-key", b"")
        scheme, _, token = head.fields.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            given = token.strip()
        found, digest = False, hashlib.sha256(given).digest()
        for key in self._keys:  # all of them, and of one length, so that time tells nothing
            found |= hmac.compare_digest(digest, key)
        return found


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def read_keys(file: Path) -> list[bytes]:
    """Keys of a file, one a line; lines that begin with # are passed over.

    Raises:
        MissingFileError: It is not there.
        UsageError: It has no key, one that is short, or can be read by all.
    """
    if not file.is_file():
        raise MissingFileError(
            where=f"--keys {file}", expected="a file with a key a line", got="no such file",
            cure=f"umask 077; openssl rand -hex 24 > {file}",
        )  # fmt: skip
    if os.name == "posix" and file.stat().st_mode & 0o004:
        raise UsageError(
            where=f"--keys {file}", expected="a file that not everybody can read", got="one that everybody can",
            cure=f"chmod 600 {file}",
        )  # fmt: skip
    lines = [line.strip() for line in file.read_bytes().splitlines()]
    keys = [line for line in lines if line and not line.startswith(b"#")]
    if not keys or any(len(key) < SHORTEST_KEY or not key.isascii() for key in keys):
        raise UsageError(
            where=f"--keys {file}", expected=f"keys of at least {SHORTEST_KEY} letters, one a line",
            got="none" if not keys else "a shorter one, or one with other letters",
            cure=f"umask 077; openssl rand -hex 24 > {file}",
        )  # fmt: skip
    return keys


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own, which no other reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_loopback for one in found)
