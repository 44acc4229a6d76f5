import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from csgnn_dgl.data import CloudTransform, PointClouds
from csgnn_dgl.symmetry import so3_error
from csgnn_dgl.tasks.classification.evaluation import measure_so3_error, score, score_views, wilson_interval
from tests.tolerances import EXACT, approx

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


@settings(deadline=None)
@given(st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_interval_solves_its_equation(counts):
    correct, total = counts
    share = correct / total
    centre = (share + Z**2 / (2 * total)) / (1 + Z**2 / total)
    half = Z * math.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2)) / (1 + Z**2 / total)
    low, high = wilson_interval(correct, total)
    assert low == approx(max(centre - half, 0.0), **EXACT)
    assert high == approx(min(centre + half, 1.0), **EXACT)


def test_voting_is_the_mean_of_the_softmax_outputs():
    logits = torch.tensor([[[4.0, 0.0, 0.0]], [[0.0, 1.5, 0.0]], [[0.0, 1.5, 0.0]]])  # three votes for one shape
    table = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=2, keepdims=True)
    expected = (table[0] + table[1] + table[2]) / 3
    assert expected.argmax() == 1  # two of three, though the mean of the logits would say 0
    single, voted = score_views(logits.softmax(dim=2)[None], torch.tensor([1]), ("z",), votes=3)
    assert (single.correct, voted.correct) == (0, 1)
    assert logits.mean(dim=0).argmax().item() == 0


def test_score_agrees_with_scikit_learn():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 200)
    labels[labels == 3] = 2  # a class without shapes
    probabilities = torch.from_numpy(rng.random((200, 5))).softmax(dim=1)
    predicted = probabilities.argmax(dim=1).numpy()
    result = score(probabilities, torch.from_numpy(labels), "SO3", votes=4)
    np.testing.assert_array_equal(np.array(result.confusion), sklearn_confusion(labels, predicted, labels=range(5)))
    per_class = [(predicted[labels == k] == k).mean() for k in np.unique(labels)]
    assert result.class_mean_accuracy == approx(np.mean(per_class), **EXACT)
    assert result.accuracy == (predicted == labels).mean()
    assert (result.num_shapes, result.correct) == (200, (predicted == labels).sum())
    assert result.interval == wilson_interval(result.correct, 200)
    assert (result.rotation, result.votes) == ("SO3", 4)


def test_class_mean_counts_every_class_alike():
    labels = torch.tensor([0] * 9 + [1])
    probabilities = torch.tensor([[0.9, 0.1]]).repeat(10, 1)
    result = score(probabilities, labels, "none")
    assert result.accuracy == 0.9
    assert result.class_mean_accuracy == balanced_accuracy_score([0] * 9 + [1], [0] * 10) == 0.5


def test_confusion_has_true_classes_in_rows():
    result = score(torch.tensor([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.9, 0.1, 0.0]]), torch.tensor([0, 1, 0]), "z")
    assert result.confusion == ((1, 1, 0), (0, 1, 0), (0, 0, 0))


def test_so3_error_is_that_of_a_fixed_choice_of_clouds():
    rng = np.random.default_rng(0)
    clouds = PointClouds(rng.random((12, 5, 3), dtype=np.float32), np.zeros(12, dtype=np.int64), ("a",))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(15, 2))
    every = measure_so3_error(network, clouds)
    assert every == so3_error(network, CloudTransform()(torch.from_numpy(clouds.points)))
    assert every.num_clouds == 12
    some = measure_so3_error(network, clouds, num_clouds=7)
    assert some == measure_so3_error(network, clouds, num_clouds=7) != measure_so3_error(network, clouds, num_clouds=8)
    assert (some.num_clouds, some.relative_error[0], some.changed[0]) == (7, 0.0, 0.0)
    assert min(some.relative_error[1:]) > 0


def test_scores_come_without_and_with_voting():
    views = torch.zeros(2, 3, 4, 2)
    views[..., 0] = 0.6
    views[..., 1] = 0.4
    views[1, 0] = torch.tensor([0.1, 0.9])  # the single SO3 prediction is wrong, the other two votes outweigh it
    views[1, 1:] = torch.tensor([0.99, 0.01])
    labels = torch.zeros(4, dtype=torch.int64)
    results = score_views(views, labels, ("z", "SO3"), votes=3)
    assert [(r.rotation, r.votes, r.accuracy) for r in results] == [
        ("z", 1, 1.0),
        ("z", 3, 1.0),
        ("SO3", 1, 0.0),
        ("SO3", 3, 1.0),
    ]
    assert [r.votes for r in score_views(views[:, :1], labels, ("z", "SO3"), votes=1)] == [1, 1]
