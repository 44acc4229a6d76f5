"""The audit finds in classifiers made by hand what was put there, and nothing else."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from csgnn_dgl.data import builtin_shapes
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.tasks.classification.audit import POINTS, Verdict, audit, choose
from tests import toy_classifiers as toys

BATCH = [f"its batch: {kind}" for kind in ("clouds of all classes", "clouds of its own class", "copies of itself")]
VOTES, SELECTION = "votes that a reported accuracy needs", "the test split, read for selection"


@pytest.fixture(scope="module")
def clouds() -> tuple[Tensor, Tensor]:
    """Two shapes of each class, sorted by class."""
    shapes = builtin_shapes("test", 64)
    chosen = np.arange(0, len(shapes), 20)
    points = torch.from_numpy(shapes.points[chosen])
    return points - points.mean(dim=1, keepdim=True), torch.from_numpy(shapes.labels[chosen])


def verdicts(model: object, clouds: tuple[Tensor, Tensor], **options: object) -> dict[str, Verdict]:
    found = audit(model, *clouds, **options)  # type: ignore[arg-type]
    assert len({item.question for item in found}) == len(found) == 14
    return {item.question: item for item in found}


def named(found: dict[str, Verdict], judgement: str) -> set[str]:
    return {question for question, item in found.items() if item.verdict == judgement}


def test_an_honest_one_has_nothing_wrong(clouds: tuple[Tensor, Tensor]) -> None:
    found = verdicts(toys.honest, clouds)
    assert not named(found, "wrong")
    assert found["the order of its points"].verdict == "fine"
    assert found["any rotation"].verdict == found["scale"].verdict == "noted"
    assert named(found, "unknown") == {SELECTION}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("attending", BATCH[:2]), ("normalising", BATCH[:2]), ("summing", BATCH)],  # a mean over equals is that of one
)
def test_one_that_looks_at_its_batch_is_wrong(name: str, wanted: list[str], clouds: tuple[Tensor, Tensor]) -> None:
    found = verdicts(getattr(toys, name), clouds)
    assert named(found, "wrong") == set(wanted)
    for question in wanted:
        item = found[question]
        assert item.measured is not None and item.threshold is not None and item.measured > item.threshold


def test_a_list_sorted_by_class_shows_in_the_accuracies(clouds: tuple[Tensor, Tensor]) -> None:
    points, labels = clouds
    own = {tuple(cloud.flatten().tolist()): int(label) for cloud, label in zip(points, labels, strict=True)}

    def voting(batch: Tensor) -> Tensor:
        """Knows the class of the batch's majority, but not that of a cloud."""
        mine = torch.tensor([own.get(tuple(cloud.flatten().tolist()), 0) for cloud in batch])
        counts = torch.bincount(mine, minlength=13).double()
        return toys.honest(batch) + (100 * counts if len(batch) > 1 else 0)

    found = verdicts(voting, clouds)
    assert "100.0% in this company" in found[BATCH[1]].text and "100.0% alone" not in found[BATCH[1]].text
    assert "100.0% in this company" not in found[BATCH[0]].text


def test_the_order_of_the_points_is_noted(clouds: tuple[Tensor, Tensor]) -> None:
    found = verdicts(toys.ordered, clouds)
    assert found["the order of its points"].verdict == "noted"
    assert not named(found, "wrong")


def test_a_declared_symmetry_has_to_be_kept(clouds: tuple[Tensor, Tensor]) -> None:
    rotations = {"rotations about the vertical axis", "the 60 rotations of the icosahedron", "any rotation"}
    assert rotations <= named(verdicts(toys.turning, clouds), "fine")
    found = verdicts(toys.bent, clouds)
    assert named(found, "wrong") == rotations
    assert "declares the symmetry 'SO3', but " in found["any rotation"].text
    assert named(verdicts(toys.bent, clouds, symmetry="icosahedral"), "wrong") == {
        "the 60 rotations of the icosahedron"
    }
    assert not named(verdicts(toys.bent, clouds, symmetry="none"), "wrong")


def test_one_answer_for_all_is_no_invariance(clouds: tuple[Tensor, Tensor]) -> None:
    assert named(verdicts(toys.constant, clouds), "wrong") == {"its own cloud at all"}


def test_what_is_drawn_is_noted_and_not_taken_for_a_dependence(clouds: tuple[Tensor, Tensor]) -> None:
    found = verdicts(toys.drawing, clouds)
    assert found["chance: the same call again"].verdict == "noted"
    assert not named(found, "wrong")
    state = torch.get_rng_state()
    assert verdicts(toys.drawing, clouds) == found
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("validation", "judgement"), [("test", "wrong"), ("split", "fine"), (None, "unknown")])
def test_a_test_split_that_picked_the_weights_is_wrong(
    validation: str | None, judgement: str, clouds: tuple[Tensor, Tensor]
) -> None:
    assert verdicts(toys.honest, clouds, validation=validation)[SELECTION].verdict == judgement


def test_an_invariant_one_needs_one_vote(clouds: tuple[Tensor, Tensor]) -> None:
    found = verdicts(toys.turning, clouds)[VOTES]
    assert (found.verdict, found.measured, found.threshold) == ("fine", 1, POINTS)


def test_votes_are_enough_once_the_accuracy_is_repeatable() -> None:
    """A turned arrow points up or down: right half of the time, so that one vote of S clouds varies by 1/(2√S)."""
    arrows = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.5]]).expand(200, 2, 3)

    def up(points: Tensor) -> Tensor:
        height = points[:, 0, 2] + 1e-3 * points[:, 1, 0]
        return torch.stack([height, -height], dim=1)

    labels = torch.zeros(200, dtype=torch.int64)
    found = verdicts(up, (arrows, labels), copies=16)[VOTES]
    assert found.verdict == "noted" and "extrapolated" in found.text
    spread = float(found.text.split("±")[1].split("%")[0]) / 100
    assert 0.9 < spread / (0.5 / 200**0.5) < 1.1
    assert verdicts(up, (arrows, labels), copies=16, test_size=10**6)[VOTES].measured == 1


def test_clouds_are_chosen_several_of_a_class() -> None:
    labels = np.repeat(np.arange(40), 30)
    for count, classes, largest in ((65, 10, 7), (200, 40, 5), (3, 1, 3), (5000, 40, 30)):
        chosen = choose(labels, count)
        found = labels[chosen]
        assert len(chosen) == min(count, len(labels)) == len(set(chosen.tolist()))
        assert len(np.unique(found)) == classes and np.bincount(found).max() == largest
        assert (np.diff(found) >= 0).all()
    assert choose(np.array([1, 0, 1, 2]), 4).tolist() == [1, 0, 2, 3]


def test_without_labels_or_training_accuracies_are_not_asked_for(clouds: tuple[Tensor, Tensor]) -> None:
    points, labels = clouds
    assert audit(toys.honest, points)[-2].verdict == "unknown"
    assert audit(toys.honest, points, labels + 1)[-2].verdict == "unknown"  # a class that has no logit
    assert audit(toys.honest, points, labels, trained=False)[-2].verdict == "unknown"


def test_modules_are_copied_and_audited_in_evaluation_mode(clouds: tuple[Tensor, Tensor]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 13), nn.Dropout(0.5), nn.BatchNorm1d(13)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for trained in (True, False):
        found = verdicts(model, clouds, trained=trained)
        assert not named(found, "wrong")
        assert found["points that are given twice"].verdict == "unknown"  # it takes 64 points
        assert "cannot be called with points (16, 80, 3)" in found["points that are given twice"].text
        assert found["scale"].threshold == 1e-8
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_module_that_refuses_float64_is_audited_in_float32(clouds: tuple[Tensor, Tensor]) -> None:
    class Single(nn.Module):
        def forward(self, points: Tensor) -> Tensor:
            if points.dtype != torch.float32:
                raise TypeError("float32 only")
            return toys.honest(points).float()

    found = verdicts(Single(), clouds)
    assert not named(found, "wrong") and found["scale"].threshold == 1e-3


@pytest.mark.parametrize("name", ["csgnn", "sfcnn"])
def test_models_of_the_package_are_as_they_promise(name: str, clouds: tuple[Tensor, Tensor]) -> None:
    kind = CLASSIFIERS[name]
    torch.manual_seed(0)
    found = verdicts(CLASSIFIERS.build(name, **{**kind.tiny, "num_classes": 13}), clouds, trained=False)
    assert not named(found, "wrong")
    assert {*BATCH, "the 60 rotations of the icosahedron", "the order of its points"} <= named(found, "fine")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda points: points, r"answers 1 clouds by \(1, 64, 3\); let it return logits"),
        (lambda points: toys.honest(points).tolist(), "answers 1 clouds by list"),
        (lambda points: toys.honest(points) * float("nan"), "logits are not finite"),
        (lambda points: 1 / 0, r"cannot be called with points \(1, 64, 3\) \(division by zero\)"),
    ],
)
def test_what_is_no_classifier_is_refused(model: object, message: str, clouds: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(InputError, match=message):
        verdicts(model, clouds)
