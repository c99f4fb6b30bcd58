"""HTTP as it comes over the wire: what could be read in two ways, what never ends, and who is slow."""

from __future__ import annotations

import json
import socket
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.serving.forms import read_form
from netwright.serving.http1 import Chunks, parse_head
from netwright.serving.jsons import read_json
from netwright.serving.limits import Limits
from netwright.serving.refusals import Refused
from serving import bundles
from serving.running import Running, error_of, read_all, read_replies, read_reply, readable, request

HOST = b"Host: 127.0.0.1\r\n"
CHUNKED = b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
MALFORMED = {
    "length and chunks": b"POST /predict HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "the same length twice": b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "lengths in a list": b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Length: 0x2\r\n\r\n{}",
    "another coding": b"POST /predict HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding with a tab": b"POST /predict HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks of HTTP/1.0": b"POST /predict HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Length : 2\r\n\r\n{}",
    "a folded header": b"GET /v2 HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n",
    "no host": b"GET /v2 HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v2 HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "a NUL in a header": b"GET /v2 HTTP/1.1\r\n" + HOST + b"X-A: b\x00c\r\n\r\n",
    "a NUL in the line": b"GET /v2\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "line feeds alone": b"GET /v2 HTTP/1.1\nHost: 127.0.0.1\n\n\r\n\r\n",
    "a bare carriage return": b"GET /v2 HTTP/1.1\r\n" + HOST + b"X-A: b\rc\r\n\r\n",
    "no version": b"GET /v2\r\n\r\n",
    "another version": b"GET /v2 HTTP/2.0\r\n" + HOST + b"\r\n",
    "a method in small letters": b"get /v2 HTTP/1.1\r\n" + HOST + b"\r\n",
    "another proxy's address": b"GET http://127.0.0.1/v2 HTTP/1.1\r\n" + HOST + b"\r\n",
    "bad UTF-8 in the path": b"GET /%ff%fe HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20) + b"\r\n\r\n",
    "a chunk without a size": CHUNKED + b"\r\n\r\n",
    "a chunk with an extension": CHUNKED + b"1;a=b\r\nx\r\n0\r\n\r\n",
    "a chunk with a sign": CHUNKED + b"-1\r\nx\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"1\r\nxy\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"1\r\nx\r\n0\r\nX-A: b\r\n\r\n",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_closed(server: Running, what: str) -> None:
    """One 400, and nothing that follows on the connection is read as a request."""
    smuggled = b"GET /v2/health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    data = server.send(MALFORMED[what] + smuggled)
    assert data.startswith(b"HTTP/1.1 400 "), data[:100]
    assert data.count(b"HTTP/1.1 ") == 1
    assert error_of(data.partition(b"\r\n\r\n")[2])["code"] == "bad_request"


def test_headers_beyond_their_bounds_are_refused(server: Running) -> None:
    """Too many bytes, too many lines, too long a path: 431 and 414, before the end of the headers."""
    start = b"GET /v2 HTTP/1.1\r\n" + HOST
    assert server.send(start + b"X-A: " + b"a" * 70_000).startswith(b"HTTP/1.1 431 ")
    assert server.send(start + b"X-A: a\r\n" * 10_000 + b"\r\n").startswith(b"HTTP/1.1 431 ")
    assert server.send(start + b"X: a\r\n" * 100 + b"\r\n").startswith(b"HTTP/1.1 431 ")
    assert server.send(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n").startswith(b"HTTP/1.1 414 ")


def test_requests_that_were_sent_ahead_are_answered_in_their_order(server: Running) -> None:
    """Three at once over one connection, the last of which closes it."""
    body = json.dumps({"input": "good"}).encode()
    data = request("/v2", close=False) + request("/predict?model=texts", body, close=False) + request("/v2/health/live")
    with server.connect() as one:
        one.sendall(data)
        replies = read_replies(one, 3)
        assert not read_all(one)
    assert [json.loads(reply[2]).keys() & {"extensions", "label", "live"} for reply in replies] == [
        {"extensions"},
        {"label"},
        {"live"},
    ]
    assert replies[2][1]["connection"] == "close"


def test_a_body_in_chunks_is_one_body(server: Running) -> None:
    """Chunks of any size, cut anywhere on the wire, and a request after them on the same connection."""
    content = bundles.png(3)
    with server.connect() as one:
        one.sendall(CHUNKED)
        for begin in range(0, len(content), 100):
            piece = content[begin : begin + 100]
            one.sendall(b"%x\r\n" % len(piece))
            one.sendall(piece + b"\r")
            one.sendall(b"\n")
        one.sendall(b"0\r\n\r\n" + request("/predict", content, kind="image/png", close=False))
        first, second = read_replies(one, 2)
    assert first[0] == second[0] == 200
    assert json.loads(first[2]) == json.loads(second[2])


def test_a_client_that_waits_for_the_go_on_gets_it_or_the_refusal(server: Running) -> None:
    """100 where the body is wanted; 413 at once where it is too long."""
    content = bundles.png(3)
    head = (
        b"POST /predict HTTP/1.1\r\n"
        + HOST
        + b"Content-Type: image/png\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    )
    with server.connect() as one:
        one.sendall(head % len(content))
        assert one.recv(100).startswith(b"HTTP/1.1 100 ")
        one.sendall(content)
        assert read_reply(one)[0] == 200
    assert server.send(head % (1 << 30)).startswith(b"HTTP/1.1 413 ")
    assert server.send(head.replace(b"100-continue", b"200-maybe") % 5).startswith(b"HTTP/1.1 417 ")


def test_http_1_0_and_half_closed_connections_are_answered(server: Running) -> None:
    """A client that sends all it has and then closes its side still gets its answer."""
    data = server.send(b"GET /v2 HTTP/1.0\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 421 ")  # without a host it could be for anybody
    assert server.send(b"GET /v2 HTTP/1.0\r\n" + HOST + b"\r\n").startswith(b"HTTP/1.1 200 ")
    with server.connect() as one:
        one.sendall(request("/predict", bundles.png(1), kind="image/png", close=False))
        one.shutdown(socket.SHUT_WR)
        assert read_reply(one)[0] == 200
        assert not read_all(one)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "10.0.0.1", "[::2]"]
)
def test_requests_for_other_hosts_are_refused(server: Running, host: str) -> None:
    """A name that somebody pointed at this machine is not this server's."""
    data = b"GET /models HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host.encode()
    status, _, body = server.ask(data)
    assert (status, error_of(body)["code"]) == (421, "unknown_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:80", "[::1]:8000"])
def test_loopback_has_several_names(server: Running, host: str) -> None:
    """Each of them is this machine."""
    assert server.ask(b"GET /models HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host.encode())[0] == 200


def test_other_origins_get_no_permission(server: Running) -> None:
    """Neither a preflight nor an answer tells a browser that another page may read it."""
    for data in (
        request("/predict", method="OPTIONS", Origin="http://evil.example", Access_Control_Request_Method="POST"),
        request("/models", Origin="http://evil.example"),
    ):
        headers = server.ask(data)[1]
        assert not [name for name in headers if name.startswith("access-control")]


def slow(server: Running, count: int, seconds: float, *, pace: float) -> list[float]:
    """How long each of some slow clients was borne: a byte of headers, body or chunks each ``pace`` s, or none."""
    head = b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Type: image/png\r\n"
    starts = [
        b"GET /v2 HTTP/1.1\r\nX-A: ",
        head + b"Content-Length: 1000\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n",
        b"",
    ]
    drip = [b"a", b"a", b"1\r\na\r\n", b""]
    begun = time.monotonic()
    open_now = {}
    for place in range(count):
        one = server.connect()
        one.sendall(starts[place % 4])
        one.setblocking(False)
        open_now[one] = drip[place % 4]
    borne: list[float] = []
    again = time.monotonic()
    while open_now and time.monotonic() - begun < seconds + 20:
        drips = time.monotonic() >= again
        again += pace if drips else 0
        for one, byte in list(open_now.items()):
            try:
                while readable(one, 0):
                    if not one.recv(65536):
                        raise ConnectionError
                if byte and drips:
                    one.send(byte)
            except OSError:
                borne.append(time.monotonic() - begun)
                one.close()
                del open_now[one]
        time.sleep(0.1)
    assert not open_now
    return borne


def test_slow_clients_are_closed_at_an_absolute_deadline(server: Running) -> None:
    """A byte now and then puts nothing off. 50, closed at the deadline of two seconds; others are served."""
    import threading

    failures: list[int] = []
    done = threading.Event()

    def healthy() -> None:
        while not done.is_set():
            status = server.ask(request("/predict", bundles.png(1), kind="image/png"))[0]
            if status != 200:
                failures.append(status)
            time.sleep(0.02)

    other = threading.Thread(target=healthy)
    other.start()
    try:
        borne = slow(server, 50, 2.0, pace=0.2)
    finally:
        done.set()
        other.join()
    assert len(borne) == 50 and max(borne) < 2.0 + 1.0  # and what it takes to notice, on a loaded machine
    assert not failures


def test_who_does_not_read_is_let_go(server: Running) -> None:
    """Many answers that nobody reads: the connection is closed at the deadline, and its memory is given back."""
    before = server.rss()
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", server.port))
        one.settimeout(0.2)
        begun = time.monotonic()
        data = request("/openapi.json", close=False) * 20
        with pytest.raises(OSError):
            while time.monotonic() - begun < 15:
                try:
                    one.sendall(data)
                except TimeoutError:
                    time.sleep(0.1)
    assert time.monotonic() - begun < 10
    assert server.rss() - before < 32 << 20


def head_of(data: bytes) -> object:
    try:
        return parse_head(data, Limits())
    except Refused as refusal:
        assert 400 <= refusal.status < 500
        return None


@given(st.binary(max_size=300), st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\nHost: a\r\n"]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_request_or_a_refusal(data: bytes, before: bytes) -> None:
    """Nothing else comes out of the reader of headers."""
    head_of(before + data)


@given(st.binary(max_size=200), st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_chunks_give_the_same_body_however_they_are_cut(body: bytes, size: int) -> None:
    """The reader of chunks is fed byte by byte and all at once; what follows is left alone."""
    wire = b"".join(
        b"%x\r\n%b\r\n" % (len(body[at : at + size]), body[at : at + size]) for at in range(0, len(body), size)
    )
    wire += b"0\r\n\r\nGET"
    whole, single = Chunks(Limits()), Chunks(Limits())
    data = bytearray(wire)
    whole.feed(data)
    rest = bytearray()
    for byte in wire:
        rest.append(byte)
        single.feed(rest)
    assert whole.done and single.done
    assert bytes(whole.body) == bytes(single.body) == body
    assert data == rest == b"GET"


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_json_a_form_or_a_refusal(data: bytes) -> None:
    """Nothing else comes out of the readers of bodies."""
    for read in (
        lambda: read_json(data, Limits()),
        lambda: read_form("multipart/form-data; boundary=x", b"--x" + data, Limits()),
    ):
        try:
            read()
        except Refused as refusal:
            assert 400 <= refusal.status < 500
