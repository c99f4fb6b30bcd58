"""Log-mel spectra as preprocessing: the layer's numbers, kept once, the same in training as of a single sound."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import netwright as nw
from netwright.binding import bind
from netwright.blocks import LogMel
from netwright.data import sound_source, spectra
from netwright.data.batches import train_batches
from netwright.errors import DataError
from netwright.frames import find_frames
from netwright.log_mel import LogMelSpectrum, log_mel, usual
from netwright.preprocess import sample
from netwright.sounds import DecodeSound, decode_sound, read_header

RATE = 8_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tones of 20 to 170 ms in two classes."""
    random = np.random.default_rng(0)
    for index in range(16):
        steps = np.arange(160 + 80 * index + index)
        wave = 0.3 * np.sin(steps * (0.2, 0.7)[index % 2]) + random.normal(0, 0.01, len(steps))
        place = tmp_path / "tones" / ("low", "high")[index % 2] / f"{index:02}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, wave, RATE, subtype="PCM_16")
    return tmp_path / "tones"


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("size", [1, 79, 80, 81, 5_000])
def test_spectra_are_those_of_the_layer(rate: int, size: int) -> None:
    """As many frames, and the same numbers to rounding, of a sound shorter than a frame too."""
    wave = np.random.default_rng(size).normal(0, 0.1, size).astype(np.float32)
    wanted, frames = LogMel(rate)(torch.from_numpy(wave)[None])
    found = log_mel(usual(rate, 40), wave)
    assert found.shape == (int(frames[0]), 40)
    np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-4)


@pytest.mark.parametrize("kept", [True, False])
def test_a_batch_holds_what_single_sounds_give(folder: Path, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded with zeros, with lengths and mask; of spectra that are kept, and of those made when asked for."""
    monkeypatch.setattr("netwright.data.sound.MEMORY_LIMIT_BYTES", sound_source.MEMORY_LIMIT_BYTES if kept else 0)
    monkeypatch.setattr(spectra, "AT_ONCE", 2_000)  # several groups, and no sound alone
    data = nw.load(folder, mel_bands=12, val_fraction=0, test_fraction=0)
    assert (data.train.spectra is not None) == kept
    assert [(one.name, one.shape) for one in data.spec.inputs] == [
        ("log_mel", (-1, 12)),
        ("lengths", ()),
        ("mask", (-1,)),
    ]
    where = np.asarray([3, 0, 15])
    inputs, _ = data.train.gather(where)
    for row, index in enumerate(where):
        single = sample(data.spec.preprocess, folder / data.train.name(index))["log_mel"]
        assert int(inputs["lengths"][row]) == len(single) == data.train.lengths[index]
        np.testing.assert_allclose(inputs["log_mel"][row, : len(single)], single, atol=1e-4)
        assert not inputs["log_mel"][row, len(single) :].any()
        assert inputs["mask"][row].sum() == len(single)


def test_a_split_takes_the_spectra_of_its_sounds(folder: Path) -> None:
    """Splits share what is kept, and each finds its own."""
    data = nw.load(folder, mel_bands=12, val_fraction=0.25, test_fraction=0.25)
    for source in (data.train, data.val, data.test):
        for index in range(len(source)):
            single = sample(data.spec.preprocess, folder / source.name(index))["log_mel"]
            np.testing.assert_allclose(source.log_mel(index), single, atol=1e-4)


def test_sounds_are_read_many_at_a_time_and_long_ones_few(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their samples, so that memory is bounded; some between them cannot be read. The numbers stay."""
    (folder / "low" / "06.wav").write_bytes(b"no sound")
    (folder / "low" / "00.wav").write_bytes(struct.pack("<4sI4s", b"RIFF", 4, b"WAVE"))
    held: list[int] = []

    def counted(operation: LogMelSpectrum, waves: list[NDArray[np.int16]], **more: Any) -> NDArray[np.float32]:
        held.append(len(waves))
        return spectra.spectra_of_sounds(operation, waves, **more)

    monkeypatch.setattr(sound_source, "spectra_of_sounds", counted)
    options = {"mel_bands": 12, "val_fraction": 0, "test_fraction": 0, "max_unreadable": 0.2}
    many = nw.load(folder, **options)
    assert held == [14]
    held.clear()
    size = int(many.train.sizes.mean())
    monkeypatch.setattr(sound_source, "TOGETHER_SAMPLES", 4 * size)
    few = nw.load(folder, **options)
    assert sum(held) == 14
    assert max(held) <= 4
    assert few.spec.digest == many.spec.digest
    for index in range(14):
        np.testing.assert_array_equal(few.train.sound(index), many.train.sound(index))
        np.testing.assert_allclose(few.train.log_mel(index), many.train.log_mel(index), atol=1e-4)


def test_later_epochs_read_no_file(folder: Path) -> None:
    """The files may be gone once they were loaded."""
    data = nw.load(folder, mel_bands=12, val_fraction=0, test_fraction=0)
    for path in folder.rglob("*.wav"):
        path.unlink()
    batches = list(train_batches(data, batch_size=4, seed=0, epoch=1, augment=(), workers=0))
    assert sum(len(one) for one in batches) == 16


def test_augmented_sounds_become_spectra_anew(folder: Path) -> None:
    """Samples are moved, and then transformed: no frame is that of the sound as it was."""
    data = nw.load(folder, mel_bands=12, val_fraction=0, test_fraction=0)
    plain, moved = (
        next(train_batches(data, batch_size=16, seed=0, epoch=0, augment=augment, workers=0))
        for augment in ((), ("noise",))
    )
    assert torch.equal(plain.sample_ids, moved.sample_ids)
    assert plain.inputs["log_mel"].shape == moved.inputs["log_mel"].shape
    assert not torch.equal(plain.inputs["log_mel"], moved.inputs["log_mel"])
    samples = [data.train.sound(int(index)) for index in moved.sample_ids]
    assert moved.inputs["lengths"].tolist() == [-(-len(one) // 80) for one in samples]


@pytest.mark.parametrize(("count", "empty"), [(12, 0), (160, 5)])
def test_bands_that_hold_nothing_are_told(folder: Path, count: int, empty: int) -> None:
    """Of 8,000 samples a second, narrow ones lie between two frequencies of the spectrum."""
    data = nw.load(folder, mel_bands=count, val_fraction=0, test_fraction=0)
    (choice,) = [one for one in data.spec.choices if one.name == "mel_bands"]
    assert (f"{empty} of them" in choice.reason) == bool(empty)
    silent = data.train.log_mel(0).std(0) < 1e-6
    assert silent.sum() == empty


class Steps(nn.Module):
    """Letters of every second frame, without lengths of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv1d(12, 8, 3, stride=2, padding=1), nn.Linear(8, 4)

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.out(self.conv(log_mel.transpose(1, 2)).relu().transpose(1, 2))


def test_frames_of_a_network_on_spectra_are_found(folder: Path) -> None:
    """Transcripts need them: of n spectra ceil(n / 2)."""
    data = nw.load(folder, mel_bands=12, val_fraction=0, test_fraction=0)
    inputs, _ = data.train.gather(np.arange(4))
    model = Steps()
    found = find_frames(model, bind(model, tuple(inputs)), inputs)
    assert found.formula is not None
    assert [found.formula.count(one) for one in (1, 2, 3, 10)] == [1, 1, 2, 5]


# WAV files of the plainest kind


def wav(samples: np.ndarray, rate: int = RATE, **options: str) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, **({"format": "WAV", "subtype": "PCM_16"} | options))
    return out.getvalue()


def by_libsndfile(raw: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(raw), dtype="int16")[0]


def test_a_plain_file_gives_what_libsndfile_gives(tmp_path: Path) -> None:
    """The same 16 bits, of a path and of bytes, extremes among them."""
    random = np.random.default_rng(0)
    samples = random.integers(-32_768, 32_768, 1_001).astype(np.int16)
    raw = wav(samples)
    (tmp_path / "one.wav").write_bytes(raw)
    operation = DecodeSound(sample_rate=RATE, max_seconds=1)
    for given in (raw, tmp_path / "one.wav"):
        header = read_header(given)
        assert (header.sample_rate, header.frames, header.channels) == (RATE, 1_001, 1)
        found = decode_sound(operation, given)
        assert found.dtype == np.int16
        np.testing.assert_array_equal(found, by_libsndfile(raw))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-2],  # cut off
        lambda raw: raw[:4] + struct.pack("<I", 7) + raw[8:],  # a wrong size
        lambda raw: raw + b"LIST\x04\0\0\0INFO",  # more than samples
        lambda raw: raw[:36] + b"LIST\x04\0\0\0INFO" + raw[36:],
    ],
)
def test_what_is_not_plain_is_left_to_libsndfile(change: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says of such a file stands: the same samples or the same refusal as without the shorter way."""
    raw = change(wav(np.arange(-50, 50, dtype=np.int16)))  # type: ignore[operator]
    operation = DecodeSound(sample_rate=RATE, max_seconds=1)

    def outcome() -> list[int] | str:
        try:
            return [read_header(raw).frames, *decode_sound(operation, raw).tolist()]
        except DataError as error:
            return str(error)

    short = outcome()
    monkeypatch.setattr("netwright.sounds._plain_header", lambda raw: None)
    assert short == outcome()


def test_a_plain_file_that_is_too_long_is_refused() -> None:
    """In the words in which every other one is."""
    operation = DecodeSound(sample_rate=RATE, max_seconds=0.1)
    with pytest.raises(DataError, match=r"at most 0\.1 s of sound, got 0\.2 s"):
        decode_sound(operation, wav(np.arange(1_600, dtype=np.int16)))


@pytest.mark.parametrize("together", [1, 3, 100])
def test_sounds_that_cannot_be_read_leave_no_gap(folder: Path, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they lie in what a thread reads at once; each other one has its own spectra and samples."""
    for index in (0, 1, 2, 3, 7, 15):
        next(folder.glob(f"*/{index:02}.wav")).write_bytes(b"none")
    monkeypatch.setattr(sound_source, "TOGETHER", together)
    data = nw.load(folder, mel_bands=12, val_fraction=0, test_fraction=0, max_unreadable=0.5)
    assert len(data.spec.unreadable) == 6
    assert len(data.train) == 10
    for index in range(10):
        operation = data.spec.preprocess.sound
        samples = decode_sound(operation, folder / data.train.name(index))  # type: ignore[arg-type]
        assert np.array_equal(data.train.sound(index), samples)
        wanted = sample(data.spec.preprocess, folder / data.train.name(index))["log_mel"]
        np.testing.assert_allclose(data.train.log_mel(index), wanted, atol=1e-4)


def test_more_samples_than_headers_promise_have_room(folder: Path) -> None:
    """As of an MP3, whose length is estimated."""
    files = sorted(folder.glob("*/*.wav"))
    operation, spectrum = DecodeSound(sample_rate=RATE, max_seconds=1), usual(RATE, 12)
    names = list(map(str, files))
    every = [
        sound_source.decode_all(files, names, operation, spectrum, expected=expected, in_memory=True)
        for expected in (0, 10_000, 10**6)
    ]
    for one in every[1:]:
        for field in ("values", "sizes", "kept", "spectra", "digests"):
            assert np.array_equal(getattr(one, field), getattr(every[0], field))


def test_the_digest_knows_every_sample(folder: Path) -> None:
    """Another sample in one file is another digest; loading again is not."""
    first = nw.load(folder, val_fraction=0, test_fraction=0).spec.digest
    assert nw.load(folder, val_fraction=0, test_fraction=0).spec.digest == first
    victim = next(folder.glob("*/05.wav"))
    content = bytearray(victim.read_bytes())
    content[-2] ^= 1
    victim.write_bytes(bytes(content))
    assert nw.load(folder, val_fraction=0, test_fraction=0).spec.digest != first
