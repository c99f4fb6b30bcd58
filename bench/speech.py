"""A network on log-mel spectra, from WAV files: sounds a second, of the first epoch and of later ones.

    python bench/speech.py
    python bench/speech.py --quick --repeats 2

2,000 WAV files of 0.6 to 1.4 s at 16 kHz in ten class folders are made: a faint tone each that rises, in noise. The
network has three convolutions over 40 log-mel bands, of the widths, kernels and strides of TC-ResNet8's blocks (Choi et
al. 2019, arXiv:1904.03814). The plain loop reads with soundfile and makes the spectra by torch.stft in a Dataset,
under a DataLoader of 0, 1 and 2 workers, and pads random batches; netwright makes them once, of the whole folder. Both
make the same spectra, which is checked before the race.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from speed_common import Contestant, Page, Runner, arguments, race, scratch, serve, table
from speed_files import by_hand, first, later, netwright

CONTESTANTS = (
    *(Contestant(f"plain loop, {workers} workers", "plain", options={"workers": workers}) for workers in (0, 1, 2)),
    Contestant("netwright", "netwright"),
    Contestant("netwright, plan eager", "netwright", options={"plan": "eager"}),
)
CLASSES, RATE, BATCH, BANDS = 10, 16_000, 32, 40


def make_sounds(folder: Path, count: int) -> None:
    """Tones whose pitch goes from where the class begins to where the next one does."""
    import soundfile

    rng = np.random.default_rng(0)
    for index in range(count):
        label = index % CLASSES
        time = np.arange(int(RATE * rng.uniform(0.6, 1.4))) / RATE
        pitch = 200 * 1.25**label * (1 + 0.25 * time / time[-1])
        wave = 0.03 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) + 0.2 * rng.normal(size=len(time))
        place = folder / f"class{label}"
        place.mkdir(exist_ok=True)
        soundfile.write(place / f"{index:05}.wav", wave.astype(np.float32), RATE, subtype="PCM_16")


def make_net() -> Any:
    """Three convolutions over time, the mean of what is real."""
    import torch
    from torch import nn

    def hide(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return x * (torch.arange(x.shape[2], device=x.device) < lengths[:, None])[:, None]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = (BANDS, 24, 32, 48)
            pairs = zip(sizes[:-1], sizes[1:], strict=True)
            self.convs = nn.ModuleList(nn.Conv1d(one, two, 9, stride=2, padding=4) for one, two in pairs)
            self.out = nn.Linear(sizes[-1], CLASSES)

        def forward(self, log_mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            x = hide(log_mel.transpose(1, 2) + 12, lengths)  # so that their mean is about 0
            for conv in self.convs:
                lengths = (lengths + 1) // 2
                x = hide(conv(x).relu(), lengths)
            return self.out(x.sum(2) / lengths[:, None])

    torch.manual_seed(0)
    return Net()


def make_spectra() -> Callable[[Any], Any]:
    """What makes log-mel spectra (F, BANDS) of one sound (T,), as they are made by hand: ``torch.stft``, mel, log."""
    import torch

    from netwright.blocks.sound import mel_filters

    window = torch.hann_window(400)
    window /= window.sum()
    filters = mel_filters(BANDS, 257, RATE, low_hz=20, high_hz=RATE / 2)

    def spectra(wave: torch.Tensor) -> torch.Tensor:
        parts = torch.stft(
            wave, 512, hop_length=160, win_length=400, window=window, pad_mode="constant", return_complex=True
        )
        power = parts.abs().square()[:, : -(-len(wave) // 160)]
        return (filters @ power).clamp_min(1e-10).log().T

    return spectra


def check_spectra(folder: Path) -> float:
    """The largest difference between the spectra of both, over twenty sounds; so small that it is rounding."""
    import soundfile
    import torch

    import netwright as nw

    data, spectra = nw.load(str(folder), mel_bands=BANDS, val_fraction=0, test_fraction=0), make_spectra()
    largest = 0.0
    for index in range(20):
        found = data.train.gather(np.asarray([index]))[0]["log_mel"][0]
        wave, _ = soundfile.read(folder / data.train.name(index), dtype="float32")
        largest = max(largest, float((found - spectra(torch.from_numpy(wave))).abs().max()))
    if not largest < 1e-3:
        raise SystemExit(f"the spectra of both differ by {largest:g}")
    return largest


def _plain(options: dict[str, Any]) -> Runner:
    import soundfile
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from torch.utils.data import DataLoader, Dataset

    files = sorted(Path(options["folder"]).glob("*/*.wav"))
    spectra = make_spectra()

    class Sounds(Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            wave, _ = soundfile.read(files[index], dtype="float32")
            return spectra(torch.from_numpy(wave)), int(files[index].parent.name.removeprefix("class"))

    def pad(items: list[tuple[torch.Tensor, int]]) -> Any:
        found, labels = zip(*items, strict=True)
        lengths = torch.tensor([len(one) for one in found])
        return (pad_sequence(list(found), batch_first=True), lengths), torch.tensor(labels)

    def run() -> dict[str, Any]:
        workers = options["workers"]
        loader = DataLoader(
            Sounds(), BATCH, shuffle=True, collate_fn=pad, num_workers=workers, persistent_workers=workers > 0
        )
        return by_hand(make_net, loader)

    return run


def _netwright(options: dict[str, Any]) -> Runner:
    import netwright as nw

    more = {"plan": options["plan"]} if "plan" in options else {}

    def load() -> Any:
        return nw.load(options["folder"], mel_bands=BANDS, val_fraction=0, test_fraction=0)

    return lambda: netwright(make_net, load, BATCH, **more)


MAKERS = {"plain": _plain, "netwright": _netwright}


def main() -> int:
    """Measure, and say."""
    asked = arguments(__doc__).parse_args()
    about = " ".join((__doc__ or "").split("\n\n")[2].split())
    page = Page("Sounds in WAV files", asked, f"{about} netwright's first epoch has reading the folder in it.")
    with scratch() as folder:
        make_sounds(folder, 100 if asked.quick else 2_000)
        page.say(f"The spectra of both differ by {check_spectra(folder):.0e} at most.", "")
        answers = race(__file__, CONTESTANTS, {"folder": str(folder)}, repeats=asked.repeats)
    base = CONTESTANTS[0].name
    for title, measure in (("The first epoch", first), ("Later epochs", later)):
        page.say(f"## {title}", "", *table(answers, measure, "sounds/s", base=base, within=0.25), "")
    page.write("speech", asked)
    return 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
