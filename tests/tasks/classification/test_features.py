"""A classifier that sees normals beside the points, trained and tested."""

import pytest
import torch

from csgnn_dgl.data.clouds import shapes
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CSGNN
from csgnn_dgl.testing import assert_equivariant
from csgnn_dgl.training import evaluate, fit

TINY = {**CSGNN.tiny, "num_points": 32}


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setenv("CSGNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CSGNN_KERNELS", "off")
    monkeypatch.setattr(shapes, "SHAPES_PER_CLASS", {"train": 3, "test": 1})
    return {
        "task": "classification",
        "data": {"num_points": 32, "batch_size": 8, "features": ["normals"], "validation_fraction": 0.3},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "runs": str(tmp_path),
    }


def test_normals_reach_the_network(options):
    network = {
        "class_path": "csgnn_dgl.models.CSGNN",
        "init_args": {k: v for k, v in TINY.items() if k != "num_points"},
    }
    run = fit(**options, model={"network": network})
    model = CSGNN.from_checkpoint(run.path)
    assert (model.num_features, model.config["num_features"]) == (1, 1)
    results = evaluate(run, consistency=True)
    assert results.facts["test_features"] == ["normals"]
    assert 0 < results.details["consistency"]["share"] <= 1


def test_a_network_that_takes_points_alone_is_refused(options):
    network = {"class_path": "csgnn_dgl.models.DGCNN"}
    with pytest.raises(InputError, match="data.features give 1 number.* and DGCNN takes 0"):
        fit(**options, model={"network": network})


def test_answers_depend_on_what_is_carried_and_on_no_rotation_of_the_60():
    torch.manual_seed(0)
    model = CSGNN(**TINY, num_features=2, num_classes=4).double().eval()
    points, carried = torch.randn(2, 32, 3, dtype=torch.float64), torch.rand(2, 32, 2, dtype=torch.float64)

    def answer(positions, numbers):
        return model(torch.cat([positions, numbers], dim=-1))

    assert_equivariant(answer, points, carried, inputs_are=["points", "invariant"], outputs_are="invariant")
    assert (answer(points, carried) - answer(points, carried.flip(1))).abs().max() > 0
    with pytest.raises(InputError, match=r"takes 2 number\(s\) of each point beside its position; give \(B, N, 5\)"):
        model(points)
