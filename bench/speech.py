"""A network on log-mel spectra, from WAV files: sounds a second, of the first epoch and of later ones.

    python bench/speech.py
    python bench/speech.py --quick --repeats 2

2,000 WAV files of 0.6 to 1.4 s at 16 kHz in ten class folders are made: a tone each that rises or falls, in noise. The
network is the same for both: spectra are its first layer. The plain loop reads with soundfile in a Dataset, under a
DataLoader of 0, 1 and 2 workers, and pads random batches.
"""

from __future__ import annotations

import sys
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
CLASSES, RATE, BATCH = 10, 16_000, 32


def make_sounds(folder: Path, count: int) -> None:
    """Tones whose pitch goes from where the class begins to where the next one does."""
    import soundfile

    rng = np.random.default_rng(0)
    for index in range(count):
        label = index % CLASSES
        time = np.arange(int(RATE * rng.uniform(0.6, 1.4))) / RATE
        pitch = 200 * 1.25**label * (1 + 0.25 * time / time[-1])
        wave = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) + 0.05 * rng.normal(size=len(time))
        place = folder / f"class{label}"
        place.mkdir(exist_ok=True)
        soundfile.write(place / f"{index:05}.wav", wave.astype(np.float32), RATE, subtype="PCM_16")


def make_net() -> Any:
    """Spectra, two convolutions over time, the mean of what is real."""
    import torch
    from torch import nn

    from netwright.blocks import LogMel, TemporalConv, mask_of, mean_pool

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spectra = LogMel(RATE)
            self.first, self.second = TemporalConv(40, 64, 5), TemporalConv(64, 64, 5)
            self.out = nn.Linear(64, CLASSES)

        def forward(self, sound: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            x, frames = self.spectra(sound, lengths)
            mask = mask_of(frames, x.shape[1])
            x = self.second(self.first(x, mask).relu(), mask).relu()
            return self.out(mean_pool(x, mask))

    torch.manual_seed(0)
    return Net()


def _plain(options: dict[str, Any]) -> Runner:
    import soundfile
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from torch.utils.data import DataLoader, Dataset

    files = sorted(Path(options["folder"]).glob("*/*.wav"))

    class Sounds(Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            wave, _ = soundfile.read(files[index], dtype="float32")
            return torch.from_numpy(wave), int(files[index].parent.name.removeprefix("class"))

    def pad(items: list[tuple[torch.Tensor, int]]) -> Any:
        waves, labels = zip(*items, strict=True)
        lengths = torch.tensor([len(wave) for wave in waves])
        return (pad_sequence(list(waves), batch_first=True), lengths), torch.tensor(labels)

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
        return nw.load(options["folder"], val_fraction=0, test_fraction=0)

    return lambda: netwright(make_net, load, BATCH, **more)


MAKERS = {"plain": _plain, "netwright": _netwright}


def main() -> int:
    """Measure, and say."""
    asked = arguments(__doc__).parse_args()
    about = " ".join((__doc__ or "").split("\n\n")[2].split())
    page = Page("Sounds in WAV files", asked, f"{about} netwright's first epoch has reading the folder in it.")
    with scratch() as folder:
        make_sounds(folder, 100 if asked.quick else 2_000)
        answers = race(__file__, CONTESTANTS, {"folder": str(folder)}, repeats=asked.repeats)
    base = CONTESTANTS[0].name
    for title, measure in (("The first epoch", first), ("Later epochs", later)):
        page.say(f"## {title}", "", *table(answers, measure, "sounds/s", base=base, within=0.25), "")
    page.write("speech", asked)
    return 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
