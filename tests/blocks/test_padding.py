"""A sample alone, and in a batch padded to four times its length, gives the same answer and the same gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from netwright import blocks

D = 8
LENGTHS = (5, 1, 20, 3)  # the longest is four times the first


class Both(nn.Module):
    """A recurrent block's outputs and its end, in one tensor."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.block = blocks.Recurrent(D, 6, **options)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        outputs, end = self.block(x, mask.sum(1))
        return outputs + end[:, None]


class Pool(nn.Module):
    """A pooling function, as if it gave each position its answer."""

    def __init__(self, pool: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.pool = nn.Linear(D, D), pool

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.pool(self.linear(x), mask)[:, None].expand(-1, x.shape[1], -1)


class Plain(nn.Module):
    """A block that takes no mask."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.linear, self.block = nn.Linear(D, D), block

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.block(self.linear(x))


MAKERS = {
    "attention": lambda: blocks.SelfAttention(D, 2),
    "causal attention": lambda: blocks.SelfAttention(D, 2, causal=True),
    "rotary attention": lambda: blocks.SelfAttention(D, 2, rotary=True),
    "encoder": lambda: blocks.TransformerEncoder(D, 2, 2),
    "causal encoder": lambda: blocks.TransformerEncoder(D, 2, 2, causal=True, rotary=True),
    "convolution": lambda: blocks.TemporalConv(D, 6, 5),
    "even convolution": lambda: blocks.TemporalConv(D, 6, 4),
    "dilated causal convolution": lambda: blocks.TemporalConv(D, 6, 3, dilation=2, causal=True),
    "depthwise": lambda: blocks.DepthwiseConv(D, 6, 3),
    "batch norm": lambda: blocks.MaskedBatchNorm(D),
    "lstm": lambda: Both(),
    "deep two-way lstm": lambda: Both(num_layers=2, bidirectional=True),
    "two-way gru": lambda: Both(cell=nn.GRU, bidirectional=True),
    "mean": lambda: Pool(blocks.mean_pool),
    "max": lambda: Pool(blocks.max_pool),
    "attention pool": lambda: Pool(blocks.AttentionPool(D)),
    "sinusoids": lambda: Plain(blocks.SinusoidalPositions()),
    "swish": lambda: Plain(blocks.LearnableSwish(D)),
}


def answers(model: nn.Module, samples: list[Tensor], size: int) -> tuple[Tensor, list[Tensor]]:
    """Answers at the real positions of the first sample, and the gradients of their loss."""
    x = torch.full((len(samples), size, D), 7.0)  # what stands in the padding is no zero
    for row, sample in enumerate(samples):
        x[row, : len(sample)] = sample
    mask = blocks.mask_of(torch.tensor([len(sample) for sample in samples]), size)
    found = model(x, mask)[0, : len(samples[0])]
    return found.detach(), list(torch.autograd.grad(found.square().sum(), list(model.parameters())))


@pytest.mark.parametrize("name", MAKERS)
def test_padding_changes_neither_answer_nor_gradient(name: str) -> None:
    """In eval mode, to 1e-5."""
    torch.manual_seed(0)
    model = MAKERS[name]().eval()
    samples = [torch.randn(length, D) for length in LENGTHS]
    alone, alone_gradients = answers(model, samples[:1], len(samples[0]))
    among, among_gradients = answers(model, samples, max(LENGTHS))
    torch.testing.assert_close(among, alone, atol=1e-5, rtol=1e-5)
    for one, other in zip(among_gradients, alone_gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_test_sees_padding_that_is_let_in() -> None:
    """A plain convolution and a plain mean over all positions fail it."""
    torch.manual_seed(0)
    samples = [torch.randn(length, D) for length in LENGTHS]
    for model in (Pool(lambda x, mask: x.mean(1)), Plain(Wide())):
        alone, _ = answers(model.eval(), samples[:1], 5)
        among, _ = answers(model.eval(), samples, 20)
        assert not torch.allclose(alone, among, atol=1e-3)


class Wide(nn.Module):
    """A convolution that sees what stands in the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(D, D, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in ("sinusoids", "swish")])
def test_an_empty_sequence_gives_numbers(name: str) -> None:
    """No NaN, in the answer or in the gradients: a batch may hold an empty text."""
    torch.manual_seed(0)
    model = MAKERS[name]().eval()
    x = torch.randn(2, 4, D)
    found = model(x, blocks.mask_of(torch.tensor([0, 4]), 4))
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["causal attention", "causal encoder", "dilated causal convolution", "lstm"])
def test_causal_blocks_do_not_see_ahead(name: str) -> None:
    """What comes later changes nothing before it."""
    torch.manual_seed(0)
    model = MAKERS[name]().eval()
    model = model.block if isinstance(model, Both) else model
    x = torch.randn(1, 9, D)
    changed = x.clone()
    changed[:, 5:] = torch.randn(1, 4, D)
    first, second = (model(value) for value in (x, changed))
    first, second = (value[0] if isinstance(value, tuple) else value for value in (first, second))
    torch.testing.assert_close(first[:, :5], second[:, :5])
    assert not torch.allclose(first[:, 5:], second[:, 5:])
