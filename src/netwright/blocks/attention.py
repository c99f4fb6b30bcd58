"""Self-attention over padded sequences, and the transformer encoder made of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from netwright.blocks.mlp import mlp
from netwright.blocks.positions import rotate


class SelfAttention(nn.Module):
    """Multi-head self-attention through ``scaled_dot_product_attention``.

    Args:
        features: D, divisible by ``num_heads``.
        causal: Whether a position sees only itself and those before it.
        rotary: Whether queries and keys are turned by their positions.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.2.
    """

    def __init__(
        self, features: int, num_heads: int, *, dropout: float = 0.0, causal: bool = False, rotary: bool = False
    ) -> None:
        super().__init__()
        if features % num_heads:
            raise ValueError(f"features must be divisible by num_heads, got {features} and {num_heads}")
        if rotary and features // num_heads % 2:
            raise ValueError(f"rotary positions need an even size of each head, got {features // num_heads}")
        self.num_heads, self.dropout, self.causal, self.rotary = num_heads, dropout, causal, rotary
        self.qkv = nn.Linear(features, 3 * features)
        self.out = nn.Linear(features, features)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Let each position look at the others.

        Args:
            x: (B, T, D).
            mask: bool (B, T), True where real; padding is never looked at. None: nothing is padded.

        Returns:
            (B, T, D); at padding it means nothing.
        """
        queries, keys, values = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if self.rotary:
            queries, keys = rotate(queries), rotate(keys)
        found = functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=None if mask is None else self._allowed(mask),
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=self.causal and mask is None,
        )
        return self.out(found.transpose(1, 2).flatten(2))

    def _allowed(self, mask: Tensor) -> Tensor:
        """Which key each query may look at, bool (B, 1, T, T).

        Each position may look at itself, also where it is padding: a row without any key would become NaN.
        """
        size = mask.shape[1]
        allowed = mask[:, None, None, :].expand(-1, 1, size, -1)
        if self.causal:
            allowed = allowed & torch.ones(size, size, dtype=torch.bool, device=mask.device).tril()
        return allowed | torch.eye(size, dtype=torch.bool, device=mask.device)


class TransformerLayer(nn.Module):
    """Attention and an MLP, each behind a normalisation and beside a short cut.

    Source:
        Xiong et al. 2020, arXiv:2002.04745, figure 1 (b).
    """

    def __init__(
        self,
        features: int,
        num_heads: int,
        *,
        hidden: int | None = None,
        dropout: float = 0.0,
        causal: bool = False,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = SelfAttention(features, num_heads, dropout=dropout, causal=causal, rotary=rotary)
        self.mlp = mlp(features, hidden or 4 * features, features, activation=nn.GELU, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) and a mask, bool (B, T), to (B, T, D)."""
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.mlp(self.norm2(x)))


class TransformerEncoder(nn.Module):
    """Layers of ``TransformerLayer`` and a last normalisation; with ``causal`` it is a decoder of what comes next."""

    def __init__(
        self,
        features: int,
        num_heads: int,
        num_layers: int,
        *,
        hidden: int | None = None,
        dropout: float = 0.0,
        causal: bool = False,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(features, num_heads, hidden=hidden, dropout=dropout, causal=causal, rotary=rotary)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(features)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) and a mask, bool (B, T), to (B, T, D)."""
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)
