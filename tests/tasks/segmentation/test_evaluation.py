import numpy as np
import torch
from sklearn.metrics import jaccard_score

from csgnn_dgl.data import PartClouds
from csgnn_dgl.tasks.segmentation.data import allowed_parts
from csgnn_dgl.tasks.segmentation.evaluation import (
    ShapeIoU,
    measure_consistency,
    restricted,
    score_parts,
    shape_ious,
)
from tests.tolerances import EXACT, approx

CLASSES = [0, 0, 0, 1, 1]


def some(num_shapes: int = 6, num_points: int = 50) -> PartClouds:
    rng = np.random.default_rng(1)
    labels = np.arange(num_shapes) % 2
    parts = np.stack([rng.choice([[0, 1, 1], [3, 4, 4]][label], num_points) for label in labels])
    points = rng.normal(size=(num_shapes, num_points, 3))
    return PartClouds(
        points, labels, ("cup", "pen"), parts=parts, part_names=tuple("abcde"), part_classes=np.array(CLASSES)
    )


def test_the_intersection_over_union_is_that_of_scikit_learn() -> None:
    clouds, rng = some(), np.random.default_rng(2)
    predicted = np.where(rng.random(clouds.parts.shape) < 0.3, np.array([[0], [3]])[clouds.labels], clouds.parts)
    given, true_parts, labels = (torch.from_numpy(own) for own in (predicted, clouds.parts, clouds.labels))
    found = shape_ious(given, true_parts, labels, allowed_parts(clouds))
    for shape, value in enumerate(found.tolist()):
        own = [part for part in range(5) if CLASSES[part] == clouds.labels[shape]]
        true = clouds.parts[shape]
        wanted = jaccard_score(true, predicted[shape], labels=own, average="macro", zero_division=1)
        assert value == approx(wanted, **EXACT)
    score = score_parts(given, clouds, torch.arange(6), allowed_parts(clouds), "z")
    means = [found[clouds.labels == label].mean().item() for label in (0, 1)]
    assert [*score.by_class.values()] == approx(means, **EXACT)
    assert (score.iou, score.class_iou) == approx((found.mean().item(), np.mean(means)), **EXACT)
    assert score.accuracy == approx(float((predicted == clouds.parts).mean()), **EXACT)
    metric = ShapeIoU()
    for part in (slice(4), slice(4, 6)):
        metric.update(given[part], true_parts[part], labels[part], allowed_parts(clouds))
    assert float(metric.compute()) == approx(float(found.mean().float()), **EXACT)


def test_a_point_is_given_a_part_of_its_class() -> None:
    clouds = some()
    logits = torch.randn(6, 50, 5)
    chosen = restricted(logits, torch.from_numpy(clouds.labels), allowed_parts(clouds)).argmax(dim=2)
    assert (torch.tensor(CLASSES)[chosen] == torch.from_numpy(clouds.labels)[:, None]).all()
    assert torch.equal(chosen[0], logits[0, :, :3].argmax(dim=1))


class Heights(torch.nn.Module):
    """Says of the upper half of space that it is a part: half of all points change it under random rotations."""

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        up = points[..., 2:] > 0
        return torch.cat([up, ~up, up & False, up, ~up], dim=2).float()


def test_consistency_is_all_or_what_chance_leaves() -> None:
    clouds = some(40)
    radii = torch.nn.Module()
    radii.forward = lambda points: points.norm(dim=2, keepdim=True) * torch.arange(5)
    assert measure_consistency(radii, clouds, allowed_parts(clouds)).share == 1
    found = measure_consistency(Heights(), clouds, allowed_parts(clouds), copies=20)
    assert (found.num_clouds, found.copies) == (40, 20)
    assert abs(found.share - 0.5) < 0.05
