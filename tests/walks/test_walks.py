"""The walks of docs/contributing.md that a training takes part in: a classifier, a task and a sweep of one's own.

The others stand beside what they add: a convolution in tests/models/test_encoder.py, a file format in
tests/data/test_formats.py, a format of checkpoints in tests/models/test_base.py.
"""

import numpy as np
import pytest
import torch

from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.tasks.classification import ModelNetData
from csgnn_dgl.testing import assert_equivariant
from csgnn_dgl.training import compare, evaluate, fit
from pipelines.modelnet import main
from tests.models import contract
from tests.tolerances import TOLERANCE, approx
from tests.toy_shapes import NUM_POINTS, write_shapes
from tests.walks.extent import MODELS, TASK, Extent
from tests.walks.histogram import Histogram


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walks")
    return {
        "data": {"source": str(write_shapes(folder / "data")), "num_points": NUM_POINTS, "batch_size": 8},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        "runs": str(folder / "runs"),
    }


@pytest.mark.parametrize("check", [name for name in dir(contract) if name.startswith("test_")])
def test_a_classifier_of_ones_own_keeps_the_contract(check, tmp_path):
    case = contract.Clouds("toy-histogram")
    further = {"dtype": torch.float64, "tmp_path": tmp_path}
    function = getattr(contract, check)
    wanted = function.__code__.co_varnames[1 : function.__code__.co_argcount]
    function(case, **{name: further[name] for name in wanted})


def test_a_classifier_of_ones_own_is_trained_tested_and_loaded(options):
    run = fit(
        task="classification",
        model={"network": {"class_path": "tests.walks.histogram.Histogram"}, "learning_rate": 0.1},
        name="histogram",
        **{**options, "trainer": {"max_epochs": 20, "accelerator": "cpu"}},
    )
    results = evaluate(run)
    assert all(row["accuracy"] > 0.6 for row in results.rows)  # of three classes that differ in their radii
    model = Histogram.from_checkpoint(run.path)
    assert (model.num_classes, model.class_names) == (3, ("ball", "rod", "slab"))
    assert_equivariant(model, torch.randn(2, NUM_POINTS, 3, dtype=torch.float64).float(), outputs_are="invariant")


def test_a_classifier_of_ones_own_goes_by_its_short_name_in_the_pipeline(options, capsys):
    arguments = ["fit", "--model", "toy-histogram", "--runs", options["runs"], "--name", "short"]
    arguments += [f"--data.{name}={value}" for name, value in options["data"].items()]
    assert main([*arguments, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]) == 0
    assert "run folder" in capsys.readouterr().out


def test_a_task_of_ones_own_is_a_folder(options):
    run = fit(task=TASK, name="extent", model={"learning_rate": 1e-2}, **options)
    assert [{"train/loss", "validation/mae"} - {*entry} for entry in run.history] == [set(), set()]
    results = evaluate(run, task=TASK)
    model, data = Extent.from_checkpoint(run.path), results.facts["test_source"]
    assert data == options["data"]["source"]
    points = torch.randn(2, NUM_POINTS, 3)
    assert_equivariant(model, points, outputs_are="invariant")
    assert MODELS.load(run.path).config == {"level": 1, "num_spheres": 3}
    assert len(results.rows) == 2
    for row, loader in zip(results.rows, ModelNetData(**options["data"]).test_dataloader(), strict=True):
        errors = []
        for batch in loader:
            radii = batch["points"].norm(dim=-1)
            errors.append((model(batch["points"]).detach() - radii.mean(dim=1) / radii.amax(dim=1)).abs())
        assert row["mae"] == approx(float(torch.cat(errors).mean()), **TOLERANCE[torch.float32])


def test_a_sweep_is_a_loop(options):
    runs = [
        fit(
            task="classification",
            model={"network": {"class_path": "tests.walks.histogram.Histogram", "init_args": {"num_shells": count}}},
            name=f"shells-{count}",
            **options,
        )
        for count in (2, 8)
    ]
    table = compare(runs)
    assert {row["name"] for row in table.rows} == {"shells-2", "shells-8"}
    assert np.all([0 <= row["accuracy"] <= 1 for row in table.rows])
    assert [CLASSIFIERS.load(run.path).config["num_shells"] for run in runs] == [2, 8]
