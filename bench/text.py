"""A self-attention network on texts of 5 to 200 words: texts a second.

    python bench/text.py
    python bench/text.py --quick --repeats 2

4,000 texts are made from 5,000 words whose frequencies fall as those of a language do; a few words tell the class. The
plain loop has the texts as numbers already, and pads batches drawn at random, as most scripts do; netwright reads the
CSV file itself, which is in its first epoch, and puts texts of similar length together.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
from speed_common import Contestant, Page, Runner, arguments, race, scratch, serve, table
from speed_files import by_hand, first, later, netwright

CONTESTANTS = (
    Contestant("plain loop, random batches padded", "plain"),
    Contestant("netwright", "netwright"),
    Contestant("netwright, plan eager", "netwright", options={"plan": "eager"}),
)
CLASSES, WORDS, BATCH = 4, 5_000, 32


def make_texts(file: Path, count: int) -> None:
    """A CSV of texts and classes; lengths are spread evenly on a logarithmic scale."""
    rng = np.random.default_rng(0)
    frequency = 1 / np.arange(1, WORDS + 1)
    with file.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(("text", "label"))
        for index in range(count):
            label = index % CLASSES
            length = int(np.exp(rng.uniform(np.log(5), np.log(200))))
            words = rng.choice(WORDS, length, p=frequency / frequency.sum())
            words[rng.random(length) < 0.2] = 1_000 + label * 10 + rng.integers(10)
            rows.writerow((" ".join(f"word{word}" for word in words), f"class{label}"))


def make_net() -> Any:
    """Embedding, a transformer's layer, the mean of what is real."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(WORDS + 2, 64)
            self.layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
            self.out = nn.Linear(64, CLASSES)

        def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            x = self.layer(self.words(tokens), src_key_padding_mask=~mask)
            real = mask[..., None].float()
            return self.out((x * real).sum(1) / real.sum(1))

    torch.manual_seed(0)
    return Net()


def _plain(options: dict[str, Any]) -> Runner:
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from torch.utils.data import DataLoader

    with Path(options["file"]).open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    known: dict[str, int] = {}
    items = []
    for row in rows:
        numbers = [known.setdefault(word, len(known) + 2) for word in row["text"].split()]
        items.append((torch.tensor(numbers), int(row["label"].removeprefix("class"))))

    def pad(chosen: list[Any]) -> Any:
        texts, labels = zip(*chosen, strict=True)
        tokens = pad_sequence(list(texts), batch_first=True)
        return (tokens, tokens > 0), torch.tensor(labels)

    return lambda: by_hand(make_net, DataLoader(items, BATCH, shuffle=True, collate_fn=pad))


def _netwright(options: dict[str, Any]) -> Runner:
    import netwright as nw

    more = {"plan": options["plan"]} if "plan" in options else {}

    def load() -> Any:
        asked = {"tokenizer": "word", "vocab_size": WORDS + 2}
        return nw.load(options["file"], val_fraction=0, test_fraction=0, **asked)

    return lambda: netwright(make_net, load, BATCH, **more)


MAKERS = {"plain": _plain, "netwright": _netwright}


def main() -> int:
    """Measure, and say."""
    asked = arguments(__doc__).parse_args()
    page = Page("Texts of changing length", asked, " ".join((__doc__ or "").split("\n\n")[2].split()))
    with scratch() as folder:
        make_texts(folder / "texts.csv", 200 if asked.quick else 4_000)
        answers = race(__file__, CONTESTANTS, {"file": str(folder / "texts.csv")}, repeats=asked.repeats)
    base = CONTESTANTS[0].name
    for title, measure in (("The first epoch", first), ("Later epochs", later)):
        page.say(f"## {title}", "", *table(answers, measure, "texts/s", base=base, within=0.25), "")
    page.write("text", asked)
    return 0


if __name__ == "__main__":
    sys.exit(0 if serve(MAKERS) else main())
