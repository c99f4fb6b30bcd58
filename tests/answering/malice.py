"""Files that mean harm: pickles of many kinds and what wraps them. Believed, each would leave a mark, a file.

The mark is all that they do: a payload that runs writes, makes or removes a file below the folder it is given. Nothing
here is ever loaded but by ``open_them``, the proof that the watch sees what it is for.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import pickletools
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from answering.gadgets import MARK, Call, gadgets


def _plain(value: Any) -> bytes:
    """A value's opcodes, of protocol 2, without head and end."""
    return pickle.dumps(value, protocol=2)[2:-1]


def as_global(call: Call) -> bytes:
    """GLOBAL and REDUCE, as protocol 0 to 3 have them."""
    name = f"c{call.module}\n{call.name}\n".encode()
    return b"\x80\x02" + name + b"(" + b"".join(map(_plain, call.args)) + b"tR."


def as_stack_global(call: Call) -> bytes:
    """STACK_GLOBAL in a frame, as protocol 4 and 5 have it."""
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (call.module, call.name))
    body = texts + b"\x93(" + b"".join(map(_plain, call.args)) + b"tR."
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


def _forms(call: Call) -> Iterator[tuple[str, bytes]]:
    """Other opcodes that lead to the same call."""
    module, name = call.module.encode(), call.name.encode()
    args = b"".join(map(_plain, call.args))
    yield "inst", b"(" + args + b"i" + module + b"\n" + name + b"\n."
    yield "obj", b"\x80\x02(c" + module + b"\n" + name + b"\n" + args + b"o."
    yield "newobj", b"\x80\x02c" + module + b"\n" + name + b"\n(" + args + b"t\x81."
    yield "newobj_ex", b"\x80\x04c" + module + b"\n" + name + b"\n(" + args + b"t}\x92."
    yield "memo", b"\x80\x02c" + module + b"\n" + name + b"\nq\x000h\x00(" + args + b"tR."
    yield (
        "build",
        b"\x80\x02cbuiltins\nobject\n)\x81}X\x0c\x00\x00\x00__setstate__c"
        + module
        + b"\n"
        + name
        + (b"\ns\x62" + args + b"b."),
    )
    yield "ext", b"\x80\x02\x82\x01(" + args + b"tR."
    yield "persid", b"P" + module + b"\n."
    yield "twice", as_global(call) + as_stack_global(call)
    yield "broken", as_global(call)[:-1]
    yield "hidden", b"I1\n0" + as_global(call)
    yield "list", b"(lp0\n" + as_global(call)[2:-1] + b"a."
    yield "dict", b"\x80\x02}X\x01\x00\x00\x00a" + as_global(call)[2:-1] + b"s."
    yield "nested", as_global(Call("pickle", "loads", as_global(call)))
    yield "magic", pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + as_global(call)


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _npy(pickled: bytes, descr: str = "'|O'", shape: str = "(1,)") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickled


def safetensors(header: Any, data: bytes = b"", *, size: int | None = None) -> bytes:
    """A file of that header, which may lie of its size."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def headers() -> dict[str, bytes]:
    """Files of weights whose header lies (S5)."""
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    data = bytes(16)
    return {
        "endless": safetensors({"w": one}, data, size=2**63),
        "all_ones": safetensors({"w": one}, data, size=2**64 - 1),
        "longer_than_allowed": safetensors({"w": one}, data, size=100_000_001),
        "longer_than_the_file": safetensors({"w": one}, b"", size=4096),
        "empty": b"",
        "short": b"\x08\x00",
        "no_header": safetensors(b"", size=0),
        "no_json": safetensors(b"{" * 40),
        "no_object": safetensors([1, 2]),
        "deep": safetensors(b'{"w":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
        "hole": safetensors({"w": one, "v": one | {"data_offsets": [12, 20]}}, bytes(20)),
        "hole_before": safetensors({"w": one | {"data_offsets": [4, 12]}}, bytes(12)),
        "overlap": safetensors({"w": one, "v": one | {"data_offsets": [4, 12]}}, bytes(12)),
        "same_place": safetensors({"w": one, "v": one}, bytes(8)),
        "twice": safetensors(b'{"w":%b,"w":%b}' % ((json.dumps(one).encode(),) * 2), bytes(8)),
        "backwards": safetensors({"w": one | {"data_offsets": [8, 0]}}, bytes(8)),
        "negative": safetensors({"w": one | {"shape": [-2]}}, bytes(8)),
        "beyond": safetensors({"w": one | {"data_offsets": [0, 2**40]}}, bytes(8)),
        "more_bytes": safetensors({"w": one}, bytes(64)),
        "fewer_bytes": safetensors({"w": one}, bytes(4)),
        "other_size": safetensors({"w": one | {"shape": [3]}}, bytes(8)),
        "overflow": safetensors({"w": one | {"shape": [2**62, 2**62]}}, bytes(8)),
        "no_dtype": safetensors({"w": one | {"dtype": "os.system"}}, bytes(8)),
        "object_dtype": safetensors({"w": one | {"dtype": "O"}}, bytes(8)),
        "rare_dtype": safetensors({"w": {"dtype": "F8_E8M0", "shape": [8], "data_offsets": [0, 8]}}, bytes(8)),
        "rarer_dtype": safetensors({"w": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}, bytes(8)),
        "metadata_no_text": safetensors({"__metadata__": {"format": 1}, "w": one}, bytes(8)),
        "metadata_not_a_number": safetensors(b'{"__metadata__":{"a":NaN}}'),
        "metadata_reduces": safetensors({"__metadata__": {"__reduce__": "os.system"}, "w": one}, bytes(8)),
        "without_a_digest": safetensors({"w": one}, bytes(8)),
        "wrong_digest": safetensors({"__metadata__": {"format": "pt", "sha256": "0" * 64}, "w": one}, bytes(8)),
    }  # fmt: skip


def _wrapped(folder: Path) -> Iterator[tuple[str, bytes]]:
    """What files of models wrap pickles in."""
    calls = gadgets(folder)
    touch = calls[0].args[0]
    code = f"open({str(folder / (MARK + '.mark'))!r}, 'w').close()"
    for call in (calls[0], calls[16], calls[25], calls[35]):
        pickled, which = as_global(call), f"{call.module}.{call.name}"
        checkpoint = {"archive/data.pkl": pickled, "archive/version": b"3\n", "archive/data/0": bytes(8)}
        yield f"pt {which}", _zip(checkpoint)
        yield f"pt deflated {which}", _zip(checkpoint, zipfile.ZIP_DEFLATED)
        yield f"torchscript {which}", _zip({"a/constants.pkl": pickled, "a/code/__torch__.py": code.encode()})
        yield f"pt two endings {which}", _zip(checkpoint) + b"PK\x05\x06" + bytes(18)
        yield f"npy {which}", _npy(pickled)
        yield f"npz {which}", _zip({"a.npy": _npy(pickled)})
        yield f"npy head {which}", _npy(b"", descr=repr(code))
        yield f"zip in zip {which}", _zip({"model.zip": _zip(checkpoint)})
        yield f"joblib {which}", zlib.compress(pickled)
        yield f"gz {which}", gzip.compress(pickled, mtime=0)
        yield f"bz2 {which}", bz2.compress(pickled)
        yield f"xz {which}", lzma.compress(pickled)
        yield f"torch tar {which}", _tar({"sys_info": pickled, "pickle": pickled, "storages": pickled})
        yield f".metadata {which}", pickletools.optimize(pickled)
        yield f"after a picture {which}", b"\x89PNG\r\n\x1a\n" + pickled
        yield f"after a sound {which}", b"RIFF\x24\x00\x00\x00WAVEfmt " + pickled
        yield f"polyglot {which}", safetensors(b"{}" + b" " * 6, _zip(checkpoint))
        yield f"in metadata {which}", safetensors({"__metadata__": {"pickle": pickled.decode("latin-1")}})
    yield from _odd(folder, touch, code, as_global(calls[0]))


def _odd(folder: Path, touch: str, code: str, pickled: bytes) -> Iterator[tuple[str, bytes]]:
    """What is no pickle, and names code all the same: YAML, records of other tools, programs, heads that lie."""
    yield "bundle of a pickle", _zip({"certificate.json": pickled, "model.onnx": pickled})
    yield "npy endless", _npy(b"", "'<f8'", "(1000000000000,)")
    yield "npy of none", b"\x93NUMPY"
    yield "npy later", b"\x93NUMPY\x09\x00" + bytes(64)
    yield "nothing", b""
    yield "no zip", b"PK\x03\x04" + bytes(64)
    extend = "!!python/object/new:type\nargs: [z, !!python/tuple [], {extend: !!python/name:exec }]"
    lines = (f"{chr(98 + at)}: &{chr(98 + at)} [{','.join(['*' + chr(97 + at)] * 9)}]\n" for at in range(8))
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(lines)
    for name, text in (
        ("yaml apply", f"!!python/object/apply:os.system ['{touch}']"),
        ("yaml new", f"!!python/object/new:os.system ['{touch}']"),
        ("yaml object", "!!python/object:subprocess.Popen {}"),
        ("yaml name", "a: !!python/name:os.system"),
        ("yaml module", f"a: !!python/module:{MARK}"),
        ("yaml tuple", f'- !!python/object/apply:builtins.exec ["{code}"]'),
        ("yaml extend", f'{extend}\nlistitems: "{code}"'),
        ("yaml bomb", bomb),
    ):
        yield name, text.encode()
    layer = {
        "class_name": "Lambda",
        "config": {"function": [code, None, None], "function_type": "lambda", "module": MARK},
    }
    keras = {"module": MARK, "class_name": "main", "config": {"layers": [layer]}, "registered_name": "os>system"}
    yield "keras lambda", json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}}).encode()
    yield "keras module", json.dumps(keras).encode()
    yield (
        "keras zip",
        _zip({"config.json": json.dumps(keras).encode(), "metadata.json": b"{}", "model.weights.h5": b""}),
    )
    yield "h5", b"\x89HDF\r\n\x1a\n" + json.dumps(keras).encode()
    yield "hydra", json.dumps({"_target_": "os.system", "_args_": [touch], "command": touch}).encode()
    yield "jsonpickle", json.dumps({"py/reduce": [{"py/function": "os.system"}, {"py/tuple": [touch]}]}).encode()
    yield "auto_map", json.dumps({"auto_map": {"AutoModel": f"{MARK}--main"}, "trust_remote_code": True}).encode()
    yield "jinja", f'{{"chat_template": "{{{{ self.__init__.__globals__.os.system(\'{touch}\') }}}}"}}'.encode()
    yield "python", f"import {MARK}\n{code}\n".encode()
    yield "shell", f"#!/bin/sh\n{touch}\n".encode()
    yield "svg", f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{folder}/victim"/></svg>'.encode()
    yield "xml entity", f'<!DOCTYPE a [<!ENTITY b SYSTEM "file://{folder}/victim">]><a>&b;</a>'.encode()
    yield "postscript", f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(%pipe%{touch}) (w) file\n".encode()
    yield "formula", f"path,label\n=cmd|'/C {touch}'!A0,1\n".encode()
    yield "pth", f"import os; os.system('{touch}')\n".encode()


def _tar(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def corpus(folder: Path) -> dict[str, bytes]:
    """All of them by name; their marks would lie in ``folder``."""
    calls = gadgets(folder)
    found: dict[str, bytes] = {}
    for at, call in enumerate(calls):  # the two ways to name what is called take turns
        found[f"{call.module}.{call.name}"] = (as_stack_global if at % 2 else as_global)(call)
    for call in (calls[0], calls[25]):
        found |= {f"{form} {call.module}.{call.name}": content for form, content in _forms(call)}
    found |= {f"protocol {protocol}": pickle.dumps(Reduces(str(calls[0].args[0])), protocol) for protocol in range(6)}
    found |= dict(_wrapped(folder))
    return found | {f"header {name}": content for name, content in headers().items()}


class Reduces:
    """Pickled as people who mean harm do it."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (self.command,)


def prepare(folder: Path) -> None:
    """What payloads would read, remove or import."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "victim").write_text("whole")
    (folder / f"{MARK}.py").write_text(f"open({str(folder / (MARK + '.mark'))!r}, 'w').close()\nmain = None\n")


def unharmed(folder: Path) -> bool:
    """Whether nothing was made, changed or removed."""
    return {path.name for path in folder.iterdir()} == {"victim", f"{MARK}.py"} and (
        (folder / "victim").read_text() == "whole"
    )
