import re

import pytest
import torch

from csgnn_dgl.mapping.unit_ball import centre_clouds, scale_to_unit_ball
from tests.tolerances import ROUNDED


def test_the_largest_norm_becomes_one_without_centring_and_half_precision_is_raised() -> None:
    points = torch.tensor([[[3.0, 4.0, 0.0], [1.0, 0.0, 0.0]], [[0.0, 0.0, 0.1], [0.0, 0.0, 0.05]]])
    expected = torch.tensor([[[0.6, 0.8, 0.0], [0.2, 0.0, 0.0]], [[0.0, 0.0, 1.0], [0.0, 0.0, 0.5]]])
    found = scale_to_unit_ball(points.half())
    assert found.dtype == torch.float32
    assert torch.equal(found, scale_to_unit_ball(points.half().float()))
    for dtype in (torch.float32, torch.float64):
        found = scale_to_unit_ball(points.to(dtype))
        torch.testing.assert_close(found, expected.to(dtype), **ROUNDED)


def test_a_cloud_gets_the_same_bits_in_every_batch() -> None:
    points = torch.randn(7, 501, 3)
    for function in (centre_clouds, scale_to_unit_ball):
        assert torch.equal(torch.cat([function(cloud) for cloud in points.split(1)]), function(points))


def test_the_mean_moves_to_the_origin() -> None:
    points = torch.tensor([[[1.0, 2.0, 3.0], [3.0, 2.0, -1.0]]])
    assert centre_clouds(points).tolist() == [[[-1.0, 0.0, 2.0], [1.0, 0.0, -2.0]]]


@pytest.mark.parametrize(
    ("value", "fault"), [(0.0, "all points at the origin"), (float("inf"), "a coordinate that is NaN or infinite")]
)
def test_clouds_without_a_size_are_refused(value: float, fault: str) -> None:
    points = torch.cat([torch.ones(1, 4, 3), torch.full((1, 4, 3), value)])
    with pytest.raises(ValueError, match=f"cloud 1 of the batch has {fault}; remove it or mend its points"):
        scale_to_unit_ball(points)


def test_a_traced_scaling_does_the_same_and_refuses_the_same() -> None:
    class Scaling(torch.nn.Module):
        def forward(self, points: torch.Tensor) -> torch.Tensor:
            return scale_to_unit_ball(points)

    points = torch.randn(2, 9, 3)
    exported = torch.export.export(Scaling(), (points + 1,)).module()
    for recorded in (exported, torch.compile(scale_to_unit_ball, backend="eager", fullgraph=True)):
        assert torch.equal(recorded(points), scale_to_unit_ball(points))
        with pytest.raises(RuntimeError, match="a cloud has all points at the origin"):
            recorded(0 * points)


@pytest.mark.parametrize("shape", [(64, 3), (2, 0, 3), (2, 64, 2), (1, 2, 64, 3)])
def test_what_is_no_batch_of_clouds_is_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"(B, N, 3) with N > 0 expected, got {shape}")):
        scale_to_unit_ball(torch.ones(shape))
