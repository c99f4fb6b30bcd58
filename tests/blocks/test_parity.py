"""Blocks give what torch's own modules give where these exist."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from netwright import blocks

D = 8


def copy_attention(mine: blocks.SelfAttention, theirs: nn.MultiheadAttention) -> None:
    theirs.in_proj_weight.data.copy_(mine.qkv.weight)
    theirs.in_proj_bias.data.copy_(mine.qkv.bias)
    theirs.out_proj.load_state_dict(mine.out.state_dict())


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_torchs(causal: bool) -> None:
    """As ``nn.MultiheadAttention`` with its padding and causal masks."""
    torch.manual_seed(0)
    mine, theirs = blocks.SelfAttention(D, 4, causal=causal), nn.MultiheadAttention(D, 4, batch_first=True)
    copy_attention(mine, theirs)
    x, mask = torch.randn(3, 6, D), blocks.mask_of(torch.tensor([6, 2, 4]), 6)
    later = torch.ones(6, 6, dtype=torch.bool).triu(1) if causal else None
    expected, _ = theirs(x, x, x, key_padding_mask=~mask, attn_mask=later)
    torch.testing.assert_close(mine(x, mask)[mask], expected[mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine(x), theirs(x, x, x, attn_mask=later)[0], atol=1e-5, rtol=1e-5)


def test_a_transformer_layer_is_torchs() -> None:
    """As ``nn.TransformerEncoderLayer`` with ``norm_first``."""
    torch.manual_seed(0)
    mine = blocks.TransformerLayer(D, 2, hidden=16).eval()
    theirs = nn.TransformerEncoderLayer(D, 2, 16, activation="gelu", batch_first=True, norm_first=True).eval()
    copy_attention(mine.attention, theirs.self_attn)
    for name, module in (("norm1", mine.norm1), ("norm2", mine.norm2), ("linear1", mine.mlp[0])):
        getattr(theirs, name).load_state_dict(module.state_dict())
    theirs.linear2.load_state_dict(mine.mlp[-1].state_dict())
    x = torch.randn(3, 6, D)
    torch.testing.assert_close(mine(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_block_is_torchs_on_packed_sequences(kind: type) -> None:
    """Two layers, both directions, against ``pack_padded_sequence``."""
    torch.manual_seed(0)
    mine = blocks.Recurrent(D, 5, cell=kind, num_layers=2, bidirectional=True)
    theirs = kind(D, 5, num_layers=2, bidirectional=True, batch_first=True)
    state = {}
    for layer in range(2):
        for name, value in mine.ahead[layer].named_parameters():
            state[name.replace("_l0", f"_l{layer}")] = value
        for name, value in mine.back[layer].named_parameters():
            state[name.replace("_l0", f"_l{layer}_reverse")] = value
    theirs.load_state_dict(state)
    x, lengths = torch.randn(4, 7, D), torch.tensor([7, 1, 3, 5])
    packed, end = theirs(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True, total_length=7)
    end = end[0] if isinstance(end, tuple) else end
    outputs, last = mine(x, lengths)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(last, torch.cat((end[2], end[3]), 1))


def test_masked_batch_norm_is_torchs_on_the_real_positions() -> None:
    """In training, in its running statistics, and in evaluation."""
    torch.manual_seed(0)
    mine, theirs = blocks.MaskedBatchNorm(D), nn.BatchNorm1d(D)
    for _ in range(3):
        x, mask = torch.randn(4, 6, D) * 3 + 1, blocks.mask_of(torch.tensor([6, 2, 0, 3]), 6)
        torch.testing.assert_close(mine(x, mask)[mask], theirs(x[mask]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine.running_var, theirs.running_var)
    torch.testing.assert_close(mine.running_mean, theirs.running_mean)
    mine.eval(), theirs.eval()
    torch.testing.assert_close(mine(x, mask)[mask], theirs(x[mask]), atol=1e-5, rtol=1e-5)


def test_batch_norm_refuses_one_position() -> None:
    """Its variance would be nothing."""
    with pytest.raises(ValueError, match="2 real positions"):
        blocks.MaskedBatchNorm(D)(torch.randn(2, 3, D), blocks.mask_of(torch.tensor([1, 0]), 3))


def test_sinusoids_are_those_of_the_paper() -> None:
    """Position 3, columns 4 and 5 of 8."""
    found = blocks.sinusoids(5, 8)
    angle = 3 / 10_000 ** (4 / 8)
    assert float(found[3, 4]) == pytest.approx(np.sin(angle), abs=1e-6)
    assert float(found[3, 5]) == pytest.approx(np.cos(angle), abs=1e-6)
    assert blocks.sinusoids(3, 5).shape == (3, 5)


def test_rotations_keep_lengths_and_depend_on_distance_alone() -> None:
    """The product of a query and a key at positions 2 and 5 is that at 7 and 10."""
    torch.manual_seed(0)
    query, key = (torch.randn(8).expand(1, 1, 12, 8) for _ in range(2))
    queries, keys = blocks.rotate(query), blocks.rotate(key)
    products = (queries @ keys.transpose(-1, -2))[0, 0]
    torch.testing.assert_close(products[2, 5], products[7, 10], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(queries.norm(dim=-1), query.norm(dim=-1))


def test_reversing_twice_gives_the_sequence_back() -> None:
    """Padding stays where it is."""
    x, lengths = torch.arange(12.0).reshape(2, 6, 1), torch.tensor([4, 0])
    once = blocks.reverse(x, lengths)
    assert once[0, :, 0].tolist() == [3, 2, 1, 0, 4, 5]
    assert torch.equal(blocks.reverse(once, lengths), x)


def test_category_embeddings_stand_side_by_side() -> None:
    """Of each column its own table; sizes by rule or as asked."""
    block = blocks.CategoryEmbeddings([3, 200])
    assert block.num_features == 2 + 50
    codes = torch.tensor([[2, 7], [0, 199]])
    torch.testing.assert_close(block(codes)[1, :2], block.tables[0].weight[0])
    torch.testing.assert_close(block(codes)[0, 2:], block.tables[1].weight[7])


def test_squeeze_excite_weighs_channels() -> None:
    """One weight in (0, 1) for each channel."""
    torch.manual_seed(0)
    x = torch.rand(2, 4, 3, 5) + 0.5
    weights = blocks.SqueezeExcite(4, reduction=2)(x) / x
    assert torch.allclose(weights, weights[:, :, :1, :1].expand_as(weights))
    assert ((weights > 0) & (weights < 1)).all()


@pytest.mark.parametrize(("stride", "channels", "squeeze"), [(1, 4, False), (1, 6, True), (2, 4, False)])
def test_a_residual_block_adds_to_its_input(stride: int, channels: int, squeeze: bool) -> None:
    """With its last normalisation at zero nothing but the short cut is left."""
    torch.manual_seed(0)
    block = blocks.ResidualBlock(4, channels, stride=stride, squeeze=squeeze)
    x: Tensor = torch.randn(2, 4, 7, 7)
    assert block(x).shape == (2, channels, -(-7 // stride), -(-7 // stride))
    nn.init.zeros_(block.body[4].weight)
    torch.testing.assert_close(block(x), block.short_cut(x).relu())


def test_an_mlp_has_the_sizes_asked_for() -> None:
    """And refuses to be nothing."""
    model = blocks.mlp(3, 5, 7, 2, dropout=0.1)
    assert [layer.out_features for layer in model if isinstance(layer, nn.Linear)] == [5, 7, 2]
    assert not isinstance(model[-1], nn.Dropout)
    with pytest.raises(ValueError, match="sizes"):
        blocks.mlp(3)
