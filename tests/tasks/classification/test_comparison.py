import json

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import binomtest

from csgnn_dgl.data import PointClouds
from csgnn_dgl.errors import InputError
from csgnn_dgl.tasks.classification.comparison import Candidate, Comparison, entries_of
from csgnn_dgl.tasks.classification.evaluation import mcnemar_p, measure_consistency, wilson_interval
from csgnn_dgl.training.sweep import Budget, Entry, Sweep
from tests.tiny_training import figures, quick_figures
from tests.tolerances import EXACT, P_VALUE, approx

__all__ = ["figures", "quick_figures"]


def test_mcnemar_counts_the_shapes_that_only_one_has_right():
    one = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0], dtype=bool)
    other = np.array([1, 0, 0, 0, 0, 0, 1, 0, 0], dtype=bool)
    # 5 shapes only the one has right, 1 only the other: (1 + 6 + 6 + 1) / 2^6 of all splits are as far from even
    assert mcnemar_p(one, other) == mcnemar_p(other, one) == approx(14 / 64, **EXACT)
    assert mcnemar_p(one, one) == 1.0
    assert mcnemar_p(np.ones(8, dtype=bool), np.zeros(8, dtype=bool)) == approx(2 / 2**8, **EXACT)


class First(torch.nn.Module):
    """Says whether the first point lies above the others' mean along an axis."""

    def __init__(self, invariant):
        super().__init__()
        self.invariant = invariant

    def forward(self, points):
        value = points[:, 0].norm(dim=1) - 0.5 if self.invariant else points[:, 0, 2]
        return torch.stack([value, -value], dim=1)


def test_consistency_is_one_where_rotations_change_nothing_and_a_half_where_they_decide():
    rng = np.random.default_rng(0)
    clouds = PointClouds(rng.normal(size=(60, 5, 3)), np.zeros(60, dtype=np.int64), ("a",))
    assert measure_consistency(First(True), clouds).share == 1.0
    found = measure_consistency(First(False), clouds, num_clouds=40, copies=50)
    assert (found.num_clouds, found.copies, len(found.unchanged)) == (40, 50, 40)
    assert found.share == sum(found.unchanged) / 2000
    # half of all rotations put a point above the plane
    assert binomtest(sum(found.unchanged), 2000).pvalue > P_VALUE
    assert found == measure_consistency(First(False), clouds, num_clouds=40, copies=50)


@pytest.fixture
def sweep(tmp_path):
    """Two rows with two seeds each as files, without any model: what the second one's seed 1 would be is missing."""
    made = Sweep(tmp_path / "sweep")
    candidates = [Candidate("one"), Candidate("two", {"model": {"learning_rate": 1e-2}})]
    entries = entries_of(candidates, {"batch_size": 8}, seeds=(0, 1), rotations=("SO3",))
    data = {"source": "toys", "num_points": 64, "batch_size": 8, "validation": "split"}
    made.begin(entries, Budget(epochs=2), {"data": data, "seeds": [0, 1], "schedule": "one_cycle"})
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    wrong = {("one", 0): 2, ("one", 1): 4, ("two", 0): 7}
    for (row, seed), count in wrong.items():
        folder = made.folder / f"{row}-SO3-{seed}"
        folder.mkdir()
        predicted = labels.copy()
        predicted[:count] = (labels[:count] + 1) % 3
        lines = {"model": np.array([row]), "rotation": np.array(["SO3"]), "votes": np.array([1])}
        np.savez(folder / "predictions.npz", predicted=predicted[None], labels=labels, **lines)  # type: ignore[arg-type]
        steps = {"steps": 5, "cpu_seconds": 30.0}, {"steps": 10, "cpu_seconds": 60.0}
        history = [{"epoch": float(epoch), **spent} for epoch, spent in enumerate(steps)]
        (folder / "history.json").write_text(json.dumps(history))
        (folder / "config.yaml").write_text(yaml.safe_dump({"data": data}))
        results = {
            "version": 1,
            "task": "classification",
            "models": {row: {"training": {"train_rotation": "SO3"}}},
            "facts": {"seed": seed},
            "rows": [],
            "details": {"consistency": {"share": 0.5 + 0.25 * seed}},
            "report": "",
        }
        (folder / "results.json").write_text(json.dumps(results))
    return made


def test_the_table_is_made_of_what_was_predicted(sweep, figures):
    found = Comparison.of(sweep)
    one, two = found.rows
    accuracy = one.accuracies["SO3/SO3"]
    assert (accuracy.seeds, accuracy.num_shapes, accuracy.p) == ({0: 0.8, 1: 0.6}, 10, None)
    assert accuracy.mean == approx(0.7, **EXACT) and accuracy.deviation == approx(0.02**0.5, **EXACT)
    assert accuracy.interval == wilson_interval(7, 10)
    other = two.accuracies["SO3/SO3"]
    assert (other.seeds, other.deviation) == ({0: 0.3}, None)
    assert other.p == approx(2 / 2**5, **EXACT)  # five shapes only the first row has right, with the seed of both
    assert one.consistency == {"SO3": 0.625} and two.consistency == {"SO3": 0.5}
    assert (one.epochs, one.minutes, one.clouds_per_second) == (2, 1.0, 80 / 60)
    assert one.parameters is None
    text = str(found)
    assert "| one   | 70.0 ± 14.1 (39.7–89.2) | –     |" in text
    assert "| two   | 30.0 (10.8–60.3)        | 0.062 |" in text
    assert "training clouds per epoch: 40; test shapes: 10" in text and "2 epoch(s); seeds: 0, 1" in text
    assert "z/z" not in text.partition("x/y")[0]
    found.write(sweep.folder)
    content = json.loads((sweep.folder / "comparison.json").read_text())
    assert content["rows"][1]["accuracies"]["SO3/SO3"]["p"] == other.p
    assert (sweep.folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert text in (sweep.folder / "comparison.md").read_text()


def test_a_table_without_any_result_has_its_rows(tmp_path):
    sweep = Sweep(tmp_path / "sweep")
    data = {"source": "toys", "num_points": 64, "batch_size": 8, "validation": "split"}
    sweep.begin(
        [Entry("a-z-0", "a", {"task": "classification"})],
        Budget(minutes=1.0),
        {"data": data, "seeds": [0], "schedule": "one_cycle"},
    )
    found = Comparison.of(Sweep(sweep.folder))
    assert found.rows[0].accuracies == {} and "| a     |" in str(found)
    found.write(sweep.folder)


def test_runs_that_do_not_fit_the_table_are_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("data: {train_rotation: none}\n")
    with pytest.raises(InputError, match="was trained under the rotation 'none'"):
        entries_of([Candidate("a", run=str(tmp_path))], {})
    (tmp_path / "config.yaml").write_text("data: {train_rotation: z}\n")
    with pytest.raises(InputError, match=r"has no checkpoints/best\.ckpt"):
        entries_of([Candidate("a", run=str(tmp_path))], {})
