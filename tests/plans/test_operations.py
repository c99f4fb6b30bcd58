"""What a function does, as a graph of torch's operations."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional as F

from netwright.plans.operations import NoProgramError, operations


class Attention(nn.Module):
    """Words among words, with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.attention, self.out = nn.Embedding(20, 8), nn.MultiheadAttention(8, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """One answer for each word."""
        found = self.words(x)
        mask = torch.ones(len(found), len(found), dtype=torch.bool).triu(1)
        answer: Tensor = self.out(self.attention(found, found, found, attn_mask=mask)[0])
        return answer


class Last(nn.Module):
    """An LSTM's last answer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(8, 6, num_layers=2, bidirectional=True), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Of sequences (T, B, 8)."""
        answer: Tensor = self.out(self.lstm(x)[0][-1])
        return answer


def pictures() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(72, 3),
    )  # fmt: skip


MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "dense": (lambda: nn.Sequential(nn.Linear(8, 9), nn.GELU(), nn.Linear(9, 3)), lambda: torch.randn(5, 8)),
    "pictures": (pictures, lambda: torch.randn(4, 3, 8, 8)),
    "recurrent": (Last, lambda: torch.randn(5, 4, 8)),
    "attention": (Attention, lambda: torch.randint(20, (7, 4))),
}


def learning(net: nn.Module) -> Callable[..., Any]:
    """A function of a net's tensors and a batch that gives the loss and gradients, and moves buffers."""
    names = [name for name, _ in net.named_parameters()]
    beside = [name for name, _ in net.named_buffers()]

    def found(x: Tensor, *given: Tensor) -> tuple[Tensor, list[Tensor], dict[str, Any]]:
        leaves = {name: one.detach().requires_grad_() for name, one in zip(names, given, strict=False)}
        held = leaves | dict(zip(beside, given[len(names) :], strict=True))
        answers = torch.func.functional_call(net, held, (x,))
        loss = answers.logsumexp(-1).mean()
        return loss.detach(), list(torch.autograd.grad(loss, list(leaves.values()))), {"answers": (answers.detach(), 3)}

    return found


def arguments(net: nn.Module, x: Tensor) -> list[Tensor]:
    return [x, *(one.detach().clone() for one in (*net.parameters(), *net.buffers()))]


def calls(graph: GraphModule) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("name", MODULES)
def test_a_graph_does_the_same_with_other_numbers(name: str) -> None:
    """Loss, gradients, answers and buffers, bit for bit, with dropout drawn alike."""
    make, draw = MODULES[name]
    torch.manual_seed(0)
    net = make().train()
    graph = operations(learning(net), arguments(net, draw()))
    other = make().train()
    x = draw()
    sets = [arguments(other, x), arguments(other, x)]
    torch.manual_seed(1)
    loss, gradients, beside = learning(net)(*sets[0])
    torch.manual_seed(1)
    found, slopes, more = graph(*sets[1])
    assert torch.equal(loss, found)
    assert all(torch.equal(one, two) for one, two in zip(gradients, slopes, strict=True))
    assert torch.equal(beside["answers"][0], more["answers"][0])
    assert more["answers"][1] == 3
    assert all(torch.equal(one, two) for one, two in zip(*sets, strict=True))
    buffers = len(list(net.buffers()))
    assert not buffers or not torch.equal(sets[1][-buffers], list(other.buffers())[0])


@pytest.mark.parametrize("name", MODULES)
def test_operations_are_those_that_torchs_own_tracing_finds(name: str) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    make, draw = MODULES[name]
    net = make().train()
    given = arguments(net, draw())
    mine = operations(learning(net), [one.clone() for one in given])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = make_fx(learning(net))(*(one.clone() for one in given))
    assert calls(mine) == calls(theirs)
    for one, two in zip(mine.graph.nodes, theirs.graph.nodes, strict=True):
        value, other = one.meta.get("val"), two.meta.get("val")
        if isinstance(value, Tensor):
            assert (value.shape, value.stride(), value.dtype) == (other.shape, other.stride(), other.dtype)


def test_what_is_changed_in_place_is_changed_in_the_arguments() -> None:
    def function(total: Tensor, x: Tensor) -> Tensor:
        total.add_(x.sum())
        return total * 2

    graph = operations(function, [torch.zeros(()), torch.ones(3)])
    total = torch.ones(())
    assert graph(total, torch.full((3,), 2.0)) == 14
    assert total == 7


def test_a_number_of_pythons_is_made_anew_each_time() -> None:
    def function(x: Tensor) -> Tensor:
        two = torch.tensor(2.0)
        two.add_(x.sum())
        return two

    graph = operations(function, [torch.ones(3)])
    assert [float(graph(torch.ones(3))) for _ in range(2)] == [5, 5]


def test_a_number_that_is_always_the_same_may_be_read() -> None:
    def function(x: Tensor) -> Tensor:
        rate = torch.tensor(3.0) * 2
        return x * rate.item() if rate > 5 else x

    graph = operations(function, [torch.ones(3)])
    assert graph(torch.ones(3)).tolist() == [6, 6, 6]


@pytest.mark.parametrize(
    "change",
    [
        lambda number: number.add_(0.5),
        lambda number: number.mul_(torch.tensor(3.0)),
        lambda number: number.fill_(4.0),
        lambda number: number.zero_(),
        lambda number: number.copy_(torch.tensor(3.0)),
        lambda number: number.view(1).add_(1),
    ],
)
def test_a_number_may_be_changed_by_others_that_are_always_the_same(change: Callable[[Tensor], Any]) -> None:
    def function(x: Tensor) -> Tensor:
        number = torch.tensor(1.0)
        change(number)
        return x * number

    graph = operations(function, [torch.ones(3)])
    x = torch.full((3,), 2.0)
    assert [graph(x).tolist() for _ in range(2)] == [function(x).tolist()] * 2


def added(number: Tensor, x: Tensor) -> Tensor:
    """The number itself, added to through another look at it."""
    number.view(1).add_(x.sum())
    return number


def fixed_until_laid(x: Tensor) -> Tensor:
    """It was fixed, until it was laid over other memory."""
    other = x * 2
    number = torch.tensor([2.0]).set_(other.untyped_storage(), 0, (1,))  # type: ignore[call-overload]
    return other * number.item()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x.sum().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x * torch.tensor(2.0).add_(x.sum()).item(),  # it was fixed, until something was added
        lambda x: x * added(torch.tensor(2.0), x).item(),
        lambda x: x[: int(x.argmax())],
        fixed_until_laid,
        lambda x: x[: len(x.int().tolist())],
        lambda x: x + float(x.detach().numpy().max()),
        lambda x: x + float(np.asarray(x).max()),
        lambda x: x + float(np.from_dlpack(x).max()),
        lambda x: x * torch.tensor([x.sum(), 1.0])[0],
        lambda x: x * torch.rand(3).tolist()[0],
        torch.inference_mode()(lambda x: x if x.abs().max() > 50 else -x),
        torch.inference_mode()(lambda x: x * torch.allclose(x, -x)),
    ],
)
def test_a_number_that_is_read_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(NoProgramError, match="takes a number out of a tensor"):
        operations(function, [torch.ones(3)])


def laid(x: Tensor) -> Tensor:
    """A tensor that lies where another does."""
    found: Tensor = torch.empty(0).set_(x.untyped_storage(), 0, (3,))  # type: ignore[call-overload]
    return found


def test_a_tensor_over_the_memory_of_another_is_refused_where_it_is_used() -> None:
    graph = operations(lambda x: x + len(laid(x)), [torch.ones(3)])
    assert graph(torch.zeros(3)).tolist() == [3, 3, 3]
    with pytest.raises(NoProgramError, match="laid over the memory of another"):
        operations(lambda x: x + laid(x), [torch.ones(3)])


def test_a_tensor_is_laid_over_one_that_was_made() -> None:
    """As cuDNN's layers write weights side by side under autocast; gradients go through it."""

    def function(x: Tensor) -> Tensor:
        whole, weight = torch.zeros(5), x.detach().requires_grad_()
        part = torch.empty(0).set_(whole.untyped_storage(), 1, (3,))  # type: ignore[call-overload]
        part.copy_(weight)
        found: Tensor = torch.autograd.grad((part * whole[:3]).sum(), weight)[0]
        return whole + found.sum()

    graph = operations(function, [torch.ones(3)])
    x = torch.tensor([1.0, 2, 3])
    assert graph(x).tolist() == function(x).tolist() == [3, 4, 5, 6, 3]


def test_what_cannot_be_written_down_is_refused() -> None:
    with pytest.raises(NoProgramError, match="given a Generator"):
        operations(lambda x: torch.bernoulli(x, generator=torch.Generator()), [torch.ones(3)])


def test_a_tensor_of_another_class_is_refused() -> None:
    class Own(Tensor):
        pass

    held = torch.ones(3).as_subclass(Own)
    with pytest.raises(NoProgramError, match="a tensor is a Own"):
        operations(lambda x: x + held, [torch.ones(3)])


def test_tensors_from_elsewhere_are_constants() -> None:
    held, weight = torch.arange(3.0), nn.Parameter(torch.ones(3))
    graph = operations(lambda x: x * held + weight + held, [torch.ones(3)])
    assert len([node for node in graph.graph.nodes if node.op == "get_attr"]) == 3
    with torch.no_grad():
        assert graph(torch.full((3,), 2.0)).tolist() == [1, 4, 7]
    assert [value is weight for value in dict(graph.named_parameters()).values()] == [True]


def test_a_weight_that_autocast_has_cast_before_is_cast_in_the_graph() -> None:
    weight = torch.ones(3, 3, requires_grad=True)

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        F.linear(torch.ones(1, 3), weight)  # which leaves a cast weight in the cache
        graph = operations(function, [torch.ones(1, 3), weight])
        assert torch.is_autocast_cache_enabled()
    assert calls(graph).count("aten._to_copy.default") == 2
    assert graph(torch.ones(1, 3), torch.full((3, 3), 2.0)).tolist() == [[6, 6, 6]]


def test_numbers_that_are_the_same_each_time_may_leave() -> None:
    graph = operations(lambda x: x * sum(torch.arange(4).tolist()) + np.asarray(torch.ones(3)).sum(), [torch.ones(3)])
    assert graph(torch.ones(3)).tolist() == [9, 9, 9]


def test_another_tensor_in_the_place_of_one_is_refused() -> None:
    def function(x: Tensor) -> Tensor:
        found = x * 2
        found.data = x
        return found

    with pytest.raises(NoProgramError, match="another tensor in the place"):
        operations(function, [torch.ones(3)])


def test_operations_in_inference_mode_are_those_below_autograd() -> None:
    layer = nn.Linear(3, 2)

    def function(x: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = layer(x).softmax(1)
        return found

    graph = operations(function, [torch.ones(4, 3)])
    assert "aten.linear.default" not in calls(graph)
    x = torch.randn(4, 3)
    assert torch.equal(graph(x), function(x))


def test_sizes_that_depend_on_numbers_are_seen_in_inference_mode() -> None:
    function = torch.inference_mode()(lambda x: x * torch.where(x > 0)[0].shape[0])
    graph = operations(function, [torch.ones(3)])
    assert "aten.nonzero.default" in calls(graph), "which a plan refuses, as its size is another each time"


def test_a_mark_for_a_profiler_is_passed_over() -> None:
    def function(x: Tensor) -> Tensor:
        with torch.profiler.record_function("here"):
            return x + 1

    graph = operations(function, [torch.ones(3)])
    assert calls(graph) == ["aten.add.Tensor"]


def test_what_a_person_has_compiled_is_compiled_afterwards() -> None:
    """It refuses to be recorded, and does not forget that it is to be compiled."""
    ran = []

    def backend(graph: Any, example: Any) -> Any:
        def run(*given: Any) -> Any:
            ran.append(1)
            return graph(*given)

        return run

    body = torch.compile(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), backend=backend, fullgraph=True)
    with pytest.raises(RuntimeError, match="dynamo-optimized"):
        operations(lambda x: body(x).sum(), [torch.ones(2, 3)])
    for _ in range(3):
        body(torch.ones(2, 3))
    assert len(ran) == 3


def test_a_method_that_somebody_put_in_the_place_of_torchs_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(self: nn.RNNBase) -> None:
        """Do nothing."""

    monkeypatch.setattr(nn.RNNBase, "flatten_parameters", own)
    operations(lambda x: x + 1, [torch.ones(3)])
    assert nn.RNNBase.flatten_parameters is own
