"""What netwright itself gives: its starters on the example data and its blocks get neither error nor warning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright import blocks
from netwright.models import arguments_from, load_model
from netwright.records import CheckReport, Finding
from netwright.starters import write_starter

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

STARTERS: dict[str, tuple[str, dict[str, object]]] = {
    "cnn": ("digits", {}),
    "mlp": ("digits", {}),
    "text": ("texts/requests.csv", {}),
    "rnn": ("texts/requests.csv", {}),
    "tagger": ("texts/tags.conll", {}),
    "lm": ("texts/plays.txt", {"task": "next_token"}),
    "series": ("series/visitors.csv", {}),
    "speech": ("sounds", {}),
    "table": ("tables/deliveries.csv", {}),
}
# Codes that real data deserve.
DESERVED: dict[str, set[str]] = {}
REAL: dict[str, tuple[str, dict[str, object]]] = {
    "cnn": ("cifar10_folder", {}),
    "text": ("thucnews_titles", {}),
    "rnn": ("trec", {}),
    "tagger": ("wnut17_ner", {}),
    "lm": ("tinyshakespeare", {}),
    "series": ("daily_min_temperatures", {}),
    "speech": ("fsdd", {}),
    "table": ("titanic", {"target": "Survived"}),
}


def graver(report: CheckReport) -> list[Finding]:
    """What is no note."""
    return [one for one in report.findings if one.severity != "note"]


def check_starter(starter: str, data: nw.Data, folder: Path) -> CheckReport:
    """A starter with the sizes that the data ask for, as the command makes it."""
    entry = f"{write_starter(starter, folder)[0]}:Net"
    torch.manual_seed(0)
    return nw.check(load_model(entry, arguments_from(entry, data.spec)), data, seconds=20)


@pytest.mark.parametrize("starter", STARTERS)
def test_a_starter_is_not_accused(starter: str, tmp_path: Path) -> None:
    """On the data that lie beside the examples."""
    name, options = STARTERS[starter]
    data = nw.load(name if name == "digits" else EXAMPLES / name, **options)
    assert not graver(check_starter(starter, data, tmp_path / "net"))


@pytest.mark.soak
@pytest.mark.parametrize("starter", REAL)
def test_a_starter_is_not_accused_on_real_data(starter: str, tmp_path: Path, store: Path) -> None:
    """Where errors and warnings that the data themselves deserve are named here."""
    name, options = REAL[starter]
    found = graver(check_starter(starter, nw.load(store / name, **options), tmp_path / "net"))
    assert {one.code for one in found} <= DESERVED.get(starter, set()), found


class Pictures(nn.Module):
    """A block between a convolution and the answer."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.first, self.block, self.out = nn.Conv2d(1, 16, 3, padding=1), block, nn.Linear(16 * 8 * 8, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 1, 8, 8) to logits (B, 10)."""
        return self.out(self.block(self.first(images)).flatten(1))


class Words(nn.Module):
    """A block between embeddings and their mean."""

    def __init__(self, block: nn.Module, pool: Callable[[Tensor, Tensor], Tensor] = blocks.mean_pool) -> None:
        super().__init__()
        self.words, self.block, self.pool, self.out = nn.Embedding(2_000, 32), block, pool, nn.Linear(32, 4)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens (B, T) and their mask to logits (B, 4)."""
        x = self.words(tokens)
        if isinstance(self.block, blocks.Recurrent):
            x = self.block(x, mask.sum(1))[0]
        else:
            x = self.block(x) if isinstance(self.block, blocks.SinusoidalPositions) else self.block(x, mask)
        return self.out(self.pool(x, mask))


class Sounds(nn.Module):
    """Features of sound, a block on them, and their mean."""

    def __init__(self, features: nn.Module, width: int, block: nn.Module) -> None:
        super().__init__()
        self.features, self.block, self.out = features, block, nn.Linear(width, 2)

    def forward(self, sound: Tensor, lengths: Tensor) -> Tensor:
        """Waves (B, T) and their lengths to logits (B, 2)."""
        x, frames = self.features(sound, lengths)
        mask = blocks.mask_of(frames, x.shape[1])
        x = self.block(x) if isinstance(self.block, blocks.WarpBands) else self.block(x, mask)
        return self.out(blocks.mean_pool(x, mask))


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "ResidualBlock": lambda: Pictures(blocks.ResidualBlock(16, 16)),
    "SqueezeExcite": lambda: Pictures(blocks.SqueezeExcite(16, reduction=4)),
    "Swish": lambda: Pictures(blocks.Swish()),
    "LearnableSwish": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), blocks.LearnableSwish(32), nn.Linear(32, 10)
    ),
    "Mish": lambda: Pictures(blocks.Mish()),
    "RoundStraightThrough": lambda: Pictures(blocks.RoundStraightThrough()),
    "mlp": lambda: nn.Sequential(nn.Flatten(), blocks.mlp(64, 64, 10)),
    "SelfAttention": lambda: Words(blocks.SelfAttention(32, 4)),
    "SelfAttention, causal": lambda: Words(blocks.SelfAttention(32, 4, causal=True, rotary=True)),
    "TransformerEncoder": lambda: Words(blocks.TransformerEncoder(32, 4, num_layers=2)),
    "TransformerLayer": lambda: Words(blocks.TransformerLayer(32, 4), blocks.max_pool),
    "TemporalConv": lambda: Words(blocks.TemporalConv(32, 32, 3)),
    "DepthwiseConv": lambda: Words(blocks.DepthwiseConv(32, 32, 3)),
    "MaskedBatchNorm": lambda: Words(blocks.MaskedBatchNorm(32)),
    "AttentionPool": lambda: Words(blocks.TemporalConv(32, 32, 3), blocks.AttentionPool(32)),
    "Recurrent": lambda: Words(blocks.Recurrent(32, 16, bidirectional=True)),
    "SinusoidalPositions": lambda: Words(blocks.SinusoidalPositions()),
    "LogMel, UtteranceNorm": lambda: Sounds(blocks.LogMel(16_000, num_bands=40), 40, blocks.UtteranceNorm()),
    "MFCC": lambda: Sounds(blocks.MFCC(16_000), 13, blocks.UtteranceNorm()),
    "SpecAugment": lambda: Sounds(blocks.LogMel(16_000, num_bands=40), 40, blocks.SpecAugment()),
    "WarpBands": lambda: Sounds(blocks.LogMel(16_000, num_bands=40), 40, blocks.WarpBands()),
}
SOURCES = {Pictures: "digits", nn.Sequential: "digits", Words: "texts/requests.csv", Sounds: "sounds"}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_not_accused(block: str) -> None:
    """In a small network of its kind of data."""
    torch.manual_seed(0)
    net = BLOCKS[block]()
    source = SOURCES[type(net)]
    report = nw.check(net, nw.load(source if source == "digits" else EXAMPLES / source), seconds=60)
    assert not graver(report), report
