from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from csgnn_dgl.errors import InputError
from csgnn_dgl.symmetry import SO3Error
from csgnn_dgl.tasks.classification.evaluation import score_views
from csgnn_dgl.tasks.classification.figures import so3_error_figure
from csgnn_dgl.tasks.classification.report import report, results_table, so3_error_table
from tests.tolerances import EXACT, approx


@pytest.fixture
def tested():
    """A tested module whose results are known."""
    views = torch.zeros(2, 2, 4, 3)
    views[:, :, torch.arange(4), [0, 1, 2, 2]] = 1.0
    scores = score_views(views, torch.tensor([0, 1, 2, 0]), ("z", "SO3"), votes=2)
    facts = {"class_names": ("a", "b", "c"), "labels": np.array([0, 1, 2, 0]), "data": SimpleNamespace(source="x")}
    return SimpleNamespace(scores=scores, **facts)


def test_rows_and_figures_are_those_of_the_scores(tested):
    section = report({"csgnn": tested})
    rows = section.values
    assert [(row["name"], row["rotation"], row["votes"]) for row in rows] == [
        *(("csgnn", "z", 1), ("csgnn", "z", 2)),
        *(("csgnn", "SO3", 1), ("csgnn", "SO3", 2)),
    ]
    assert rows[0]["accuracy"] == 0.75
    assert rows[0]["class_mean_accuracy"] == approx((0.5 + 1 + 1) / 3, **EXACT)
    assert rows[0]["confusion"] == ((1, 0, 1), (0, 1, 0), (0, 0, 1))
    assert rows[0]["interval"][0] < 0.75 < rows[0]["interval"][1]
    _, figure = section.figures["confusion.png"]
    assert figure.axes[0].get_title() == "z: 75.0 % of 4"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]


def test_table_says_with_and_without_voting(tested):
    lines = report({"csgnn": tested}).table.splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[2] == ["z", "none", "4", "75.0 %", "30.1 to 95.4 %", "83.3 %"]
    assert cells[3][1] == "2"


def test_several_models_stand_side_by_side_on_the_same_data(tested):
    table = results_table([(name, score) for name in ("one", "two") for score in tested.scores])
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["one"] * 4 + ["two"] * 4
    other = SimpleNamespace(**{**vars(tested), "data": SimpleNamespace(source="y")})
    both: Any = {"one": tested, "two": other}
    with pytest.raises(InputError, match="two was tested on y and one on x; compare runs on the same data"):
        report(both)


def test_the_error_under_rotation_is_a_table_and_a_figure():
    error = SO3Error((0.0, 90.0), (0.0, 0.25), (0.0, 0.125), num_clouds=8)
    assert "| 90°   | 0.2500         | 12.5 %        |" in so3_error_table(error)
    left, right = so3_error_figure(error).axes
    assert np.asarray(left.lines[0].get_xydata()).tolist() == [[0, 0], [90, 0.25]]
    assert np.asarray(right.lines[0].get_xydata()).tolist() == [[0, 0], [90, 0.125]]
