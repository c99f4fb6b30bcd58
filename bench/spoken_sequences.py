"""Make spoken digit sequences out of single recordings: a folder of sounds with manifests train.jsonl and test.jsonl.

    python bench/spoken_sequences.py FOLDER --seed 0

Three to seven digits of one speaker, with pauses of 0.05 to 0.4 s of faint noise between them. Training sequences are
of the training recordings alone, test sequences of the test recordings, as the source of the recordings splits them.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
import soundfile
from common import use_shared_data

RATE = 8_000
COUNTS = {"train": 2_000, "test": 300}


def write_sequences(folder: Path, *, seed: int = 0, counts: dict[str, int] | None = None) -> None:
    """Write the sounds and their manifests."""
    from netwright.data.spoken_digits import WORDS, read_spoken_digits
    from netwright.records import LoadOptions

    generator = np.random.default_rng(seed)
    for split, listing in read_spoken_digits(LoadOptions()).splits.items():
        by_speaker: dict[str, list[int]] = {}
        for index, speaker in enumerate(listing.groups or ()):
            by_speaker.setdefault(speaker, []).append(index)
        rows = []
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range((counts or COUNTS)[split]):
            speaker = str(generator.choice(sorted(by_speaker)))
            picked = generator.choice(by_speaker[speaker], generator.integers(3, 8))
            parts = []
            for index in picked:
                samples, rate = soundfile.read(io.BytesIO(listing.raws[index]), dtype="float32", always_2d=True)
                assert rate == RATE
                pause = generator.integers(int(0.05 * RATE), int(0.4 * RATE))
                parts += [samples.mean(1), 1e-4 * generator.standard_normal(pause).astype(np.float32)]
            name = f"{split}/{speaker}_{number:04d}.flac"
            soundfile.write(folder / name, np.concatenate(parts), RATE, subtype="PCM_16")
            text = " ".join(WORDS[int(listing.targets[index])] for index in picked)
            seconds = sum(map(len, parts)) / RATE
            rows.append(json.dumps({"audio_filepath": name, "text": text, "duration": round(seconds, 3)}))
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def main() -> None:
    """Write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    use_shared_data()
    write_sequences(asked.folder, seed=asked.seed)


if __name__ == "__main__":
    main()
