import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from csgnn_dgl.data import Augmentation, CloudDataset, CloudTransform, EpochIndex, EpochSampler, PointClouds, collate
from csgnn_dgl.errors import InputError
from tests.tolerances import TOLERANCE

SIZE = 23
RNG = np.random.default_rng(0)
CLOUDS = PointClouds(RNG.normal(size=(SIZE, 50, 3)).astype(np.float32), RNG.integers(0, 4, SIZE), tuple("abcd"))


def epoch_of(dataset: CloudDataset, batch_size: int, workers: int, epochs: int = 2) -> dict[str, torch.Tensor]:
    """Serve the last of some epochs with worker processes that live through all of them; order by index."""
    sampler = EpochSampler(len(dataset), seed=4)
    loader = DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
    )
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        batches = list(loader)
    whole = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    order = whole["index"].argsort()
    return {key: value[order] for key, value in whole.items()}


def test_any_number_of_workers_and_any_batch_size_give_the_same_bits() -> None:
    dataset = CloudDataset(CLOUDS, Augmentation(), seed=9)
    reference = epoch_of(dataset, SIZE, 0)
    augmentation = Augmentation()
    draws = augmentation.draw(9, 1, range(SIZE), 50)
    assert torch.equal(reference["points"], draws.apply(CloudTransform()(torch.from_numpy(CLOUDS.points))))
    for batch_size, workers in ((1, 0), (7, 0), (5, 1), (4, 2)):
        found = epoch_of(dataset, batch_size, workers)
        for key, value in reference.items():
            assert torch.equal(found[key], value), (key, batch_size, workers)


def test_epochs_differ() -> None:
    dataset = CloudDataset(CLOUDS, Augmentation(), seed=9)
    first, second = epoch_of(dataset, 8, 0, epochs=1), epoch_of(dataset, 8, 0, epochs=2)
    assert (first["points"] != second["points"]).any(dim=-1).any(dim=-1).all()


@pytest.mark.parametrize("normalised", [False, True])
def test_batches_without_augmentation_are_the_centred_and_scaled_clouds(normalised: bool) -> None:
    dataset = CloudDataset(dataclasses.replace(CLOUDS, normalised=normalised))
    batch = dataset.__getitems__([3, 1, 3])
    wanted = CLOUDS.points[[3, 1, 3]].astype(np.float64)
    if not normalised:
        wanted -= wanted.mean(axis=1, keepdims=True)
        wanted /= np.linalg.norm(wanted, axis=2).max(axis=1)[:, None, None]
    np.testing.assert_allclose(batch["points"], wanted, **TOLERANCE[torch.float32])
    np.testing.assert_array_equal(batch["labels"], CLOUDS.labels[[3, 1, 3]])
    assert batch["index"].tolist() == [3, 1, 3]
    assert [batch[key].dtype for key in ("points", "labels", "index")] == [torch.float32, torch.int64, torch.int64]
    batch["points"].zero_()
    assert CLOUDS.points[3].any()


def test_single_samples() -> None:
    dataset = CloudDataset(CLOUDS, Augmentation(), seed=1)
    batch = dataset.__getitems__([EpochIndex(SIZE - 1, 6)])
    alone = dataset[EpochIndex(SIZE - 1, 6)]
    assert alone["points"].shape == (1, 50, 3)
    assert torch.equal(alone["points"], batch["points"])
    assert (alone["labels"], alone["index"]) == (CLOUDS.labels[-1], SIZE - 1)
    assert not torch.equal(dataset[SIZE - 1]["points"], batch["points"])
    for index in (SIZE, -1):
        with pytest.raises(IndexError, match=f"index {index} is out of range for 23 samples"):
            dataset[index]


def test_an_epoch_index_is_a_number_and_survives_pickling() -> None:
    index = pickle.loads(pickle.dumps(EpochIndex(5, 3)))
    assert index == 5
    assert index.epoch == 3
    assert [10, 11, 12, 13, 14, 15][index] == 15


def test_the_order_is_a_permutation_and_a_function_of_seed_and_epoch() -> None:
    sampler = EpochSampler(100, seed=2)
    first = list(sampler)
    assert sorted(first) == list(range(100))
    assert first == list(sampler) == list(EpochSampler(100, seed=2))
    sampler.set_epoch(1)
    second = list(sampler)
    assert {index.epoch for index in second} == {1}  # type: ignore[attr-defined]
    assert second != first
    assert list(EpochSampler(100, seed=3)) != first


@pytest.mark.parametrize("size", [1, 2, 10, 12, 13])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_processes_share_the_work(size: int, world: int) -> None:
    for shuffle in (True, False):
        samplers = [EpochSampler(size, 0, shuffle, rank, world) for rank in range(world)]
        parts = [list(sampler) for sampler in samplers]
        assert [len(part) for part in parts] == [len(sampler) for sampler in samplers]
        assert sorted(index for part in parts for index in part) == list(range(size))


@pytest.mark.parametrize(("size", "batch", "world"), [(31, 4, 2), (31, 4, 3), (16, 4, 2), (7, 1, 5), (100, 7, 4)])
def test_processes_share_the_whole_batches_of_one(size: int, batch: int, world: int) -> None:
    def order(rank: int, world: int, batch: int) -> list[int]:
        sampler = EpochSampler(size, 3, rank=rank, world=world, batch_size=batch, epoch=2)
        assert len(sampler) == len(list(sampler))
        return list(sampler)

    whole = order(0, 1, batch * world)
    assert len(whole) == size // (batch * world) * batch * world
    assert whole == list(EpochSampler(size, 3, epoch=2))[: len(whole)]
    shares = [order(rank, world, batch) for rank in range(world)]
    assert [index for turn in zip(*shares, strict=True) for index in turn] == whole
    assert {index.epoch for share in shares for index in share} == {2}  # type: ignore[attr-defined]


def test_a_function_is_asked_for_the_epoch_when_iteration_begins() -> None:
    epoch = 0
    sampler = EpochSampler(12, seed=2, epoch=lambda: epoch)
    first = list(sampler)
    sampler.set_epoch(7)  # as Lightning does, too late
    assert list(sampler) == first == list(EpochSampler(12, seed=2))
    epoch = 1
    second = list(sampler)
    assert second == list(EpochSampler(12, seed=2, epoch=1)) != first
    assert {index.epoch for index in second} == {1}  # type: ignore[attr-defined]


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_groups_are_mixed_evenly(counts: list[int], seed: int) -> None:
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    sampler = EpochSampler(len(groups), seed=seed, groups=groups)
    order = np.array(list(sampler))
    assert sorted(order) == list(range(len(groups)))
    # at every place, the share of each group is that of the whole, but for one sample and one place of each group
    for group, count in enumerate(counts):
        seen = np.cumsum(groups[order] == group)
        expected = count * np.arange(1, len(groups) + 1) / len(groups)
        assert (np.abs(seen - expected) <= 1 + count * len(counts) / len(groups)).all()
    if max(counts) > 9:
        sampler.set_epoch(1)
        assert list(sampler) != order.tolist()


def test_equal_groups_fill_batches_equally() -> None:
    groups = np.arange(40) % 4
    order = list(EpochSampler(40, seed=1, groups=groups))
    for start in range(0, 40, 4):
        assert sorted(groups[order[start : start + 4]]) == [0, 1, 2, 3]
    first = [index for index in order if groups[index] == 0]
    assert first != sorted(first)
    # processes share each batch
    parts = [list(EpochSampler(40, 1, True, rank, 2, groups)) for rank in range(2)]
    assert [index for pair in zip(*parts, strict=True) for index in pair] == order


def test_evaluation_is_in_order() -> None:
    assert list(EpochSampler(5, shuffle=False)) == [0, 1, 2, 3, 4]
    assert list(EpochSampler(5, shuffle=False, rank=1, world=2)) == [1, 3]


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="the sampler was given 0 samples"):
        EpochSampler(0)
    with pytest.raises(InputError, match="seed is -1"):
        EpochSampler(3, seed=-1)
    with pytest.raises(InputError, match="seed is -1"):
        CloudDataset(CLOUDS, seed=-1)
    with pytest.raises(ValueError, match=r"rank 2 is not in 0..1"):
        EpochSampler(3, rank=2, world=2)
    with pytest.raises(ValueError, match=r"3 samples need as many groups, got \(2,\)"):
        EpochSampler(3, groups=[0, 1])
