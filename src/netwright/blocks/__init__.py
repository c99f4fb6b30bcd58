"""Blocks to build networks with: plain modules and functions, which need nothing else of this package.

    from netwright.blocks import TransformerEncoder, mean_pool

Sequences are (B, T, D) with lengths, int64 (B,), or a mask, bool (B, T), True where a position is real. What stands in
the padding changes no answer.
"""

from netwright.blocks.activations import (
    LearnableSwish,
    Mish,
    RoundStraightThrough,
    Swish,
    learnable_swish,
    mish,
    round_straight_through,
    swish,
)
from netwright.blocks.attention import SelfAttention, TransformerEncoder, TransformerLayer
from netwright.blocks.convolutions import DepthwiseConv, ResidualBlock, SqueezeExcite, TemporalConv
from netwright.blocks.masks import hide, mask_of, reverse
from netwright.blocks.mlp import CategoryEmbeddings, mlp
from netwright.blocks.pooling import AttentionPool, MaskedBatchNorm, max_pool, mean_pool
from netwright.blocks.positions import SinusoidalPositions, rotate, sinusoids
from netwright.blocks.recurrent import Recurrent
from netwright.blocks.sound import MFCC, LogMel, SpecAugment, UtteranceNorm, WarpBands

__all__ = [
    "MFCC",
    "AttentionPool",
    "CategoryEmbeddings",
    "DepthwiseConv",
    "LearnableSwish",
    "LogMel",
    "MaskedBatchNorm",
    "Mish",
    "Recurrent",
    "ResidualBlock",
    "RoundStraightThrough",
    "SelfAttention",
    "SinusoidalPositions",
    "SpecAugment",
    "SqueezeExcite",
    "Swish",
    "TemporalConv",
    "TransformerEncoder",
    "TransformerLayer",
    "UtteranceNorm",
    "WarpBands",
    "hide",
    "learnable_swish",
    "mask_of",
    "max_pool",
    "mean_pool",
    "mish",
    "mlp",
    "reverse",
    "rotate",
    "round_straight_through",
    "sinusoids",
    "swish",
]
