"""Sounds: every format, rate and number of channels, folders and manifests, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

import netwright.data as nd
from netwright.cli import main
from netwright.data import sound_source
from netwright.data.augment_sound import SOUND_AUGMENTATIONS, augment_sounds
from netwright.data.batches import train_batches
from netwright.errors import DataError, UnknownNameError, UsageError
from netwright.preprocess import Preprocess, sample
from netwright.records import DataSpec, LoadOptions
from netwright.sounds import DecodeSound, as_waves, decode_sound, read_header, resample

RATE = 8_000
EIGHT = DecodeSound(sample_rate=RATE, max_seconds=60)


def tone(hertz: float, seconds: float = 0.25, rate: int = RATE, channels: int = 1, seed: int = 0) -> np.ndarray:
    """A sine with a little noise, float64 (T, C)."""
    steps = np.arange(int(rate * seconds)) / rate
    noise = 0.01 * np.random.default_rng(seed).normal(size=(len(steps), channels))
    return 0.4 * np.sin(2 * np.pi * hertz * steps)[:, None] + noise


def write(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Low and high tones of three speakers, 10 of each."""
    for label, hertz in (("low", 300), ("high", 900)):
        for speaker in ("ann", "bob", "cai"):
            for index in range(10):
                samples = tone(hertz, 0.1 + 0.02 * index, seed=index)
                write(tmp_path / "tones" / label / f"{speaker}_{index}.wav", samples)
    return tmp_path / "tones"


# Reading


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff", ".au", ".caf"])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_is_read(suffix: str, rate: int, channels: int, tmp_path: Path) -> None:
    """One channel at the rate asked, of the right length, with the tone where it was; from files and bytes alike."""
    path = write(tmp_path / f"a{suffix}", tone(440, 0.5, rate, channels), rate)
    found = decode_sound(EIGHT, path)
    assert found.dtype == np.int16
    assert abs(len(found) - RATE // 2) <= (RATE // 10 if suffix == ".mp3" else 1)  # an encoder puts silence around it
    spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found))))
    assert abs(spectrum.argmax() * RATE / len(found) - 440) < 4
    assert np.array_equal(decode_sound(EIGHT, path.read_bytes()), found)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_every_width_of_a_sample_has_the_same_level(subtype: str, tmp_path: Path) -> None:
    """Full scale is 1, however it was written."""
    samples = tone(440)
    found = as_waves(decode_sound(EIGHT, write(tmp_path / "a.wav", samples, subtype=subtype)))
    assert np.abs(found - samples[:, 0]).max() < 0.03


def test_resampling_keeps_what_can_be_heard_and_nothing_else() -> None:
    """A tone below half the new rate keeps its level; one above does not come back as another."""
    rate = 44_100
    steps = np.arange(rate) / rate
    low, high = (np.sin(2 * np.pi * hertz * steps).astype(np.float32) for hertz in (1_000, 7_000))
    middle = slice(RATE // 4, 3 * RATE // 4)
    assert abs(resample(low, rate, RATE)[middle].std() - np.sqrt(0.5)) < 0.01
    assert resample(high, rate, RATE)[middle].std() < 0.01
    assert len(resample(low, rate, RATE)) == RATE


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["", "RIFF", "fLaC", "OggS", "ID3"]))
def test_bytes_that_are_no_sound_are_refused_by_name(rest: bytes, magic: str) -> None:
    """Never another error, and never a sound out of noise without a header."""
    with pytest.raises(DataError) as caught:
        decode_sound(EIGHT, magic.encode() + rest)
    assert caught.value.where == "sound"


@pytest.mark.parametrize(
    ("made", "got"),
    [
        (b"", "0 bytes"),
        (np.zeros((800, 1)), "silence"),
        (np.zeros((0, 1)), "0 samples"),
        (np.full((800, 1), np.nan), "NaN or infinity in 800 of 800"),
        (np.tile([np.inf, -np.inf], (800, 1)), "NaN or infinity in 800 of 800"),
    ],
    ids=["no bytes", "silence", "no samples", "not a number", "infinity and its opposite"],
)
def test_what_cannot_be_heard_is_named(made: bytes | np.ndarray, got: str, tmp_path: Path) -> None:
    """With what was found, and a cure."""
    path = tmp_path / "odd.wav"
    if isinstance(made, bytes):
        path.write_bytes(made)
    else:
        write(path, made, subtype="FLOAT")
    with pytest.raises(DataError, match=r"odd\.wav") as caught:
        decode_sound(EIGHT, path)
    assert got in caught.value.got


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    """Its header promises more."""
    path = write(tmp_path / "a.flac", tone(440, 2.0))
    path.write_bytes(path.read_bytes()[:-5_000])
    with pytest.raises(DataError, match=r"a\.flac"):
        decode_sound(EIGHT, path)


def test_a_long_sound_is_refused_by_its_length(tmp_path: Path) -> None:
    """Before all of it is read, with the option that allows it."""
    path = write(tmp_path / "long.wav", tone(440, 3.0))
    with pytest.raises(DataError, match="--max-seconds") as caught:
        decode_sound(DecodeSound(sample_rate=RATE, max_seconds=2), path)
    assert "3.0 s" in caught.value.got
    assert read_header(path).seconds == 3.0


def test_beyond_full_scale_the_shape_is_kept() -> None:
    """Scaled down and not clipped; integers and real numbers of the same sound are the same."""
    samples = tone(440)[:, 0]
    loud = decode_sound(EIGHT, 5 * samples).astype(np.float64)
    assert np.corrcoef(loud, samples)[0, 1] > 0.99999
    assert np.abs(loud).max() >= 32_000
    whole = np.round(samples * 32_768).astype(np.int16)
    assert np.array_equal(decode_sound(EIGHT, whole), whole)


# Folders and manifests


def test_a_folder_of_class_folders(folder: Path) -> None:
    """Classes, splits, waves with lengths and masks."""
    data = nd.load(folder)
    assert (data.spec.kind, data.spec.task, data.spec.classes) == ("sound", "classification", ("high", "low"))
    assert sum(split.count for split in data.spec.splits.values()) == 60
    inputs, targets = data.train.gather(np.arange(8))
    assert inputs["sound"].dtype == torch.float32
    assert (inputs["mask"].sum(1) == inputs["lengths"]).all()
    assert (inputs["sound"][~inputs["mask"]] == 0).all()
    assert targets.dtype == torch.int64


def test_speakers_stay_together(folder: Path) -> None:
    """By an expression; or some of them are the test, and a misspelt one is answered with the nearest."""
    data = nd.load(folder, options=LoadOptions(group_by=r"([a-z]+)_\d+\.wav", val_fraction=0.3, test_fraction=0.3))
    speakers = [
        {data.split(name).name(at).split("/")[-1].split("_")[0] for at in range(len(data.split(name)))}
        for name in data.spec.splits
    ]
    assert sum(map(len, speakers)) == 3
    held = nd.load(folder, options=LoadOptions(group_by=r"([a-z]+)_\d+\.wav", test_group="bob", val_fraction=0))
    assert {held.test.name(at).split("/")[-1][:3] for at in range(len(held.test))} == {"bob"}
    assert len(held.test) == 20
    with pytest.raises(UnknownNameError, match='"bob"'):
        nd.load(folder, options=LoadOptions(group_by=r"([a-z]+)_\d+\.wav", test_group="bop"))
    with pytest.raises(UsageError, match="--group-by"):
        nd.load(folder, options=LoadOptions(test_group="bob"))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_manifest_of_labels_or_transcripts(kind: str, tmp_path: Path) -> None:
    """Paths are relative to it; what is not used is said; letters are those of training."""
    rows = []
    for index in range(30):
        write(tmp_path / "clips" / f"{index}.flac", tone(300 + 100 * (index % 3), 0.3, seed=index))
        rows.append(
            {
                "audio_filepath": f"clips/{index}.flac",
                "text": f"word {index} ok",
                "duration": 0.3,
                "label": "ab"[index % 2],
            }
        )
    path = tmp_path / f"all.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows(rows)
    data = nd.load(path)
    assert data.spec.task == "transcription"
    assert data.spec.letters is not None and {"w", " ", "1"} <= set(data.spec.letters)
    assert next(choice for choice in data.spec.choices if choice.name == "not used").value == "duration, label"
    _, targets = data.train.gather(np.arange(3))
    assert targets.min() == -100 or targets.min() >= 1
    labelled = nd.load(path, options=LoadOptions(target="label"))
    assert labelled.spec.classes == ("a", "b")
    assert nd.load(path, options=LoadOptions(task="classification")).spec.classes == ("a", "b")


def test_missing_files_and_empty_rows_of_a_manifest_are_named(tmp_path: Path) -> None:
    """A few missing files are left out and told where that is allowed; a row without a label is refused."""
    for index in range(20):
        write(tmp_path / f"{index}.wav", tone(300))
    rows = ["audio_filepath,label", *(f"{index}.wav,{'ab'[index % 2]}" for index in range(21))]
    path = tmp_path / "m.csv"
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"20\.wav: no such file"):
        nd.load(path)
    data = nd.load(path, options=LoadOptions(max_unreadable=0.1))
    assert [Path(one.name).name for one in data.spec.unreadable] == ["20.wav"]
    path.write_text("\n".join([*rows[:5], "4.wav,"]) + "\n")
    with pytest.raises(DataError, match="row 5"):
        nd.load(path)


def test_rates_and_channels_are_decided_and_told(tmp_path: Path) -> None:
    """The most frequent rate, at most 16,000 Hz; another one where it is asked for."""
    for index in range(24):
        label, rate = "ab"[index % 2], 44_100 if index < 20 else 22_050
        write(tmp_path / "x" / label / f"{index}.wav", tone(300, 0.1, rate, 1 + index % 2), rate)
    told = {choice.name: choice for choice in nd.load(tmp_path / "x").spec.choices}
    assert told["sample_rate"].value == 16_000
    assert "44,100" in told["sample_rate"].reason
    assert told["channels"].value == "1, the mean of all"
    assert nd.load(tmp_path / "x", options=LoadOptions(sample_rate=8_000)).spec.preprocess.sound == EIGHT


def test_more_than_memory_holds_is_decoded_when_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same batches, and a file that changes later is named."""
    whole = nd.load(folder)
    monkeypatch.setattr(sound_source, "MEMORY_LIMIT_BYTES", 0)
    monkeypatch.setattr("netwright.data.sound.MEMORY_LIMIT_BYTES", 0)
    late = nd.load(folder)
    assert late.train.paths is not None and late.train.values is None
    for one, other in zip(
        train_batches(whole, batch_size=8, seed=0, epoch=0, augment=(), workers=0),
        train_batches(late, batch_size=8, seed=0, epoch=0, augment=(), workers=0),
        strict=True,
    ):
        assert torch.equal(one.inputs["sound"], other.inputs["sound"])
        assert torch.equal(one.target, other.target)
    write(late.train.paths[0], tone(300, 0.9))
    with pytest.raises(DataError, match="Bring the file back"):
        late.train.sound(0)


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])  # the same, and more of it
def test_training_and_serving_agree_on_many_sounds(tmp_path: Path, count: int) -> None:
    """Stereo at 44,100 Hz among them; from files and from the record on disk, to the last bit."""
    generator = np.random.default_rng(0)
    kinds = [(44_100, 2, ".wav"), (8_000, 1, ".wav"), (22_050, 1, ".flac"), (11_025, 2, ".wav"), (16_000, 1, ".flac")]
    raws: dict[str, bytes] = {}
    for index in range(count):
        rate, channels, suffix = kinds[index % 5]
        buffer = io.BytesIO()
        samples = generator.uniform(-0.9, 0.9, (int(generator.integers(20, 200) * rate / 8_000), channels))
        soundfile.write(buffer, samples, rate, format=suffix[1:].upper(), subtype="PCM_16")
        place = tmp_path / "s" / "ab"[index % 2] / f"{index}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(buffer.getvalue())
        raws[f"{'ab'[index % 2]}/{index}{suffix}"] = buffer.getvalue()
    data = nd.load(tmp_path / "s", options=LoadOptions(sample_rate=8_000))
    served = Preprocess.model_validate_json(
        DataSpec.model_validate_json(data.spec.model_dump_json()).preprocess.model_dump_json()
    )
    seen = 0
    for split in data.spec.splits:
        source = data.split(split)
        inputs, _ = source.gather(np.arange(len(source)))
        for at in range(len(source)):
            again = sample(served, raws[source.name(at)])["sound"]
            assert np.array_equal(inputs["sound"][at, : int(inputs["lengths"][at])].numpy(), again)
            seen += 1
    assert seen == count


# Augmentation


@pytest.mark.parametrize("name", SOUND_AUGMENTATIONS)
def test_what_becomes_of_a_sound_depends_on_no_other(name: str) -> None:
    """Alone and in a batch the same; again with the same seed; another in another epoch; padding stays zero."""
    lengths = torch.tensor([400, 250, 90])
    sound = torch.zeros(3, 400)
    for row, size in enumerate(lengths.tolist()):
        sound[row, :size] = torch.from_numpy(tone(440, 0.05, seed=row)[:size, 0]).float()
    mask = torch.arange(400)[None] < lengths[:, None]
    batch = {"sound": sound, "lengths": lengths, "mask": mask}

    def changed(rows: list[int], epoch: int = 1) -> dict[str, torch.Tensor]:
        size = int(lengths[rows].max())
        part = {"sound": sound[rows, :size], "lengths": lengths[rows], "mask": mask[rows, :size]}
        return augment_sounds(part, (name,), np.array(rows), rate=RATE, seed=3, epoch=epoch)

    together, again, later = changed([0, 1, 2]), changed([0, 1, 2]), changed([0, 1, 2], epoch=2)
    assert torch.equal(together["sound"], again["sound"])
    assert together["sound"].shape != later["sound"].shape or not torch.equal(together["sound"], later["sound"])
    assert (together["sound"][~together["mask"]] == 0).all()
    for row in range(3):
        alone, size = changed([row]), int(together["lengths"][row])
        assert int(alone["lengths"][0]) == size
        torch.testing.assert_close(alone["sound"][0, :size], together["sound"][row, :size])
    assert torch.equal(batch["sound"], sound)


def test_a_misspelt_augmentation_is_answered_with_the_nearest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And those of pictures are none of sounds."""
    main(["new", "speech", str(folder.parent / "net"), "--json"])
    capsys.readouterr()
    command = ["train", f"{folder.parent / 'net'}/net.py:Net", "--data", str(folder), "--run", str(folder.parent / "r")]
    assert main([*command, "--augment", "noize"]) == 2
    assert "noise" in capsys.readouterr().err
    assert main([*command, "--augment", "flip"]) == 2
    assert "augmentation of sound" in capsys.readouterr().err


# The published set


@pytest.mark.usefixtures("store")
def test_the_spoken_digits_have_the_split_of_their_source() -> None:
    """2,700 to learn from, of which some validate, and 300 to test on; six speakers."""
    data = nd.load("fsdd")
    assert {name: split.count for name, split in data.spec.splits.items()}["test"] == 300
    assert sum(split.count for split in data.spec.splits.values()) == 3_000
    assert data.spec.splits["test"].class_counts == (30,) * 10
    held = nd.load("fsdd", options=LoadOptions(test_group="theo"))
    assert held.spec.splits["test"].count == 500
    assert all("theo" in held.test.name(at) for at in range(500))
    assert not any("theo" in held.train.name(at) for at in range(len(held.train)))


@pytest.mark.parametrize("rate", [8_000, 11_025, 15_999, 16_001, 22_050, 44_100, 44_101, 48_000])
def test_resampling_is_scipys_own(rate: int) -> None:
    """To the last bit: that its filter is made once changes nothing."""
    samples = np.random.default_rng(rate).normal(size=3_001).astype(np.float32)
    ratio = Fraction(16_000, rate).limit_denominator(2_000)
    for _ in range(2):
        assert np.array_equal(
            resample(samples, rate, 16_000), resample_poly(samples, ratio.numerator, ratio.denominator)
        )


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff"])
@pytest.mark.parametrize("count", [1 << 16, 3 << 16, 70_001])
def test_files_with_16_bits_are_taken_as_they_are(suffix: str, count: int, tmp_path: Path) -> None:
    """Which is what comes of reading them as real numbers and rounding these to 16 bits, full scale included."""
    whole = np.random.default_rng(count).integers(-32_768, 32_768, count).astype(np.int16)
    whole[:2] = (-32_768, 32_767)
    soundfile.write(tmp_path / f"s{suffix}", whole, 16_000, subtype="PCM_16")
    operation = DecodeSound(sample_rate=16_000, max_seconds=60)
    real, _ = soundfile.read(tmp_path / f"s{suffix}", dtype="float32")
    made = decode_sound(operation, tmp_path / f"s{suffix}")
    assert made.dtype == np.int16
    assert np.array_equal(made, whole)
    assert np.array_equal(made, decode_sound(operation, real))


def test_waves_are_samples_divided_by_full_scale() -> None:
    """Exactly, in an array of one's own too."""
    samples = np.arange(-32_768, 32_768).astype(np.int16)
    out = np.zeros(len(samples) + 2, dtype=np.float32)
    as_waves(samples, out=out[1:-1])
    assert np.array_equal(as_waves(samples), samples.astype(np.float32) / np.float32(32_768))
    assert np.array_equal(out, np.concatenate(([0], as_waves(samples), [0])))
