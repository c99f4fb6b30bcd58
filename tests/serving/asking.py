"""Requests that try to lead a server elsewhere, or are wrong in one way each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from serving import bundles
from serving.running import request


def steps(secret: Path) -> list[str]:
    """Paths that lead elsewhere, in every way that servers have been led."""
    plain = str(secret).lstrip("/")
    dots = (
        "../",
        "..%2f",
        "%2e%2e/",
        "%2e%2e%2f",
        "..%252f",
        "%252e%252e%252f",
        "..%5c",
        "..\\",
        "..;/",
        ".%2e/",
        "%c0%ae%c0%ae/",
        "..%c0%af",
        "....//",
        "..%00/",
        "..%ef%bc%8f",
    )
    ends = ("etc/passwd", plain, "secret.txt", "digits/model.onnx", "certificate.json")
    found = [
        f"{start}{dot * 8}{end}" for dot in dots for end in ends for start in ("/", "/page/", "/models/", "/v2/models/")
    ]
    found += [
        f"/{end}"
        for end in (
            "//etc/passwd",
            "etc/passwd",
            "C:/Windows/win.ini",
            "C:%5cWindows%5cwin.ini",
            "%5c%5chost%5cshare",
            "file:///etc/passwd",
            "file:%2f%2f%2fetc%2fpasswd",
            "~root/.ssh/id_rsa",
            ".git/config",
            ".env",
            "proc/self/environ",
            "page/%00",
            "page/..",
            "page/.",
            "index.html/..",
            "static/../../app.py",
        )
    ]
    found += [
        f"/models/{name}{rest}"
        for name in ("..%2fdigits", "digits%00", "digits%2f..%2frows", "%2e%2e", "digits%0d%0aX:1")
        for rest in ("", "/predict")
    ]
    return found


def addresses(port: int) -> list[str]:
    """Where a server that fetches could be sent."""
    own = f"127.0.0.1:{port}"
    return [
        f"http://{own}/",
        f"http://localhost:{port}/a.png",
        f"http://[::1]:{port}/",
        f"http://2130706433:{port}/",
        f"http://0x7f.1:{port}/",
        f"http://user@{own}/",
        f"//{own}/a",
        f"ftp://{own}/a",
        f"gopher://{own}/_x",
        f"dict://{own}/",
        f"ldap://{own}/",
        f"s3://{own}/a",
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.google.internal/",
        "http://[fd00:ec2::254]/",
        "jar:http://a!/b",
        f"https://{own}/",
        f"hf://{own}/a",
        f"\\\\{own}\\share\\a.png",
        "data:text/html,<script>",
        "file:///etc/passwd",
        "php://filter",
    ]


def inputs(given: str) -> Iterator[bytes]:
    """Requests that name a place where an input is wanted."""
    for model, body in (
        ("digits", {"input": given}),
        ("digits", {"input": {"image": given}}),
        ("digits", {"input": {"url": given}}),
        ("sounds", {"input": given}),
        ("rows", {"input": {"age": given, "town": given}}),
        ("texts", {"input": f"@{given}"}),
        ("texts", {"input": given}),
    ):
        yield request(f"/models/{model}/predict", json.dumps(body).encode())
    yield request("/predict/batch", json.dumps({"inputs": [given, {"image": given}]}).encode())
    quoted = given.replace('"', "%22").replace("\\", "%5c")
    form = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n\r\n{given}\r\n--x--\r\n'
    yield request("/predict", form.encode(), kind="multipart/form-data; boundary=x")
    yield request("/predict", f"url={quoted}".encode(), kind="application/x-www-form-urlencoded")
    yield request("/predict", given.encode(), kind="text/uri-list")
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [given]}
    yield request("/v2/models/digits/infer", json.dumps({"inputs": [tensor]}).encode())
    external = tensor | {"parameters": {"shared_memory_region": given, "content_encoding": given}}
    yield request("/v2/models/digits/infer", json.dumps({"inputs": [external]}).encode())
    if given.isascii() and " " not in given:
        safe = re.sub(r"[^!-~]", "", given)
        yield request(f"/predict?model={safe}&url={safe}", b"{}")
        yield request("/predict", bundles.png(1), kind="image/png", Referer=safe, Origin=safe, X_Forwarded_Host=safe)
        yield request(safe if "://" in safe else f"/{safe}")


def broken() -> Iterator[bytes]:
    """Requests that are wrong in one way each."""
    png = bundles.png(1)
    for body in (
        b"{",
        b"[]",
        b"null",
        b'{"input": NaN}',
        b'{"input": 1e400}',
        b'{"input": ' + b"[" * 5000,
        b'{"input": {}, "input": 1}',
        b'{"input": [[1, 2], [3]]}',
        b'{"input": "\\ud800"}',
        b"\xff\xfe",
        b'{"input": {"__class__": "os.system"}}',
        b'{"inputs": []}',
        b'{"input": {"age": "x", "town": []}}',
        b'{"input": [[-1, 256], [0.5, null]]}',
        b'{"input": ' + b"9" * 5000 + b"}",
    ):
        for model in ("digits", "sounds", "texts", "rows"):
            yield request(f"/models/{model}/predict", body)
            yield request(f"/models/{model}/predict?explain=1", body)
            yield request(f"/v2/models/{model}/infer", body)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        whole = bundles.png(2, kind=kind)
        for end in (len(whole) // 8, len(whole) // 2, len(whole) - 3):
            yield request("/predict", whole[:end], kind="image/png")
    whole = bundles.wav(300)
    for end in (4, 20, 36, 44, 45, len(whole) // 2):
        yield request("/models/sounds/predict", whole[:end], kind="audio/wav")
    for datatype, data in (("UINT8", [300]), ("FP32", ["a"]), ("INT64", [None]), ("NONE", [1]), ("BYTES", [1])):
        tensor = {"name": "image", "datatype": datatype, "shape": [1, 1, 28, 28], "data": data}
        yield request("/v2/models/digits/infer", json.dumps({"inputs": [tensor]}).encode())
    for method in ("PUT", "DELETE", "TRACE", "CONNECT", "OPTIONS", "PATCH", "HACK"):
        yield request("/predict", png, method=method)
    yield from (request(f"/v2/models/{name}/versions/{name}/infer", b"{}") for name in ("none", "1", "-1", "%ff"))
    yield from (
        request(path) for path in ("/docs", "/redoc", "/debug", "/admin", "/models/none", "/v2/models/none", "/%ff")
    )
    yield b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n"
    yield b"GET /\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"
    yield b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n"
    post = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    yield post + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    yield b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    yield b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    yield b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: " + b"a" * 70_000 + b"\r\n\r\n"
