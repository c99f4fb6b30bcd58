"""A person's own data sets and loaders are respected as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import netwright.data as nd
from netwright.data import torch_data
from netwright.data.batches import eval_batches, train_batches
from netwright.errors import DataError
from netwright.records import LoadOptions


class Items(Dataset[Any]):
    """Items as a function of the index, counted when read."""

    def __init__(self, make: Any, count: int = 40) -> None:
        self.make, self.count, self.read = make, count, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.count:
            raise IndexError(index)
        self.read += 1
        return self.make(index)


def pairs(index: int) -> tuple[torch.Tensor, int]:
    return torch.full((3,), float(index)), index % 2


def first(data: nd.Data) -> dict[str, torch.Tensor]:
    return next(iter(eval_batches(data, "train", batch_size=4, workers=0))).inputs


def test_a_data_set_is_split_and_not_prepared() -> None:
    """70/10/20 by class, no preprocessing of ours, and a choice that says so."""
    data = nd.load(Items(pairs))
    assert {name: split.count for name, split in data.spec.splits.items()} == {"train": 28, "val": 4, "test": 8}
    assert data.spec.preprocess.operations == ()
    assert "preprocess" in {choice.name for choice in data.spec.choices}
    assert data.spec.task == "classification"
    assert data.spec.inputs[0].shape == (3,)


def test_splits_hold_the_items_that_they_say() -> None:
    """Each item is in one split, and its target is its own."""
    data = nd.load(Items(pairs))
    seen = []
    for split in ("train", "val", "test"):
        for batch in eval_batches(data, split, batch_size=5, workers=0):
            assert batch.targets is not None
            seen += batch.inputs["inputs"][:, 0].int().tolist()
            assert torch.equal(batch.inputs["inputs"][:, 0].long() % 2, batch.targets)
    assert sorted(seen) == list(range(40))


@pytest.mark.parametrize("index", [0, 1])
def test_given_splits_are_used_whole(index: int) -> None:
    """With val and test given the data set trains whole."""
    kinds: list[Any] = [lambda: Items(pairs), lambda: TensorDataset(torch.zeros(40, 3), torch.arange(40) % 2)]
    make = kinds[index]
    data = nd.load(make(), val=make(), test=make())
    assert {name: split.count for name, split in data.spec.splits.items()} == {"train": 40, "val": 40, "test": 40}


def test_mappings_name_their_inputs() -> None:
    """Keys are the fields; ``labels`` is the target."""
    data = nd.load(Items(lambda i: {"ids": torch.arange(5), "mask": torch.ones(5), "labels": i % 3}))
    assert [field.name for field in data.spec.inputs] == ["ids", "mask"]
    assert data.spec.classes == ("0", "1", "2")
    batch = first(data)
    assert {name: value.dtype for name, value in batch.items()} == {"ids": torch.int64, "mask": torch.float32}


def test_two_inputs_are_numbered() -> None:
    """(x1, x2, y) gives input_0 and input_1."""
    data = nd.load(Items(lambda i: (torch.zeros(2), torch.ones(3), i % 2)))
    assert [field.name for field in data.spec.inputs] == ["input_0", "input_1"]
    assert {name: tuple(value.shape) for name, value in first(data).items()} == {"input_0": (4, 2), "input_1": (4, 3)}


def test_images_are_called_so() -> None:
    """One input of three dimensions is an image."""
    data = nd.load(Items(lambda i: (torch.zeros(1, 4, 4), i % 2)))
    assert data.spec.kind == "image"
    assert list(first(data)) == ["image"]


def test_numpy_items_and_python_numbers_become_float32() -> None:
    """float64 arrays and Python floats fit the weights of a module; a float64 tensor was meant and stays."""
    data = nd.load(Items(lambda i: (np.zeros(3), float(i))))
    assert data.spec.task == "regression"
    assert first(data)["inputs"].dtype == torch.float32
    data = nd.load(Items(lambda i: (torch.zeros(3, dtype=torch.float64), float(i))))
    assert first(data)["inputs"].dtype == torch.float64


def test_targets_are_taken_where_they_stand() -> None:
    """With an attribute ``targets`` the first item is read, and a few to see that the attribute is true."""
    items = Items(pairs)
    items.targets = [i % 2 for i in range(40)]  # type: ignore[attr-defined]
    nd.load(items)
    assert items.read == 1 + torch_data.LOOKED_AT < len(items)


def test_any_map_style_object_will_do() -> None:
    """Subset, ConcatDataset, TensorDataset, and an object of no torch class."""

    class Own:
        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> Any:
            return pairs(index)

    tensors = TensorDataset(torch.zeros(20, 3), torch.arange(20) % 2)
    sources: tuple[Any, ...] = (
        Subset(Items(pairs, 80), range(40)),
        ConcatDataset([tensors, tensors]),
        Own(),
        [pairs(i) for i in range(40)],
    )
    for source in sources:
        assert sum(split.count for split in nd.load(source).spec.splits.values()) == 40


def test_loading_leaves_the_generators_alone() -> None:
    """Items that draw while their targets are read move nothing."""
    before = torch.get_rng_state()
    nd.load(Items(lambda i: (torch.rand(3), i % 2)))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_digest_repeats_for_items_that_draw() -> None:
    """Loading twice gives one digest, or nothing could be resumed."""
    first_time = nd.load(Items(lambda i: (torch.rand(3), i % 2)))
    torch.rand(5)
    assert nd.load(Items(lambda i: (torch.rand(3), i % 2))).spec.digest == first_time.spec.digest


def test_shapes_that_differ_are_named() -> None:
    """Items that cannot be stacked are told by their shapes."""
    data = nd.load(
        Items(lambda i: (torch.zeros(3 + i % 2), i % 2)), options=LoadOptions(val_fraction=0, test_fraction=0)
    )
    with pytest.raises(DataError, match=r"inputs \(3,\), target \(\); inputs \(4,\)"):
        first(data)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda i: torch.zeros(3), "Tensor"),
        (lambda i: {"x": torch.zeros(3), "class": 1}, "keys x, class"),
        (lambda i: (torch.zeros(3), 1 - 3 * (i == 7)), "target of sample 7"),
        (lambda i: (torch.zeros(3), 1000 * (i % 2)), "from 0"),
    ],
)
def test_what_cannot_be_used_is_named(make: Any, words: str) -> None:
    """Items without a target, a target under an unknown key, classes below 0 or far apart."""
    with pytest.raises(DataError) as caught:
        nd.load(Items(make))
    assert words in str(caught.value)


def test_an_empty_data_set_is_refused() -> None:
    """There is nothing to learn from."""
    with pytest.raises(DataError, match="at least one item"):
        nd.load(Items(pairs, 0))


def test_a_loader_keeps_its_batches() -> None:
    """Batch size, order and collate function are the loader's."""

    def collate(items: list[Any]) -> dict[str, torch.Tensor]:
        return {"seen": torch.stack([x for x, _ in items]) * 2, "y": torch.tensor([y for _, y in items])}

    loader = DataLoader(Items(pairs), batch_size=16, collate_fn=collate)
    data = nd.load(loader, val=DataLoader(Items(pairs, 8), batch_size=8))
    assert {name: split.count for name, split in data.spec.splits.items()} == {"train": 40, "val": 8}
    batches = list(train_batches(data, batch_size=3, seed=0, epoch=0, augment=(), workers=2))
    assert [len(batch) for batch in batches] == [16, 16, 8]
    assert batches[0].inputs["seen"][:3, 0].tolist() == [0, 2, 4]


def test_a_loader_without_a_length_is_refused() -> None:
    """A stream has no epochs, no splits and no place to resume from."""

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            yield torch.zeros(3), 0

    with pytest.raises(DataError, match="Stream"):
        nd.load(DataLoader(Stream()))


class Renamed(Dataset):
    """As torchvision's: labels in `targets`, changed by a `target_transform` when an item is read."""

    def __init__(self) -> None:
        self.targets = [index % 10 for index in range(40)]

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.zeros(3), int(self.targets[index] >= 5)


def test_targets_are_those_of_the_items() -> None:
    """Not those of an attribute that says otherwise."""
    assert nd.load(Renamed()).spec.classes == ("0", "1")


@pytest.mark.parametrize("extra", [{"name": "a file"}, {"box": None}, {"kept": object()}])
def test_a_field_that_is_no_number_is_named(extra: dict) -> None:
    """With its type and the cure."""

    class Named(Renamed):
        def __getitem__(self, index: int) -> dict:
            return {"x": torch.zeros(3), "label": index % 2} | extra

    with pytest.raises(DataError) as caught:
        nd.load(Named())
    assert f"`{next(iter(extra))}`" in caught.value.where
    assert type(next(iter(extra.values()))).__name__ in caught.value.got


class Late(Dataset):
    """Its ninth item is unlike the others; `targets` spares reading it when loading."""

    def __init__(self, odd: object) -> None:
        self.odd, self.targets = odd, [index % 2 for index in range(40)]

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> object:
        return self.odd if index == 9 else {"x": torch.zeros(3), "y": index % 2}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("odd", "where", "got"),
    [
        ({"x": "text", "y": 1}, "`x`", "str"),
        ({"x": None, "y": 1}, "`x`", "NoneType"),
        ({"x": torch.zeros(4), "y": 1}, "a batch", "x (3,), target (); x (4,), target ()"),
        ({"z": torch.zeros(3), "y": 1}, "a batch", "z (3,)"),
    ],
)
@pytest.mark.parametrize("loader", [False, True])
def test_an_item_that_cannot_be_put_into_a_batch_is_named(
    odd: object, where: str, got: str, workers: int, loader: bool
) -> None:
    """By field, in place of what torch says of it; from a person's own loader as from a data set."""
    whole = LoadOptions(val_fraction=0, test_fraction=0)
    data = nd.load(DataLoader(Late(odd), batch_size=4, num_workers=workers) if loader else Late(odd), options=whole)
    with pytest.raises(DataError) as caught:
        list(eval_batches(data, "train", batch_size=4, workers=workers))
    assert where in caught.value.where
    assert got in caught.value.got


def test_a_fault_of_a_collate_function_stays_as_it_is() -> None:
    """It is the person's own code, and may well take what torch does not."""

    def collate(items: list[dict]) -> dict:
        raise KeyError("mine")

    data = nd.load(DataLoader(Late({"x": torch.zeros(3), "y": 1}), batch_size=4, collate_fn=collate))
    with pytest.raises(KeyError, match="mine"):
        list(eval_batches(data, "train", batch_size=4, workers=0))


def test_targets_of_different_shapes_are_told() -> None:
    """They cannot be one array."""
    with pytest.raises(DataError, match=r"one shape, got \(1,\), \(2,\)"):
        nd.load(Items(lambda i: (torch.zeros(3), torch.zeros(1 + i % 2))))


def test_items_that_require_gradients_are_taken() -> None:
    """A data set that a person made of parameters."""
    data = nd.load(Items(lambda i: (torch.zeros(3, requires_grad=True), torch.tensor(float(i), requires_grad=True))))
    assert data.spec.task == "regression"


class Held(Renamed):
    """Counts how many items are read."""

    reads = 0

    def __init__(self, *, transform: object = None, target_transform: object = None) -> None:
        self.targets = [int(index == 7) for index in range(400)]
        self.transform, self.target_transform = transform, target_transform

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.reads += 1
        target = self.targets[index]
        return torch.zeros(3), target if self.target_transform is None else self.target_transform(target)


def test_a_target_transform_is_believed() -> None:
    """Though the items that are looked at first happen to be those it leaves alone."""
    data = Held(target_transform=lambda target: 2 * target)
    assert nd.load(data, options=LoadOptions(val_fraction=0, test_fraction=0)).train.targets[7] == 2


def test_other_transforms_keep_the_targets_that_are_held() -> None:
    """Not each item is read for them."""
    data = Held(transform=lambda x: x)
    assert nd.load(data, options=LoadOptions(val_fraction=0, test_fraction=0)).train.targets[7] == 1
    assert data.reads < 20
