"""Part segmentation as a user runs it, on few shapes."""

import json
from typing import Any

import pytest
import torch

from csgnn_dgl.data import BUILTIN_CLASSES
from csgnn_dgl.data.clouds import shapes
from csgnn_dgl.models import CSGNNParts
from csgnn_dgl.tasks.segmentation import report
from csgnn_dgl.tasks.segmentation.figures import parts_figure
from csgnn_dgl.training import evaluate, fit
from pipelines.partseg import main
from tests.tiny_training import Stop, assert_same_weights

SMALL = ["--config", "configs/partseg/quick.yaml", "--trainer.accelerator", "cpu", "--data.batch_size", "8"]
SMALL += ["--data.num_points", "64", "--trainer.max_epochs", "1"]
NETWORK = ["--model.network.init_args." + word for word in ("level=1", "num_spheres=2", "channels=2", "hidden=16")]


@pytest.fixture(autouse=True)
def few(tmp_path, monkeypatch):
    monkeypatch.setenv("CSGNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shapes, "SHAPES_PER_CLASS", {"train": 4, "test": 2})
    monkeypatch.setenv("CSGNN_KERNELS", "off")


def test_train_test_and_measure(tmp_path, capsys, monkeypatch):
    assert main(["fit", *SMALL, *NETWORK, "--runs", str(tmp_path), "--name", "tiny"]) == 0
    told = capsys.readouterr().out
    assert "validation IoU" in told and "mean IoU by class" in told
    folder = tmp_path / "tiny"
    assert {"results.json", "results.md", "parts.png"} <= {path.name for path in folder.iterdir()}
    rows = json.loads((folder / "results.json").read_text())["rows"]
    assert [row["rotation"] for row in rows] == ["z", "SO3"]
    assert all(set(row["by_class"]) == set(BUILTIN_CLASSES) and 0 < row["iou"] < 1 for row in rows)
    model = CSGNNParts.from_checkpoint(folder)
    assert model(torch.randn(1, 64, 3)).shape == (1, 64, model.num_parts)
    results = evaluate(folder, consistency=True, data={"test_rotations": ["none"]}, output=str(tmp_path / "again"))
    assert 0 < results.details["consistency"]["share"] <= 1
    drawn: list[Any] = []

    def draw(*given):
        drawn.append(given)
        return parts_figure(*given)

    monkeypatch.setattr(report, "parts_figure", draw)
    evaluate(folder, trainer={"limit_test_batches": 0.25}, output=str(tmp_path / "some"))
    assert len(drawn[0][0]) == 2 * len(BUILTIN_CLASSES) and drawn[0][2].tolist() == list(range(8))


@pytest.mark.slow
def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path):
    network = {"class_path": "csgnn_dgl.models.segmenters.CSGNNParts", "init_args": dict(CSGNNParts.tiny)}
    options: dict[str, Any] = {
        "task": "segmentation",
        "data": {"num_points": 32, "batch_size": 8},
        "model": {"network": network, "learning_rate": 1e-2},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        "runs": str(tmp_path),
    }
    whole = fit(**options, name="whole")
    with pytest.raises(RuntimeError, match="killed"):
        fit(**options, name="killed", callbacks=[Stop(1, 2)])
    resumed = fit(resume=tmp_path / "killed")
    states = [torch.load(run.last, weights_only=True)["state_dict"] for run in (whole, resumed)]
    assert_same_weights(*states)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.num_points", "1"], "data.num_points is 1; give a whole number of at least 2"),
        (["--data.validation_fraction", "1.5"], "data.validation_fraction is 1.5"),
        (["--data.test_rotations", "[z,z]"], "name each of z, SO3, none at most once"),
        (["--data.batch_size", "999"], "do not fill one batch of 999"),
        (["--data.source", "mine"], "source"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(words, message, tmp_path, capsys):
    assert main(["fit", *SMALL, *NETWORK, "--runs", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
