"""How much a request may bring, and how long it may take. Each has its refusal, a 4xx with a sentence."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the server. Sizes in bytes, times in seconds.

    Attributes:
        head: Request line and headers together; 16 KiB is what most servers take.
        headers: How many header lines.
        target: The path with its query.
        body: A body, chunked or not, counted while it comes.
        chunks: Chunks of a body; small ones cost more than their bytes.
        held: Bodies that are being received or answered, all connections together.
        parts: Parts of a multipart body.
        depth: Brackets of JSON within each other.
        numbers: Values of JSON, all together.
        text: Characters of a text.
        pixels: Pixels of a picture, from its header.
        seconds: Length of a sound, where the bundle allows more.
        inputs: Inputs of one request to a batch endpoint.
        connections: Open at once.
        receive_s: From a request's first byte, or a connection's begin, to the request's last byte. Absolute.
        send_s: From a reply's first byte to its last.
        idle_s: Between two requests of a connection.
        answer_s: From a request's last byte to its answer.
        drain_s: After SIGTERM, to finish what was accepted.
        waiting: Inputs that wait for the model; more are refused with 429.
        batch: Inputs that the model gets at once.
        wait_ms: How long a batch waits for inputs that are known to come.
        explained: Requests with ``explain`` at once: each asks the model dozens of times.
    """

    head: int = 16 * 1024
    headers: int = 64
    target: int = 4096
    body: int = 16 * MIB
    chunks: int = 16_384
    held: int = 256 * MIB
    parts: int = 64
    depth: int = 32
    numbers: int = 1_000_000
    text: int = 100_000
    pixels: int = 40_000_000
    seconds: float = 600.0
    inputs: int = 64
    connections: int = 1024
    receive_s: float = 10.0
    send_s: float = 10.0
    idle_s: float = 30.0
    answer_s: float = 30.0
    drain_s: float = 20.0
    waiting: int = 256
    batch: int = 32
    wait_ms: float = 4.0
    explained: int = 2
