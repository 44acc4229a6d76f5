from typing import Any

import pytest
import torch

from csgnn_dgl.models import SEGMENTERS, CSGNNParts
from csgnn_dgl.testing import assert_equivariant
from tests.tolerances import ROUNDED, TOLERANCE


def small(**options: Any) -> CSGNNParts:
    torch.manual_seed(0)
    return CSGNNParts(**{**CSGNNParts.tiny, "num_parts": 5, **options}).eval()


@pytest.mark.parametrize("mapping", ["prism", "shell"])
def test_the_60_rotations_change_no_logit_and_no_label(mapping: str) -> None:
    model = small(mapping=mapping).double()
    points = torch.randn(2, 64, 3, dtype=torch.float64)

    def answers(clouds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = model(clouds)
        return logits, logits.argmax(dim=2)

    assert_equivariant(answers, points, outputs_are="invariant")


def test_logits_go_with_their_points_and_clouds() -> None:
    model = small()
    points = torch.randn(3, 64, 3)
    logits = model(points)
    order = torch.randperm(64)
    torch.testing.assert_close(model(points[:, order]), logits[:, order], **TOLERANCE[torch.float32])
    torch.testing.assert_close(model(points[1:2] * 7), logits[1:2], **TOLERANCE[torch.float32])
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 0


def test_every_parameter_learns_and_a_checkpoint_gives_the_model_back(tmp_path) -> None:
    model = small().train()
    model(torch.randn(4, 64, 3)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    SEGMENTERS.write(tmp_path / "parts.ckpt", model.eval())
    points = torch.randn(1, 64, 3)
    torch.testing.assert_close(CSGNNParts.from_checkpoint(tmp_path / "parts.ckpt")(points), model(points), **ROUNDED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 9}, "level must be one of"),
        ({"mapping": "flat"}, "mapping must be one of prism, shell"),
        ({"dropout": 1}, "dropout must be"),
        ({"hidden": 0}, "hidden"),
        ({"num_parts": 0}, "num_parts"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)
