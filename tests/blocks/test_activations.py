"""Activations written as autograd functions are what their plain twins are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from netwright import blocks
from netwright.blocks.activations import PLAIN_TWINS

SMOOTH = [blocks.swish, blocks.mish, blocks.learnable_swish]
MODULES = [blocks.Swish(), blocks.Mish(), blocks.LearnableSwish(6), blocks.RoundStraightThrough()]


def arguments(function: object, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(5, 6, generator=generator, dtype=dtype) * 3).requires_grad_()
    beta = torch.rand(6, generator=generator, dtype=dtype).add(0.5).requires_grad_()
    return (x, beta) if function is blocks.learnable_swish else (x,)


@pytest.mark.parametrize("function", SMOOTH)
def test_derivatives_are_those_of_finite_differences(function: object) -> None:
    """First and second, in float64."""
    given = arguments(function)
    assert torch.autograd.gradcheck(function, given)
    assert torch.autograd.gradgradcheck(function, given)


@pytest.mark.parametrize("function", PLAIN_TWINS)
def test_each_is_its_plain_twin(function: object) -> None:
    """Value, first derivative, and second where there is one."""
    found = []
    for one in (function, PLAIN_TWINS[function]):
        given = arguments(function)
        value = one(*given)
        first = torch.autograd.grad(value.sin().sum(), given, create_graph=True)
        second = torch.autograd.grad(sum(part.square().sum() for part in first), given)
        found.append((value, *first, *second))
    for mine, plain in zip(*found, strict=True):
        torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize("value", [-1e4, -100.0, -0.0, 100.0, 1e4, float("inf")])
@pytest.mark.parametrize("function", [blocks.swish, blocks.mish])
def test_far_out_values_are_finite_or_themselves(function: object, value: float) -> None:
    """Neither overflow nor NaN, in float32."""
    found = function(torch.tensor(value))
    expected = value if value > 0 else 0.0
    assert float(found) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
def test_mixed_precision_compiling_and_exporting_give_the_same(module: nn.Module) -> None:
    """Under autocast, by torch.compile's tracer, and in an exported program."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 6), module), torch.randn(3, 4)
    expected = model(x)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    plain = torch.autograd.grad(model(x).square().sum(), model[0].weight)
    torch.testing.assert_close(torch.autograd.grad(compiled(x).square().sum(), model[0].weight), plain)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(model.eval(), (x,)).module()(x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(x)
    half.float().sum().backward()
    assert half.dtype == torch.bfloat16 or isinstance(module, blocks.LearnableSwish)
    assert model[0].weight.grad is not None
    if not isinstance(module, blocks.RoundStraightThrough):
        torch.testing.assert_close(half.float(), expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(("function", "tensors"), [(blocks.swish, 1), (blocks.mish, 1)])
def test_one_tensor_is_kept_for_the_backward_pass(function: object, tensors: int) -> None:
    """The plain twin keeps more."""

    def kept(one: object) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        x = torch.randn(100, requires_grad=True) * 1
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            value = one(x)
        assert value.requires_grad
        return sum(sizes.values()) // x.untyped_storage().nbytes()

    assert kept(function) == tensors
    assert kept(PLAIN_TWINS[function]) > tensors


@pytest.mark.parametrize("function", SMOOTH)
def test_each_works_for_one_sample_at_a_time(function: object) -> None:
    """Under vmap, as per-sample gradients need it."""
    given = tuple(value.detach() for value in arguments(function))
    many = torch.func.vmap(function, in_dims=(0, *([None] * (len(given) - 1))))
    torch.testing.assert_close(many(*given), function(*given))
