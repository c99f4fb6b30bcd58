"""A client that asks as fast as its servers answer: sockets that are kept, one epoll, no library between.

    python bench/serving_load.py 8000 /predict 32 5 pictures/      # port, path, concurrency, seconds, folder of PNGs

Prints a JSON object: answers a second, times in milliseconds, and the probabilities of each picture. Each connection
has one request under way; of each picture's answers every sixteenth is compared with the first.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

WARM = 0.3  # seconds that are not counted
SAME = 1e-5  # of probabilities: batches of other sizes add in another order
BOUNDARY = b"netwright-bench-boundary"


def request(path: str, content: bytes) -> bytes:
    """A form with a file, as browsers and curl send it."""
    form = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png'
    body = b"--%b\r\n%b\r\n\r\n%b\r\n--%b--\r\n" % (BOUNDARY, form, content, BOUNDARY)
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}",
        f"Content-Length: {len(body)}",
    ]
    head = "\r\n".join(lines) + "\r\nAccept: */*\r\n\r\n"
    return head.encode() + body


def run(port: int, path: str, concurrency: int, seconds: float, pictures: list[bytes]) -> dict[str, Any]:
    """Ask for some seconds."""
    asked = [request(path, one) for one in pictures]
    poll = select.epoll()
    sockets: dict[int, list[Any]] = {}  # socket, buffer, picture, since
    place = 0
    for _ in range(concurrency):
        one = socket.create_connection(("127.0.0.1", port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(one.fileno(), select.EPOLLIN)
        sockets[one.fileno()] = [one, b"", place % len(asked), time.perf_counter()]
        one.sendall(asked[place % len(asked)])
        place += 1
    begin = time.perf_counter() + WARM
    end = begin + seconds
    times: list[float] = []
    answers: dict[int, dict[str, float]] = {}
    failed = differ = 0
    while (now := time.perf_counter()) < end:
        for number, _ in poll.poll(1.0):
            state = sockets[number]
            data = state[1] + state[0].recv(65536)
            edge = data.find(b"\r\n\r\n")
            if edge < 0:
                state[1] = data
                continue
            head = data[:edge].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 : at + 30].split(b"\r\n")[0])
            if len(data) < edge + 4 + length:
                state[1] = data
                continue
            now = time.perf_counter()
            if now > begin:
                times.append(now - state[3])
            if not data.startswith(b"HTTP/1.1 200"):
                failed += 1
            elif state[2] not in answers or len(times) % 16 == 0:  # reading each answer would take the load's core
                found = json.loads(data[edge + 4 :])["probabilities"]
                first = answers.setdefault(state[2], found)
                differ += any(abs(first[name] - found[name]) > SAME for name in first)
            state[1], state[2], state[3] = b"", place % len(asked), now
            state[0].sendall(asked[place % len(asked)])
            place += 1
    for state in sockets.values():
        state[0].close()
    times.sort()
    count = len(times)
    return {
        "per_second": count / (now - begin),
        "p50_ms": 1000 * times[count // 2],
        "p99_ms": 1000 * times[min(count - 1, int(0.99 * count))],
        "count": count,
        "failed": failed,
        "differ": differ,
        "answers": answers,
    }


if __name__ == "__main__":
    port, path, concurrency, seconds, folder = sys.argv[1:6]
    files = sorted(Path(folder).glob("*.png"))
    print(json.dumps(run(int(port), path, int(concurrency), float(seconds), [file.read_bytes() for file in files])))
