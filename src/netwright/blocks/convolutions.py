"""Convolutions over time that see no padding, and the residual and squeeze-excite blocks of image networks."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from netwright.blocks.masks import hide


class TemporalConv(nn.Module):
    """A convolution over the positions of a sequence that keeps their number.

    Beyond the ends, and at padding, it sees zeros: a sequence alone and in a longer batch answers alike.

    Args:
        causal: Whether a position sees only itself and those before it.
        groups: As ``nn.Conv1d``'s; ``groups=in_features`` is depth-wise.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        causal: bool = False,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_features, out_features, kernel_size, dilation=dilation, groups=groups)
        reach = dilation * (kernel_size - 1)
        self.before = reach if causal else reach // 2
        self.after = reach - self.before

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, in_features) and a mask, bool (B, T), to (B, T, out_features), zero at padding."""
        padded = functional.pad(hide(x, mask).transpose(1, 2), (self.before, self.after))
        return hide(self.conv(padded).transpose(1, 2), mask)


class DepthwiseConv(nn.Module):
    """A depth-wise convolution over time, then a mix of the features at each position.

    Source:
        Chollet 2017, arXiv:1610.02357, section 3.
    """

    def __init__(
        self, in_features: int, out_features: int, kernel_size: int, *, dilation: int = 1, causal: bool = False
    ) -> None:
        super().__init__()
        self.depthwise = TemporalConv(
            in_features, in_features, kernel_size, dilation=dilation, causal=causal, groups=in_features
        )
        self.pointwise = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, in_features) and a mask, bool (B, T), to (B, T, out_features), zero at padding."""
        return hide(self.pointwise(self.depthwise(x, mask)), mask)


class SqueezeExcite(nn.Module):
    """Weigh the channels of a picture by what all of it shows.

    Source:
        Hu et al. 2018, arXiv:1709.01507, section 3.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze, self.excite = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        weights = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        return x * weights[..., None, None]


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a short cut.

    Args:
        squeeze: Whether channels are weighed before the sum.

    Source:
        He et al. 2016, arXiv:1512.03385, figure 5 left; the short cut is their option B.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, squeeze: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            SqueezeExcite(out_channels) if squeeze else nn.Identity(),
        )
        same = stride == 1 and in_channels == out_channels
        self.short_cut = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / stride, W / stride), rounded up."""
        return (self.body(x) + self.short_cut(x)).relu()
