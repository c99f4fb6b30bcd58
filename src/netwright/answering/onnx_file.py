"""What an ONNX file may hold, looked at before onnxruntime sees it: by its bytes, without the onnx package.

A file that names other files, operators of its own or functions is refused: the first would make onnxruntime read from
the disk, the others are nothing that an export makes.

Source:
    onnx.proto of ONNX (numbers of fields), and "Encoding" of Protocol Buffers' documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from netwright.errors import BundleError

MOST_BYTES = 2**31 - 1  # what Protocol Buffers allow for one message
MOST_DEPTH = 32  # of graphs in each other
STANDARD = (b"", b"ai.onnx")
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# Which messages lie in which fields of a message; others are passed over.
MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
NODE_TEXTS = NODE_DOMAIN, NODE_TYPE = 7, 4
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14


def check_model(content: bytes, *, where: str) -> None:
    """Refuse an ONNX file with external data, functions, or operators that are not of the standard.

    Args:
        content: The file.
        where: What it is called.

    Raises:
        BundleError: It holds one of these, or is no ONNX file.
    """
    if len(content) > MOST_BYTES:
        raise _refuse(where, f"at most {MOST_BYTES:,} bytes", f"{len(content):,}")
    try:
        graphs = _walk(memoryview(content), where)
    except (IndexError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise _refuse(where, "an ONNX model", "bytes that are none") from error
    if not graphs:
        raise _refuse(where, "an ONNX model", "a file without a graph")


def _walk(content: memoryview, where: str) -> int:
    """Look at all messages; how many graphs there are."""
    graphs = 0
    todo: list[tuple[str, memoryview, int]] = [("model", content, 0)]
    while todo:
        kind, message, depth = todo.pop()
        if kind in ("function", "training"):
            raise _refuse(where, "a model of standard operators", f"a {kind} of its own")
        if depth > MOST_DEPTH:
            raise _refuse(where, f"graphs at most {MOST_DEPTH} deep in each other", "more")
        graphs += kind == "graph"
        fields = list(_fields(message))
        if kind == "tensor":
            _check_tensor(fields, where)
        if kind == "node":
            _check_node(fields, where)
        known = MESSAGES[kind]
        todo += [
            (known[number], value, depth + (known[number] == "graph"))
            for number, value in fields
            if number in known and not isinstance(value, int)
        ]
    return graphs


def _check_tensor(fields: Sequence[tuple[int, int | memoryview]], where: str) -> None:
    for number, value in fields:
        if number == TENSOR_EXTERNAL or (number == TENSOR_LOCATION and value != 0):
            raise _refuse(where, "weights inside the file", "a tensor that lies in another file")


def _check_node(fields: Sequence[tuple[int, int | memoryview]], where: str) -> None:
    texts = {number: bytes(value) for number, value in fields if not isinstance(value, int) and number in NODE_TEXTS}
    if texts.get(NODE_DOMAIN, b"") not in STANDARD:
        name, domain = (ascii(texts.get(number, b"")[:40])[2:-1] for number in (NODE_TYPE, NODE_DOMAIN))
        raise _refuse(where, "operators of the ONNX standard", f'"{name}" of "{domain}"')


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, form = key >> 3, key & 7
        if form == VARINT:
            value, at = _varint(message, at)
            yield number, value
        elif form == BYTES:
            size, at = _varint(message, at)
            if size > end - at:
                raise ValueError("a field that is longer than its message")
            yield number, message[at : at + size]
            at += size
        elif form in (FIXED64, FIXED32):
            at += 8 if form == FIXED64 else 4
            if at > end:
                raise ValueError("a number that is cut off")
        else:
            raise ValueError("a field of no known form")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A whole number in 7 bits a byte, and where it ends."""
    value = message[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number that does not end")


def _refuse(where: str, expected: str, got: str) -> BundleError:
    return BundleError(where=where, expected=expected, got=got, cure="Export the run again; do not use this file.")
