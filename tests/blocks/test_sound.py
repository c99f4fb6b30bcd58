"""Spectra of sound: equal to formulas written down again in NumPy, blind to padding, and exported as they are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netwright.blocks import MFCC, LogMel, SpecAugment, UtteranceNorm, WarpBands, mask_of
from netwright.blocks.sound import hertz_to_mel, mel_to_hertz
from netwright.models import load_model
from netwright.starters import write_starter


def numpy_mel(hertz: float, scale: str) -> float:
    if scale == "htk":
        return 2595.0 * math.log10(1.0 + hertz / 700.0)
    return 15.0 + 27.0 * math.log(hertz / 1000.0) / math.log(6.4) if hertz >= 1000.0 else 3.0 * hertz / 200.0


def numpy_hertz(mel: float, scale: str) -> float:
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return 1000.0 * 6.4 ** ((mel - 15.0) / 27.0) if mel >= 15.0 else 200.0 * mel / 3.0


def numpy_log_mel(sound: np.ndarray, rate: int, bands: int, scale: str, *, low: float = 20.0) -> np.ndarray:
    """Frame by frame and band by band, by the discrete Fourier transform of NumPy."""
    hop, size = round(rate * 0.01), round(rate * 0.025)
    points = 1 << (size - 1).bit_length()
    window = np.sin(np.pi * np.arange(size) / size) ** 2
    frames = -(-len(sound) // hop)
    padded = np.concatenate((np.zeros(size // 2), sound, np.zeros(2 * size)))
    corners = [
        numpy_hertz(mel, scale) for mel in np.linspace(numpy_mel(low, scale), numpy_mel(rate / 2, scale), bands + 2)
    ]
    found = np.empty((frames, bands))
    for frame in range(frames):
        cut = padded[frame * hop : frame * hop + size] * window / window.sum()
        power = np.abs(np.fft.rfft(cut, points)) ** 2
        for band in range(bands):
            left, middle, right = corners[band : band + 3]
            total = 0.0
            for index, energy in enumerate(power):
                place = index * rate / points
                if left < place <= middle:
                    total += energy * (place - left) / (middle - left)
                elif middle < place < right:
                    total += energy * (right - place) / (right - middle)
            found[frame, band] = total * (2 / (right - left) if scale == "slaney" else 1.0)
    return np.log(np.maximum(found, 1e-10))


def waves(*sizes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise with a tone in it, padded with zeros."""
    generator = np.random.default_rng(seed)
    batch = np.zeros((len(sizes), max(sizes)), dtype=np.float32)
    for row, size in enumerate(sizes):
        tone = 0.3 * np.sin(2 * np.pi * generator.uniform(100, 3000) * np.arange(size) / 8000)
        batch[row, :size] = tone + 0.05 * generator.standard_normal(size)
    return torch.from_numpy(batch), torch.tensor(sizes)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_log_mel_equals_the_formula_in_numpy(rate: int, scale: str) -> None:
    """Windows, transform, triangles and logarithm, against loops over frames and bands."""
    sound, _ = waves(1234)
    found, frames = LogMel(rate, num_bands=24, scale=scale)(sound)  # type: ignore[arg-type]
    wanted = numpy_log_mel(sound[0].numpy().astype(np.float64), rate, 24, scale)
    assert frames.tolist() == [len(wanted)]
    # float32 sums of 400 products, and the logarithm of what is faint: 1e-3 of a natural logarithm is 0.004 dB.
    np.testing.assert_allclose(found[0].numpy(), wanted, atol=1e-3)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mel_scales_have_their_published_points(scale: str) -> None:
    """HTK's 1,000 Hz are 1,000 mel; Slaney's are 15; both come back."""
    hertz = torch.tensor([0.0, 440.0, 1000.0, 6400.0])
    mel = hertz_to_mel(hertz, scale)  # type: ignore[arg-type]
    assert mel[2] == pytest.approx(15.0 if scale == "slaney" else 1000.0, rel=1e-3)
    torch.testing.assert_close(mel_to_hertz(mel, scale), hertz, rtol=1e-5, atol=1e-2)  # type: ignore[arg-type]


def test_mfcc_is_the_orthonormal_cosine_transform() -> None:
    """Against SciPy's DCT-II of the same bands."""
    from scipy.fft import dct

    sound, lengths = waves(1500, 900)
    found, frames = MFCC(8000, num_coefficients=13)(sound, lengths)
    bands, _ = LogMel(8000)(sound, lengths)
    wanted = dct(bands.numpy(), type=2, norm="ortho", axis=2)[..., :13]
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-4)
    assert frames.tolist() == [19, 12]


def test_normalised_features_have_mean_0_and_deviation_1() -> None:
    """Over the real frames of each sound by itself, whatever stands in the padding."""
    x = torch.randn(2, 30, 5) * 4 + 7
    mask = mask_of(torch.tensor([30, 11]), 30)
    for each in (False, True):
        found = UtteranceNorm(each=each, eps=0.0)(x, mask)
        real = found[1, :11]
        assert found[1, 11:].abs().max() == 0
        mean, deviation = (real.mean(0), real.std(0, correction=0)) if each else (real.mean(), real.std(correction=0))
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
        torch.testing.assert_close(deviation, torch.ones_like(deviation), atol=1e-4, rtol=0)


def test_loudness_changes_nothing_once_normalised() -> None:
    """Ten times as loud is the same, as far as nothing is silent."""
    sound, lengths = waves(4000)
    spectra, norm = LogMel(8000), UtteranceNorm()
    soft, loud = (norm(spectra(factor * sound, lengths)[0]) for factor in (0.1, 1.0))
    torch.testing.assert_close(soft, loud, atol=1e-3, rtol=0)


def test_spectra_do_not_see_padding() -> None:
    """A sound alone, and in a batch four times as long with noise behind its end."""
    sound, lengths = waves(1801)
    padded = torch.cat((sound, torch.randn(1, 3 * 1801)), dim=1)
    for block in (LogMel(8000), MFCC(8000)):
        alone, frames = block(sound, lengths)
        found, same = block(padded, lengths)
        assert frames.tolist() == same.tolist() == [alone.shape[1]]
        torch.testing.assert_close(found[:, : alone.shape[1]], alone, atol=1e-5, rtol=0)
        assert not found[:, alone.shape[1] :].any()


@pytest.mark.parametrize("size", [1, 79, 80, 81, 199])
def test_the_shortest_sounds_have_a_frame(size: int) -> None:
    """ceil(T / hop) of them."""
    found, frames = LogMel(8000)(torch.randn(1, size))
    assert found.shape[1] == frames.item() == -(-size // 80)
    assert found.isfinite().all()


def test_what_is_for_training_alone_rests_in_eval_mode() -> None:
    """Hidden bands and frames, and stretched bands."""
    x = torch.randn(4, 40, 24)
    mask = mask_of(torch.tensor([40, 30, 20, 10]), 40)
    assert torch.equal(SpecAugment().eval()(x, mask), x)
    assert torch.equal(WarpBands().eval()(x), x)


def test_hidden_stretches_are_as_wide_as_asked_and_lie_in_the_sound() -> None:
    """No band more than twice 6, no more than a fifth of the real frames, and something at times."""
    torch.manual_seed(0)
    lengths = torch.tensor([50, 20] * 50)
    x = torch.ones(100, 50, 24)
    found = SpecAugment(num_bands=2, band_width=6, num_times=2, time_share=0.1)(x, mask_of(lengths, 50))
    bands = (found == 0).all(1).sum(1)
    assert bands.float().mean() > 0 and bands.max() <= 12
    frames = (found == 0).all(2)
    assert (frames.sum(1) <= 0.2 * lengths + 2).all()
    assert frames[1::2, 20:].sum() == 0
    assert set(found.unique().tolist()) == {0.0, 1.0}


def test_stretched_bands_lie_between_their_neighbours() -> None:
    """A line stays a line; by at most the factor asked."""
    torch.manual_seed(0)
    line = torch.arange(40.0).expand(64, 3, 40)
    found = WarpBands(0.1)(line)
    factors = found[:, 0, 20] / 20
    assert 0.9 <= factors.min() < 0.95 < 1.05 < factors.max() <= 1.1
    torch.testing.assert_close(found[:, 1, :35], (torch.arange(40.0)[None] * factors[:, None])[:, :35].clamp(max=39))


class Whole(nn.Module):
    """All that is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.spectra, self.coefficients, self.norm = LogMel(8000, num_bands=20), MFCC(8000), UtteranceNorm()

    def forward(self, sound: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        bands, frames = self.spectra(sound, lengths)
        mask = mask_of(frames, bands.shape[1])
        return self.norm(bands, mask), self.coefficients(sound, lengths)[0]


def test_spectra_export_for_sounds_of_any_length() -> None:
    """torch.export with a batch and a length that vary, of two frames at least, and the same answers."""
    model = Whole().eval()
    sound, lengths = waves(1600, 900)
    batch = time = torch.export.Dim.DYNAMIC
    exported = torch.export.export(
        model, (sound, lengths), dynamic_shapes={"sound": {0: batch, 1: time}, "lengths": {0: batch}}
    ).module()
    others = waves(2222, 1000, 433, seed=1)
    for found, wanted in zip(exported(*others), model(*others), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_spectra_compile_in_one_piece() -> None:
    """No graph break; the eager backend runs what was traced."""
    model = Whole().eval()
    sound, lengths = waves(1600, 900)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for found, wanted in zip(compiled(sound, lengths), model(sound, lengths), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def starter(name: str, folder: Path, **arguments: int) -> nn.Module:
    write_starter(name, folder / name)
    torch.manual_seed(0)
    return load_model(f"{folder}/{name}/net.py:Net", {"sample_rate": 8000, "features": 24, **arguments})


@pytest.mark.filterwarnings("ignore:The tensor attributes self.context:UserWarning")  # torch's own, of flat GRU weights
@pytest.mark.parametrize("name", ["speech", "transcriber"])
def test_starters_export(name: str, tmp_path: Path) -> None:
    """For any batch, of the length at export: torch unrolls a GRU over its steps. Shorter sounds are padded."""
    model = starter(name, tmp_path, num_classes=6).eval()
    batch = torch.export.Dim.DYNAMIC
    exported = torch.export.export(
        model, waves(1600, 900), dynamic_shapes={"sound": {0: batch}, "lengths": {0: batch}}
    ).module()
    others = waves(1600, 1000, 500, seed=1)
    torch.testing.assert_close(exported(*others), model(*others), atol=1e-5, rtol=1e-5)
