"""Checkpoints: bit for bit there and back, every damage named, every refusal of the disk survived."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import textwrap
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from netwright import checkpoints
from netwright.disk import DISK, atomic_write_bytes, atomic_write_text
from netwright.errors import CheckpointError, MissingFileError, RunError, UsageError

FILES = ("tensors.safetensors", "state.json", "manifest.json")


def small_state(mark: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(mark)
    return {
        "mark": mark,
        "model": {"conv.weight": torch.randn(4, 1, 3, 3, generator=generator), "fc.bias": torch.ones(10) * mark},
        "optimizer": {
            "state": {0: {"step": torch.tensor(float(mark)), "exp_avg": torch.randn(6, generator=generator)}}
        },
        "rng": (3, tuple(range(20)), None),
        "history": [0.1 * mark, float("inf"), float("nan")],
    }


def same(left: Any, right: Any) -> bool:
    """Equal to the bit, in kind, order and nesting."""
    if isinstance(left, torch.Tensor):
        return (
            isinstance(right, torch.Tensor)
            and left.dtype == right.dtype
            and left.shape == right.shape
            and checkpoints.digest_of({"": left}) == checkpoints.digest_of({"": right})
        )
    if isinstance(left, dict):
        return isinstance(right, dict) and same(list(left.items()), list(right.items()))
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray | np.generic):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(*pair) for pair in zip(left, right, strict=True))
    if isinstance(left, float):
        return struct.pack("d", left) == struct.pack("d", right)
    return bool(left == right)


def through_disk(state: Any, folder: Path) -> Any:
    shutil.rmtree(folder, ignore_errors=True)
    checkpoints.save(folder, state, step=7)
    return checkpoints.load(folder).state


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def two_generations(folder: Path) -> Path:
    """Save steps 1 and 2; the folder of step 2."""
    checkpoints.save(folder, small_state(1), step=1)
    return checkpoints.save(folder, small_state(2), step=2)


def assert_first_is_used(folder: Path) -> str:
    """The first generation loads, and one message says why not the second."""
    loaded = checkpoints.load(folder)
    assert (loaded.step, loaded.path.name) == (1, "step-00000001")
    assert same(loaded.state, small_state(1))
    (message,) = loaded.messages
    assert "step-00000002" in message
    return message


# There and back


def test_floats_keep_every_bit(tmp_path: Path) -> None:
    """NaN with its payload and sign, infinities, minus zero and subnormals come back as they were."""
    odd_nan = struct.unpack("d", struct.pack("Q", 0xFFF8_0000_0000_1234))[0]
    state = {"f": [odd_nan, float("nan"), float("inf"), -float("inf"), -0.0, 0.0, 5e-324, 0.1, 1e308, 1e16, 1 / 3]}
    assert same(through_disk(state, tmp_path / "c"), state)


def test_kinds_are_kept_apart(tmp_path: Path) -> None:
    """True is not 1, 1 is not 1.0 or "1", a tuple is no list, an int key no str key; order is kept."""
    state = {
        "values": [
            True,
            1,
            1.0,
            "1",
            None,
            b"\x00\xff",
            (),
            [],
            {},
            2**63,
            -(2**63) - 1,
            10**6000,
            "\ud83d\udcff",
            "文",
        ],
        "keys": {1: "a", "1": "b", None: "c", (1, "x"): "d", 2.5: "e", b"k": "f", "\udc80": "g"},
        "like tags": {"tuple": [1], "tensor": "x"},
    }
    assert same(through_disk(state, tmp_path / "c"), state)


@pytest.mark.parametrize(
    "dtype",
    ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"]
    + ["complex128", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"],
)
def test_tensors_of_each_dtype_come_back(tmp_path: Path, dtype: str) -> None:
    """Empty, 0-d and larger tensors of every dtype come back with their bits."""
    kind = getattr(torch, dtype)
    raw = torch.randint(0, 2, (3, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    full = raw.bool() if kind == torch.bool else raw.view(kind)
    state = {"full": full, "scalar": full.reshape(-1)[0], "empty": full[:0]}
    assert same(through_disk(state, tmp_path / "c"), state)


def test_odd_layouts_come_back_dense(tmp_path: Path) -> None:
    """Non-contiguous, expanded, conjugated and tied tensors come back with their values, each on its own."""
    base = torch.arange(12.0).reshape(3, 4)
    shared = {"t": base.t(), "row": base[1], "all": base, "again": base, "wide": torch.ones(1).expand(5)}
    state = {
        **shared,
        "conj": torch.tensor([1 + 2j]).conj(),
        "last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    back = through_disk(state, tmp_path / "c")
    assert same(back, state)
    back["all"].zero_()
    assert back["again"][0, 1] == 1


def test_paths_that_look_alike_stay_apart(tmp_path: Path) -> None:
    """Slashes in keys, int and str keys of one look and the reserved name of safetensors do not collide."""
    one = torch.ones(1)
    state = {
        "a/b": one,
        "a": {"b": one * 2, 0: one * 3, "0": one * 4},
        "__metadata__": one * 5,
        "": one * 6,
        "\udc80": one,
    }
    assert same(through_disk(state, tmp_path / "c"), state)


def test_arrays_come_back(tmp_path: Path) -> None:
    """Numpy arrays and scalars keep dtype, byte order, shape and bits, and can be written to."""
    state = {
        "big-endian": np.arange(6, dtype=">i4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "0-d": np.array(3, dtype=np.uint16),
        "text": np.array(["a", "bcd"]),
        "time": np.array(["2026-01-01"], dtype="datetime64[s]"),
        "scalars": [np.float64(-0.0), np.float32(1.5), np.int64(3), np.bool_(True)],
        "empty": np.zeros((0, 3), dtype=complex),
    }
    back = through_disk(state, tmp_path / "c")
    assert same(back, state)
    back["fortran"][0, 0] = 9


Point = namedtuple("Point", "x")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: {1, 2}, "builtins.set"),
        (lambda: object(), "builtins.object"),
        (lambda: Point(1), "Point"),
        (lambda: np.array([object()]), "object"),
        (lambda: np.ma.masked_array([1], [True]), "MaskedArray"),
        (lambda: torch.float32, "dtype"),
        (lambda: torch.eye(2).to_sparse(), "sparse"),
        (lambda: torch.empty(2, device="meta"), "meta"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8), "quantised"),
        (lambda: {Point(1): 1}, "Point"),
        (lambda: {frozenset(): 1}, "frozenset"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_stored_is_named(tmp_path: Path, make: Callable[[], Any], name: str) -> None:
    """A value of another kind is refused with its path and kind, before anything is written."""
    with pytest.raises(CheckpointError, match=name) as caught:
        checkpoints.save(tmp_path / "c", {"model": {"odd": make()}}, step=1)
    assert "model/odd" in caught.value.where
    assert not (tmp_path / "c").exists()


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())
seeds = st.integers(0, 2**31)
tensor_leaves = seeds.map(lambda seed: torch.randn(seed % 5, 2, generator=torch.Generator().manual_seed(seed)))
array_leaves = seeds.map(lambda seed: np.random.default_rng(seed).integers(0, 9, (2, seed % 4)))
trees = st.recursive(
    scalars | tensor_leaves | array_leaves,
    lambda below: st.one_of(
        st.lists(below, max_size=4),
        st.lists(below, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=4), st.integers(), st.booleans()), below, max_size=4),
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
def test_any_nested_state_comes_back(tmp_path: Path, tree: Any) -> None:
    """Any nesting of plain values, tensors and arrays comes back to the bit."""
    assert same(through_disk({"tree": tree}, tmp_path / "c"), {"tree": tree})


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_real_run_goes_on_as_if_never_stopped(tmp_path: Path, name: str) -> None:
    """Model, optimizer and random states loaded into new objects give the same further steps, bit for bit."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(8, 4), torch.randn(8, 1)

    def start() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
        return model, OPTIMIZERS[name](model.parameters())

    def go(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            value = nn.functional.mse_loss(model(inputs), targets) + random.random() * np.random.rand()
            value.backward()
            return value

        for _ in range(4):
            optimizer.step(loss)

    model, optimizer = start()
    go(model, optimizer)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "torch": torch.get_rng_state()}
    state |= {"python": random.getstate(), "numpy": np.random.get_state(legacy=False)}
    state |= {"generator": np.random.default_rng(3).bit_generator.state}
    checkpoints.save(tmp_path / "c", state, step=4)
    go(model, optimizer)

    loaded = checkpoints.load(tmp_path / "c").state
    again, its_optimizer = start()
    again.load_state_dict(loaded["model"])
    its_optimizer.load_state_dict(loaded["optimizer"])
    torch.set_rng_state(loaded["torch"])
    random.setstate(loaded["python"])
    np.random.set_state(loaded["numpy"])
    go(again, its_optimizer)
    assert checkpoints.digest_of(again.state_dict()) == checkpoints.digest_of(model.state_dict())
    assert same(its_optimizer.state_dict(), optimizer.state_dict())


# Generations


def test_the_newest_is_loaded_and_two_are_kept(tmp_path: Path) -> None:
    """Of five saves the last two stay, or as many as asked; `step` picks one of them."""
    for step in range(1, 6):
        path = checkpoints.save(tmp_path / "c", small_state(step), step=step)
    assert names_in(tmp_path / "c") == ["step-00000004", "step-00000005"]
    assert path == tmp_path / "c" / "step-00000005"
    assert checkpoints.load(tmp_path / "c").step == 5
    assert same(checkpoints.load(tmp_path / "c", step=4).state, small_state(4))
    checkpoints.save(tmp_path / "c", small_state(6), step=6, keep=3)
    assert names_in(tmp_path / "c") == ["step-00000004", "step-00000005", "step-00000006"]


def test_a_damaged_generation_does_not_count_as_kept(tmp_path: Path) -> None:
    """Two whole generations stay beside one whose file went missing."""
    two_generations(tmp_path)
    (tmp_path / "step-00000002" / "state.json").unlink()
    checkpoints.save(tmp_path, small_state(3), step=3)
    assert names_in(tmp_path) == ["step-00000001", "step-00000002", "step-00000003"]
    checkpoints.save(tmp_path, small_state(4), step=4)
    assert names_in(tmp_path) == ["step-00000003", "step-00000004"]


def test_going_back_starts_a_new_history(tmp_path: Path) -> None:
    """Saving an earlier step than there is makes it the newest; a step saved twice never replaces a whole one."""
    two_generations(tmp_path)
    checkpoints.save(tmp_path, small_state(3), step=3)
    assert checkpoints.save(tmp_path, small_state(22), step=2).name == "step-00000002.r2"
    assert names_in(tmp_path) == ["step-00000002", "step-00000002.r2"]
    assert same(checkpoints.load(tmp_path).state, small_state(22))
    assert same(checkpoints.load(tmp_path, step=2).state, small_state(22))


def test_nothing_there_says_so(tmp_path: Path) -> None:
    """No folder, an empty one and a step that is not there each give an error with a cure."""
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(CheckpointError, match="expected a checkpoint, got none; steps there: none") as caught:
            checkpoints.load(folder)
        assert "Train first" in caught.value.cure
    two_generations(tmp_path)
    with pytest.raises(CheckpointError, match="checkpoint of step 9, got none; steps there: 1, 2"):
        checkpoints.load(tmp_path, step=9)


def test_a_chosen_step_is_never_replaced_by_another(tmp_path: Path) -> None:
    """A damaged generation that was asked for by its step is an error, not a reason to take another."""
    (two_generations(tmp_path) / "state.json").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"state.json: expected \d+ bytes, found 0 bytes"):
        checkpoints.load(tmp_path, step=2)


def test_none_whole_lists_what_was_found(tmp_path: Path) -> None:
    """With every generation damaged, the error says what is wrong with each."""
    (two_generations(tmp_path) / "state.json").unlink()
    (tmp_path / "step-00000001" / "extra.txt").write_text("x")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(tmp_path)
    assert re.search(r"step-00000002 .*state.json: expected \d+ bytes, found no such file", caught.value.got)
    assert "extra.txt: expected no such file, found 1 bytes" in caught.value.got


@pytest.mark.parametrize(("step", "keep"), [(-1, 2), (1, 1)])
def test_too_small_numbers_are_refused(tmp_path: Path, step: int, keep: int) -> None:
    """A negative step and fewer than two generations are misuse."""
    with pytest.raises(UsageError, match="at least"):
        checkpoints.save(tmp_path, {}, step=step, keep=keep)


def test_strays_of_dead_processes_go(tmp_path: Path) -> None:
    """What a dead process left half-written goes at the next load or save; a living one's stays."""
    two_generations(tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for act in (lambda: checkpoints.load(tmp_path), lambda: checkpoints.save(tmp_path, {}, step=3)):
        for pid in (dead.pid, os.getpid(), os.getppid(), 10**9 + 7, 10**10 - 1):
            (tmp_path / f".step-00000009.tmp-{pid}").mkdir(exist_ok=True)
        act()
        assert [name for name in names_in(tmp_path) if name[0] == "."] == [f".step-00000009.tmp-{os.getppid()}"]


# Damage


def test_every_flipped_bit_is_named(tmp_path: Path) -> None:
    """One flipped bit at each of 1,000 places: found, file and tensor named, the generation before used."""
    newest = two_generations(tmp_path)
    content = {name: (newest / name).read_bytes() for name in FILES}
    tensors = json.loads(content["manifest.json"])["tensors"]
    generator = random.Random(0)
    silent = 0
    for _ in range(1000):
        name = generator.choice(FILES)
        place = generator.randrange(len(content[name]))
        flipped = bytearray(content[name])
        flipped[place] ^= 1 << generator.randrange(8)
        (newest / name).write_bytes(flipped)
        message = assert_first_is_used(tmp_path)
        (newest / name).write_bytes(content[name])
        assert name in message
        if name == "tensors.safetensors":
            hit = [tensor for tensor, part in tensors.items() if part["begin"] <= place < part["end"]]
            assert (f"tensor `{hit[0]}`:" if hit else "header:") in message
            if hit:  # the twin: without our digest nobody would have seen it
                safetensors.torch.load(bytes(flipped))
                silent += 1
    assert silent > 100
    assert checkpoints.load(tmp_path).messages == ()


def test_every_truncation_is_named(tmp_path: Path) -> None:
    """Each file cut at 200 lengths: found, the file named, the generation before used."""
    newest = two_generations(tmp_path)
    generator = random.Random(1)
    for _ in range(200):
        name = generator.choice(FILES)
        whole = (newest / name).read_bytes()
        (newest / name).write_bytes(whole[: generator.randrange(len(whole))])
        assert name in assert_first_is_used(tmp_path)
        (newest / name).write_bytes(whole)


def swap(newest: Path) -> None:
    (newest / "state.json").rename(newest / "x")
    (newest / "tensors.safetensors").rename(newest / "state.json")
    (newest / "x").rename(newest / "tensors.safetensors")


def fifo(newest: Path) -> None:
    (newest / "state.json").unlink()
    os.mkfifo(newest / "state.json")


def link(newest: Path) -> None:
    (newest / "state.json").rename(newest.parent / "elsewhere.json")
    (newest / "state.json").symlink_to(newest.parent / "elsewhere.json")


def folder_link(newest: Path) -> None:
    newest.rename(newest.parent / "elsewhere")
    newest.symlink_to(newest.parent / "elsewhere")


def from_before(name: str, newest: Path) -> None:
    shutil.copy(newest.parent / "step-00000001" / name, newest / name)


DAMAGE = {
    "swapped files": (swap, "state.json: expected"),
    "added file": (lambda p: (p / "more.bin").write_bytes(b"x"), "more.bin: expected no such file"),
    "added folder": (lambda p: (p / "more").mkdir(), "more: expected a plain file, found a folder"),
    "missing manifest": (lambda p: (p / "manifest.json").unlink(), "manifest.json: expected a file, found none"),
    "missing tensors": (lambda p: (p / "tensors.safetensors").unlink(), "tensors.safetensors: expected"),
    "old manifest, new data": (lambda p: from_before("manifest.json", p), "manifest.json: expected step 2"),
    "new manifest, old tensors": (lambda p: from_before("tensors.safetensors", p), "tensors.safetensors, tensor `"),
    "new manifest, old state": (lambda p: from_before("state.json", p), "state.json: expected SHA-256"),
    "symbolic link": (link, "state.json: expected a plain file, found a symbolic link"),
    "linked folder": (folder_link, "expected a folder, found a link"),
    "FIFO": (fifo, "state.json: expected a plain file, found a special file"),
    "a file in its place": (lambda p: (shutil.rmtree(p), p.write_text("")), "expected a folder"),
    "empty folder": (lambda p: (shutil.rmtree(p), p.mkdir()), "manifest.json: expected a file"),
    "huge manifest": (lambda p: os.truncate(p / "manifest.json", 2**27), "manifest.json: expected at most"),
    "zeroed tensors": (
        lambda p: (p / "tensors.safetensors").write_bytes(bytes((p / "tensors.safetensors").stat().st_size)),
        "and 1 more: expected SHA-256",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_other_damage_is_named(tmp_path: Path, kind: str) -> None:
    """Swapped, added, missing, linked and mixed files: found, named, the generation before used."""
    damage, said = DAMAGE[kind]
    newest = two_generations(tmp_path)
    damage(newest)
    assert said in assert_first_is_used(tmp_path)


def test_a_renamed_generation_is_found_out(tmp_path: Path) -> None:
    """A generation under the name of another step is not taken for it."""
    two_generations(tmp_path).rename(tmp_path / "step-00000005")
    message = checkpoints.load(tmp_path).messages[0]
    assert "manifest.json: expected step 5 as the folder's name says, found 2" in message


def reseal(manifest: Path, body: Any) -> None:
    """Write a manifest with a digest of its own that is right."""
    text = json.dumps(body, indent=1).removesuffix("\n}").encode()
    manifest.write_bytes(text + b',\n"sha256": "' + hashlib.sha256(text).hexdigest().encode() + b'"\n}\n')


FIELDS = [
    *(("format",), ("netwright",), ("torch",), ("step",), ("files",), ("tensors",)),
    *(("files", "state.json"), ("files", "state.json", "size"), ("files", "state.json", "sha256")),
    *(("files", "tensors.safetensors"), ("files", "tensors.safetensors", "sha256")),
    *(("tensors", "model/fc.bias", key) for key in ("begin", "end", "sha256")),
]


@pytest.mark.parametrize("field", FIELDS, ids="/".join)
def test_each_field_of_the_manifest_is_needed(tmp_path: Path, field: tuple[str, ...]) -> None:
    """A save that left out any one field or digest of the manifest would be refused when loading."""
    manifest = two_generations(tmp_path) / "manifest.json"
    body = json.loads(manifest.read_text())
    del body["sha256"]
    reseal(manifest, body)
    assert checkpoints.load(tmp_path).step == 2  # the twin: sealed again with nothing left out
    inner = body
    for key in field[:-1]:
        inner = inner[key]
    del inner[field[-1]]
    reseal(manifest, body)
    assert "manifest.json" in assert_first_is_used(tmp_path)


def test_the_digest_of_the_manifest_is_needed(tmp_path: Path) -> None:
    """A manifest without its own digest is damaged."""
    manifest = two_generations(tmp_path) / "manifest.json"
    body = json.loads(manifest.read_text())
    del body["sha256"]
    manifest.write_text(json.dumps(body))
    assert "expected to end with its own SHA-256" in assert_first_is_used(tmp_path)


@pytest.mark.parametrize("body", [[], 3, "x", {"format": "new"}, {"format": 0}, {"format": True}])
def test_a_sealed_manifest_of_another_shape_is_damage(tmp_path: Path, body: Any) -> None:
    """What is no manifest is refused even with a right digest."""
    reseal(two_generations(tmp_path) / "manifest.json", body)
    assert "manifest.json" in assert_first_is_used(tmp_path)


def test_a_later_format_is_refused_not_passed_over(tmp_path: Path) -> None:
    """A whole generation of a later netwright is an error with its cure: going back would lose work in silence."""
    manifest = two_generations(tmp_path) / "manifest.json"
    reseal(manifest, {"format": 2, "netwright": "9.0", "anything": 1})
    with pytest.raises(CheckpointError, match="format 2 of netwright 9.0") as caught:
        checkpoints.load(tmp_path)
    assert "pip install --upgrade netwright" in caught.value.cure


STATES = [
    '{"pickle":"gASV"}',
    '{"tuple":[1],"dict":[]}',
    '{"dict":[[[],1]]}',
    '{"tensor":"no such"}',
    '{"tensor":["model/fc.bias"]}',
    '{"array":["model/fc.bias","O",[10]]}',
    '{"tensor_bytes":["model/fc.bias","nn",[10]]}',
    '{"array":["model/fc.bias","<f4",[3]]}',
    '{"int":"zz"}',
    '{"float":"00"}',
    '{"str":7}',
    "[" * 100_000,
    "nonsense",
    "1",
]


@pytest.mark.parametrize("text", STATES, ids=range(len(STATES)))
def test_a_forged_state_is_data_or_damage(tmp_path: Path, text: str) -> None:
    """A state written by another hand, with all digests right, names no code and raises nothing undeclared."""
    newest = two_generations(tmp_path)
    (newest / "state.json").write_text(text)
    body = json.loads((newest / "manifest.json").read_text())
    del body["sha256"]
    body["files"]["state.json"] = {"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    reseal(newest / "manifest.json", body)
    assert "state.json: expected a stored state" in assert_first_is_used(tmp_path)


# Weights


class Tied(nn.Module):
    """An embedding whose weights are those of the output layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.out = nn.Linear(3, 5)
        self.out.weight = self.embed.weight


def test_weights_load_with_safetensors_alone(tmp_path: Path) -> None:
    """One file, copied anywhere, is taken strictly by the plain module, tied tensors under both names."""
    model = Tied()
    checkpoints.write_weights(tmp_path / "weights.safetensors", model.state_dict())
    copy = shutil.copy(tmp_path / "weights.safetensors", tmp_path / "copy.safetensors")
    plain = safetensors.torch.load_file(copy)
    assert set(plain) == set(model.state_dict())
    assert Tied().load_state_dict(plain).missing_keys == []
    assert checkpoints.digest_of(plain) == checkpoints.digest_of(model.state_dict())
    assert checkpoints.digest_of(checkpoints.read_weights(Path(copy))) == checkpoints.digest_of(model.state_dict())
    assert names_in(tmp_path) == ["copy.safetensors", "weights.safetensors"]


def test_every_flipped_bit_of_weights_is_found(tmp_path: Path) -> None:
    """Each byte of a file of weights with one bit flipped, and 50 truncations: refused, the file named."""
    path = tmp_path / "weights.safetensors"
    checkpoints.write_weights(path, Tied().state_dict())
    whole = path.read_bytes()
    generator = random.Random(2)
    damaged = [whole[: generator.randrange(len(whole))] for _ in range(50)]
    for place in range(len(whole)):
        damaged.append(whole[:place] + bytes([whole[place] ^ 1 << generator.randrange(8)]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
            checkpoints.read_weights(path)


def test_weights_of_another_origin_are_not_taken_for_checked(tmp_path: Path) -> None:
    """A file without our digest and a missing one are refused with a cure."""
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="of another origin"):
        checkpoints.read_weights(tmp_path / "w.safetensors")
    with pytest.raises(MissingFileError, match="Train first"):
        checkpoints.read_weights(tmp_path / "none.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.read_weights(tmp_path / "folder")


@pytest.mark.parametrize("value", [{"a": 1}, torch.ones(1, dtype=torch.complex128)])
def test_weights_that_safetensors_has_not_are_named(tmp_path: Path, value: Any) -> None:
    """An extra state or an odd dtype among the weights is named with its cure."""
    with pytest.raises(CheckpointError, match="`layer._extra_state` in the weights"):
        checkpoints.write_weights(tmp_path / "w.safetensors", {"layer._extra_state": value})


def test_digest_tells_weights_apart() -> None:
    """Order, layout and device memory do not change the digest; a name, dtype, shape or bit does."""
    base = {"a": torch.arange(4.0).reshape(2, 2), "b": torch.zeros(2)}
    digest = checkpoints.digest_of(base)
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert checkpoints.digest_of(OrderedDict(b=torch.zeros(2), a=base["a"].t().contiguous().t())) == digest
    others = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"].double(), "b": base["b"]},
        {"a": base["a"].reshape(4), "b": base["b"]},
        {"a": base["a"], "b": -base["b"]},
        {"a": base["a"]},
        {"a": base["b"], "b": base["a"]},
    ]
    assert len({digest, *map(checkpoints.digest_of, others)}) == 7


def test_small_files_are_replaced_whole(tmp_path: Path) -> None:
    """Text and bytes replace the file before and leave nothing beside; strays of dead processes go."""
    path = tmp_path / "plan.json"
    (tmp_path / f".plan.json.tmp-{os.getpid()}").write_text("half")
    (tmp_path / ".other.json.tmp-1").write_text("another's")
    atomic_write_text(path, "größe\r\n文")
    assert path.read_bytes() == "größe\r\n文".encode()
    atomic_write_bytes(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert names_in(tmp_path) == [".other.json.tmp-1", "plan.json"]


# A disk that refuses


class FailingDisk:
    """The real disk, but operation number ``at`` (and all later ones where ``stays``) raises; a write is cut short.

    Enough because every operation the product has goes through these eight.
    """

    def __init__(self, at: int, code: int, *, only: str = "", stays: bool = False, free: int | None = None) -> None:
        self.at, self.code, self.only, self.stays, self.free = at, code, only, stays, free
        self.count = 0
        self.failed = False

    def _fails(self, kind: str) -> bool:
        if self.only and not kind.startswith(self.only):
            return False
        fails = self.count == self.at or (self.stays and self.count > self.at)
        self.count += 1
        self.failed = self.failed or fails
        return fails

    def _check(self, kind: str) -> None:
        if self._fails(kind):
            raise OSError(self.code, os.strerror(self.code))

    def make_folder(self, path: Path) -> None:
        self._check("make")
        DISK.make_folder(path)

    def write_file(self, path: Path, content: bytes) -> None:
        if self._fails("write"):
            DISK.write_file(path, content[: len(content) // 2])
            raise OSError(self.code, os.strerror(self.code))
        DISK.write_file(path, content)

    def read_file(self, path: Path) -> bytes:
        self._check("read")
        return DISK.read_file(path)

    def fsync_file(self, path: Path) -> None:
        self._check("fsync file")
        DISK.fsync_file(path)

    def fsync_folder(self, path: Path) -> None:
        self._check("fsync folder")
        DISK.fsync_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        self._check("rename")
        DISK.rename(source, target)

    def remove(self, path: Path) -> None:
        self._check("remove")
        DISK.remove(path)

    def free_bytes(self, path: Path) -> int:
        self._check("free")
        return DISK.free_bytes(path) if self.free is None else self.free


def assert_says_all(error: RunError, folder: Path) -> None:
    """The four parts, with the path, the bytes needed and the bytes free."""
    assert str(folder) in error.where
    assert re.search(r"to write [\d,]+ bytes|the bytes that were written|to remove older checkpoints", error.expected)
    assert re.search(r"[\d,]+ bytes free|free bytes unknown|others: ", error.got)
    assert error.cure


@pytest.mark.parametrize("stays", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_a_fault_at_any_operation_leaves_the_old_generation(tmp_path: Path, code: int, stays: bool) -> None:
    """Each operation of a save fails in turn: the old or new one loads, nothing half-written stays."""
    for at in range(100):
        folder = tmp_path / str(at)
        two_generations(folder)
        disk = FailingDisk(at, code, stays=stays)
        try:
            checkpoints.save(folder, small_state(3), step=3, disk=disk)
            saved = True
        except RunError as error:
            saved = False
            assert_says_all(error, folder)
            assert os.strerror(code) in str(error)
            committed = "The new checkpoint is whole" in error.cure
        loaded = checkpoints.load(folder)
        assert same(loaded.state, small_state(loaded.step))
        if not stays:  # a disk that is gone for good cannot remove what it left either
            assert loaded.step == (3 if saved or committed else 2)
            assert not [name for name in names_in(folder) if name.startswith(".")]
        checkpoints.save(folder, small_state(4), step=4)
        assert names_in(folder)[-1] == "step-00000004"
        assert not [name for name in names_in(folder) if name.startswith(".")]
        if not disk.failed:
            break
    assert saved
    assert at > 15


@pytest.mark.parametrize("kind", ["write", "fsync file", "fsync folder", "rename", "free"])
def test_a_fault_while_writing_weights_leaves_the_old_ones(tmp_path: Path, kind: str) -> None:
    """Any refused operation leaves a whole file of weights and nothing beside it."""
    path = tmp_path / "weights.safetensors"
    checkpoints.write_weights(path, {"a": torch.zeros(9)})
    with pytest.raises(RunError) as caught:
        checkpoints.write_weights(path, {"a": torch.ones(9)}, disk=FailingDisk(0, errno.EIO, only=kind))
    assert_says_all(caught.value, path)
    assert names_in(tmp_path) == ["weights.safetensors"]
    assert checkpoints.read_weights(path)["a"].sum() == (9 if kind == "fsync folder" else 0)


def test_too_little_space_is_found_before_writing(tmp_path: Path) -> None:
    """With less space than the state needs, nothing is written, and both figures are told."""
    two_generations(tmp_path)
    with pytest.raises(
        RunError, match=r"(?s)to write 4,\d\d\d,\d\d\d bytes.*No space left.*; 1,000 bytes free"
    ) as caught:
        checkpoints.save(tmp_path, {"w": torch.ones(1_000_000)}, step=3, disk=FailingDisk(-1, 0, free=1000))
    assert "Free space on this disk" in caught.value.cure
    assert names_in(tmp_path) == ["step-00000001", "step-00000002"]


def test_an_unreadable_file_is_damage(tmp_path: Path) -> None:
    """A disk error while reading is told, and the generation before is used."""
    two_generations(tmp_path)
    loaded = checkpoints.load(tmp_path, disk=FailingDisk(1, errno.EIO, only="read"))
    assert loaded.step == 1
    assert "tensors.safetensors: expected a file that can be read, found: Input/output error" in loaded.messages[0]


class LyingDisk(FailingDisk):
    """A disk that gives back other bytes than were written."""

    def read_file(self, path: Path) -> bytes:
        content = super().read_file(path)
        return content[:-1] + bytes([content[-1] ^ 1]) if path.name == "state.json" else content


def test_a_disk_that_lies_is_found_out_before_the_old_goes(tmp_path: Path) -> None:
    """Bytes that read back otherwise fail the save; no generation appears and none is removed."""
    two_generations(tmp_path)
    with pytest.raises(CheckpointError, match="expected the bytes that were written") as caught:
        checkpoints.save(tmp_path, small_state(3), step=3, disk=LyingDisk(-1, 0))
    assert "state.json: expected SHA-256" in caught.value.got
    assert names_in(tmp_path) == ["step-00000001", "step-00000002"]


class VanishingDisk(FailingDisk):
    """A disk on which another process saves while this one reads: generation 2 goes, 3 comes."""

    def read_file(self, path: Path) -> bytes:
        if path.parent.name == "step-00000002":
            shutil.rmtree(path.parent)
            checkpoints.save(path.parent.parent, small_state(3), step=3)
        return super().read_file(path)


def test_reading_while_another_process_saves(tmp_path: Path) -> None:
    """A generation that is removed under the reader is no damage: the folder is listed again."""
    checkpoints.save(tmp_path, small_state(2), step=2)
    loaded = checkpoints.load(tmp_path, disk=VanishingDisk(-1, 0))
    assert (loaded.step, loaded.messages) == (3, ())


@pytest.mark.skipif(sys.platform != "linux", reason="what cannot be flushed is Linux's")
def test_the_real_disk_flushes() -> None:
    """Flushing reaches the system: it refuses to flush what has no disk below."""
    with pytest.raises(OSError, match="Invalid argument"):
        DISK.fsync_file(Path("/dev/null"))
    with pytest.raises(OSError, match="Invalid argument"):
        DISK.fsync_folder(Path("/proc"))


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    """A loop of links in the folder's place is an error of the disk, not an absence of checkpoints."""
    (tmp_path / "c").symlink_to(tmp_path / "c")
    with pytest.raises(RunError, match=r"to list the checkpoints, got .*ELOOP"):
        checkpoints.load(tmp_path / "c")


def test_a_path_under_a_file_is_refused(tmp_path: Path) -> None:
    """A run folder that cannot be made gives the error with its four parts."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        checkpoints.save(tmp_path / "file" / "c", {}, step=1)
    assert_says_all(caught.value, tmp_path / "file" / "c")


def mounted(folder: Path, *arguments: str) -> None:
    """Mount something on a folder, or skip."""
    done = (
        subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True)
        if shutil.which("mount")
        else None
    )
    if done is None or done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip() if done else 'no mount'}")


def test_a_real_full_disk(tmp_path: Path) -> None:
    """On a real disk that fills while writing, the old generation is whole and the next small save works."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted(folder, "-t", "tmpfs", "-o", "size=512k", "tmpfs")
    try:
        two_generations(folder / "c")
        for disk in (DISK, FailingDisk(-1, 0, free=2**40)):  # found ahead; and met while writing
            with pytest.raises(RunError, match="No space left") as caught:
                checkpoints.save(folder / "c", {"w": torch.ones(200_000)}, step=3, disk=disk)
            assert_says_all(caught.value, folder)
            assert names_in(folder / "c") == ["step-00000001", "step-00000002"]
        checkpoints.save(folder / "c", small_state(4), step=4)
        assert checkpoints.load(folder / "c").step == 4
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_real_read_only_folder(tmp_path: Path) -> None:
    """From a folder that can only be read, load works and save says why it cannot."""
    folder = tmp_path / "c"
    two_generations(folder)
    if os.geteuid():
        folder.chmod(0o500)
    else:
        mounted(folder, "--bind", "-o", "ro", str(folder))
        if os.access(folder, os.W_OK):
            subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=False)
    try:
        with pytest.raises(RunError, match="Read-only file system|Permission denied") as caught:
            checkpoints.save(folder, small_state(3), step=3)
        assert_says_all(caught.value, folder)
        assert same(checkpoints.load(folder).state, small_state(2))
    finally:
        folder.chmod(0o700) if os.geteuid() else subprocess.run(["umount", str(folder)], check=True)


# Other processes

PREAMBLE = """
import json, os, random, resource, signal, sys, time
from pathlib import Path
import torch
from netwright import checkpoints
from netwright.errors import RunError
torch.set_num_threads(1)
folder = Path(sys.argv[1])
def state_of(step):
    return {"step": step, "w": torch.full((5000,), float(step)), "notes": [step] * 500}
"""


def in_child(script: str, folder: Path) -> list[Any]:
    """Run a script in a process of its own; the JSON lines it printed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(checkpoints.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on file size")
def test_a_limit_on_file_size(tmp_path: Path) -> None:
    """A write cut short by the system (EFBIG) fails with its cure, leaves nothing, and a small save works after."""
    script = """
        checkpoints.save(folder, state_of(1), step=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            checkpoints.save(folder, {"w": torch.ones(100_000)}, step=2)
        except RunError as error:
            print(json.dumps([str(error), os.listdir(folder), checkpoints.load(folder).step]))
        checkpoints.save(folder, state_of(3), step=3)
        print(checkpoints.load(folder).step)
    """
    (message, names, step), after = in_child(script, tmp_path)
    assert "File too large (EFBIG)" in message
    assert "ulimit -f unlimited" in message
    assert (names, step, after) == (["step-00000001"], 1, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_in_the_middle_of_saving(tmp_path: Path) -> None:
    """Twenty-five kills at random moments of a save loop: always whole, never older than what `save` returned for."""
    script = """
        generator, step = random.Random(0), 0
        for kill in range(25):
            out, back = os.pipe()
            child = os.fork()
            if child == 0:
                while True:
                    step += 1
                    checkpoints.save(folder, state_of(step), step=step)
                    os.write(back, step.to_bytes(8, "little"))
            os.close(back)
            first = os.read(out, 8)
            time.sleep(generator.random() * 0.03)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            returned = first
            while chunk := os.read(out, 8):
                returned = chunk
            os.close(out)
            strays = len([n for n in os.listdir(folder) if n.startswith(".")])
            loaded = checkpoints.load(folder)
            marks = {loaded.step, loaded.state["step"], *loaded.state["notes"], *loaded.state["w"].unique().tolist()}
            left = [n for n in os.listdir(folder) if n.startswith(".")]
            last = int.from_bytes(returned, "little")
            print(json.dumps([last, loaded.step, len(marks), loaded.messages, strays, left]))
            step = loaded.step
    """
    rows = in_child(script, tmp_path)
    assert len(rows) == 25
    for returned, step, marks, messages, _, left in rows:
        assert step in (returned, returned + 1)
        assert (marks, messages, left) == (1, [], [])
    assert any(row[4] for row in rows), "no kill fell into a save"
