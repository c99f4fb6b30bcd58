"""A folder of JPEGs, 500×375 resized to 224×224: pictures a second, of the first epoch and of later ones.

    python bench/jpegs.py
    python bench/jpegs.py --quick --repeats 2

5,000 pictures in ten class folders are made: smooth noise with the spectrum of photographs, so that decoding takes as
long as it does of photographs. The network is small, since reading is what is measured. The plain loop decodes with
Pillow in a Dataset, under a DataLoader of 0, 1 and 2 workers, each shown; its last weights are not those of netwright,
which resizes, normalises and shuffles by itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from speed_common import Contestant, Page, Runner, arguments, race, scratch, serve, table
from speed_files import by_hand, first, later, netwright

CONTESTANTS = (
    *(
        Contestant(
            f"plain loop, {workers or 'no'} worker{'' if workers == 1 else 's'}", "plain", options={"workers": workers}
        )
        for workers in (0, 1, 2)
    ),
    Contestant("netwright", "netwright"),
    Contestant("netwright, the folder read before", "netwright", options={"again": True}),
)
CLASSES = 10
SIZE = 224
BATCH = 64


def make_photographs(folder: Path, count: int) -> None:
    """Noise whose amplitudes fall with frequency, as those of photographs do (Field 1987), with a class's tint."""
    from PIL import Image

    rng = np.random.default_rng(0)
    rows, columns = np.meshgrid(np.fft.fftfreq(375), np.fft.rfftfreq(500), indexing="ij")
    falling = 1 / np.maximum(np.hypot(rows, columns), 1 / 500)
    for index in range(count):
        label = index % CLASSES
        waves = rng.normal(size=(3, *falling.shape)) + 1j * rng.normal(size=(3, *falling.shape))
        waves[1:] = waves[1:] * 0.3 + waves[:1] * 0.7  # colours go together
        picture = np.fft.irfft2(waves * falling, s=(375, 500))
        picture = 128 + 45 * picture / picture.std()
        picture[label % 3] += 6 * label
        place = folder / f"class{label}"
        place.mkdir(exist_ok=True)
        pixels = picture.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(pixels).save(place / f"{index:05}.jpg", quality=90)


def make_net() -> Any:
    """A small network: four convolutions with long strides."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 8, 8), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES),
    )  # fmt: skip


def _plain(options: dict[str, Any]) -> Runner:
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    files = sorted(Path(options["folder"]).glob("*/*.jpg"))

    class Pictures(Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            with Image.open(files[index]) as picture:
                small = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255
            return (pixels - 0.5) / 0.2, int(files[index].parent.name.removeprefix("class"))

    def run() -> dict[str, Any]:
        workers = options["workers"]
        loader = DataLoader(Pictures(), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        return by_hand(make_net, loader)

    return run


def _netwright(options: dict[str, Any]) -> Runner:
    import netwright as nw

    def load() -> Any:
        return nw.load(options["folder"], image_size=(SIZE, SIZE), val_fraction=0, test_fraction=0)

    return lambda: netwright(make_net, load, BATCH, again=options.get("again", False))


MAKERS = {"plain": _plain, "netwright": _netwright}


def main() -> int:
    """Measure, and say."""
    asked = arguments(__doc__).parse_args()
    about = " ".join((__doc__ or "").split("\n\n")[2].split())
    page = Page("A folder of JPEGs", asked, f"{about} netwright's first epoch has reading the folder in it.")
    with scratch() as folder:
        make_photographs(folder, 120 if asked.quick else 5_000)
        size = sum(file.stat().st_size for file in folder.glob("*/*.jpg"))
        page.say(f"Files of {size / 1024 / len(list(folder.glob('*/*.jpg'))):.0f} KiB on average.", "")
        with scratch() as store:
            os.environ["NETWRIGHT_DATA"] = str(store)  # where what is kept of a folder read before may lie
            answers = race(__file__, CONTESTANTS, {"folder": str(folder)}, repeats=asked.repeats)
    base = CONTESTANTS[0].name
    for title, measure in (("The first epoch", first), ("Later epochs", later)):
        page.say(f"## {title}", "", *table(answers, measure, "pictures/s", base=base, within=0.25), "")
    page.write("jpegs", asked)
    return 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
