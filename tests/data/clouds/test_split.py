import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csgnn_dgl.data import stratified_split
from csgnn_dgl.errors import InputError


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(0, 12), min_size=2, max_size=80),
    st.floats(0.01, 0.99),
    st.integers(0, 2**31 - 1),
)
def test_parts_make_up_the_whole_and_training_keeps_every_class(labels: list[int], fraction: float, seed: int) -> None:
    if len(set(labels)) == len(labels):
        with pytest.raises(InputError, match="give at least two shapes of some class"):
            stratified_split(labels, fraction, seed)
        return
    training, validation = stratified_split(labels, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(len(labels)))
    np.testing.assert_array_equal(training, np.sort(training))
    np.testing.assert_array_equal(validation, np.sort(validation))
    assert {labels[i] for i in training} == set(labels)
    assert len(validation) >= 1
    again = stratified_split(labels, fraction, seed)
    np.testing.assert_array_equal(validation, again[1])


def test_every_class_gives_its_tenth() -> None:
    labels = np.repeat(np.arange(5), [100, 200, 50, 10, 40])
    _, validation = stratified_split(labels, 0.1, 0)
    np.testing.assert_array_equal(np.bincount(labels[validation]), [10, 20, 5, 1, 4])


def test_single_shapes_stay_in_training() -> None:
    labels = np.array([0] * 10 + [1] + [2] * 10 + [3])
    training, validation = stratified_split(labels, 0.2, 1)
    assert {10, 21} <= set(training.tolist())
    np.testing.assert_array_equal(np.bincount(labels[validation], minlength=4), [2, 0, 2, 0])


def test_few_held_out_shapes_come_from_different_classes() -> None:
    labels = np.repeat(np.arange(20), 3)
    _, validation = stratified_split(labels, 0.1, 0)
    assert len(validation) == 6
    assert np.bincount(labels[validation]).max() == 1


def test_no_class_is_held_out_whole() -> None:
    labels = np.array([0, 0, 1, 1, 1, 1, 1, 2, 2])
    for seed in range(20):
        training, validation = stratified_split(labels, 0.625, seed)
        assert set(labels[training]) == {0, 1, 2}
        assert len(validation) in (4, 5, 6)


def test_seeds_differ() -> None:
    labels = np.repeat(np.arange(5), 40)
    assert (stratified_split(labels, 0.1, 0)[1] != stratified_split(labels, 0.1, 1)[1]).any()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_bad_fractions(fraction: float) -> None:
    with pytest.raises(InputError, match="the validation fraction is .*; give a number between 0 and 1"):
        stratified_split([0, 0, 1, 1], fraction)
