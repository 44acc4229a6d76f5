import json
import os

import pytest
import torch

from csgnn_dgl.errors import InputError
from csgnn_dgl.models.base import FORMAT
from csgnn_dgl.symmetry import SO3Error
from csgnn_dgl.tasks.classification import score_views, write_results
from csgnn_dgl.tasks.classification.report import results_table
from csgnn_dgl.training import RunFolder
from csgnn_dgl.training.runs import claim_folder, latest_run

PNG = b"\x89PNG"


def test_a_run_leaves_a_complete_folder(build):
    trainer, model, data, folder = build(max_epochs=2)
    trainer.fit(model, datamodule=data)
    names = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}
    names = {name for name in names if not name.startswith("tensorboard/")}
    assert names == {"config.yaml", "history.json", "curve.png", "checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    assert (folder.path / "config.yaml").read_text() == "seed_everything: 5\n"
    assert (folder.path / "curve.png").read_bytes().startswith(PNG)
    history = json.loads((folder.path / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [0, 1]
    assert history[1]["seconds"] > history[0]["seconds"] > 0


def test_a_new_run_never_writes_over_an_old_one(build):
    first = build(max_epochs=1)
    first[0].fit(first[1], datamodule=first[2])
    before = first[3].last.read_bytes()
    second = build(max_epochs=1)
    second[0].fit(second[1], datamodule=second[2])
    assert second[3].path.name == "run-2"
    assert first[3].last.read_bytes() == before


def test_best_checkpoint_is_of_the_epoch_with_the_best_accuracy(build):
    trainer, model, data, folder = build(max_epochs=4, learning_rate=1e-2)
    trainer.fit(model, datamodule=data)
    ranks = [(entry["validation/accuracy"], -entry["validation/loss"]) for entry in folder.history]
    assert torch.load(folder.best_checkpoint, weights_only=True)["epoch"] == ranks.index(max(ranks))
    assert folder.best["epoch"] == ranks.index(max(ranks))


def test_nothing_is_written_when_the_data_cannot_be_read(build, tmp_path):
    trainer, model, data, _ = build(data={"batch_size": 64})
    with pytest.raises(InputError, match="do not fill one batch"):
        trainer.fit(model, datamodule=data)
    assert not (tmp_path / "runs").exists()


def test_path_is_unknown_before_training(tmp_path):
    with pytest.raises(RuntimeError, match="when training begins"):
        _ = RunFolder(tmp_path, "run").path


def test_folders_are_numbered(tmp_path):
    assert [claim_folder(tmp_path / "runs", "a").name for _ in range(3)] == ["a", "a-2", "a-3"]


def test_latest_run_is_the_one_with_the_newest_checkpoint(tmp_path):
    with pytest.raises(InputError, match="no run to resume"):
        latest_run(tmp_path)
    for age, name in ((5, "b"), (10, "a"), (20, "c")):
        file = tmp_path / name / "checkpoints" / "last.ckpt"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    assert latest_run(tmp_path) == tmp_path / "b"


def test_a_not_a_number_is_never_the_best(tmp_path):
    folder = RunFolder(tmp_path, "run")
    good = {"validation/accuracy": 0.1, "validation/loss": 9.0}
    assert folder._rank(good) > folder._rank({"validation/accuracy": float("nan"), "validation/loss": 0.0})
    assert folder._rank({**good, "validation/loss": 1.0}) > folder._rank(good)
    smaller = RunFolder(tmp_path, "run", monitor="validation/loss", mode="min")
    assert smaller._rank({"validation/loss": 1.0}) > smaller._rank(good)


@pytest.fixture
def scores():
    views = torch.zeros(2, 2, 4, 3)
    views[:, :, torch.arange(4), [0, 1, 2, 2]] = 1.0
    return score_views(views, torch.tensor([0, 1, 2, 0]), ("z", "SO3"), votes=2)


def test_results_are_kept_as_json_table_and_figure(tmp_path, scores):
    facts = {"checkpoint": "x.ckpt", "validation": "a stratified part of the training split", "seed": 3}
    file = write_results(tmp_path / "out", scores, ("a", "b", "c"), facts)
    content = json.loads(file.read_text())
    assert content["format"] == FORMAT
    assert content["facts"] == facts
    assert content["class_names"] == ["a", "b", "c"]
    assert [(r["rotation"], r["votes"]) for r in content["results"]] == [("z", 1), ("z", 2), ("SO3", 1), ("SO3", 2)]
    first = content["results"][0]
    assert first["accuracy"] == 0.75
    assert first["class_mean_accuracy"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert first["confusion"] == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert first["interval"][0] < 0.75 < first["interval"][1]
    text = (tmp_path / "out" / "results.md").read_text()
    assert results_table(scores) in text
    assert "validation: a stratified part" in text
    assert (tmp_path / "out" / "confusion.png").read_bytes().startswith(PNG)
    assert "so3_error" not in content
    assert not (tmp_path / "out" / "so3_error.png").exists()


def test_results_may_hold_the_error_under_rotation(tmp_path, scores):
    error = SO3Error((0.0, 90.0), (0.0, 0.25), (0.0, 0.125), num_clouds=8)
    content = json.loads(write_results(tmp_path, scores, ("a", "b", "c"), {}, error).read_text())
    assert content["so3_error"] == {
        "angles": [0.0, 90.0],
        "relative_error": [0.0, 0.25],
        "changed": [0.0, 0.125],
        "num_clouds": 8,
    }
    text = (tmp_path / "results.md").read_text()
    assert "| 90°   | 0.2500         | 12.5 %        |" in text
    assert "Over 8 test shapes" in text
    assert (tmp_path / "so3_error.png").read_bytes().startswith(PNG)


def test_table_says_with_and_without_voting(scores):
    lines = results_table(scores).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "z",
        "none",
        "4",
        "75.0 %",
        "30.1 to 95.4 %",
        "83.3 %",
    ]
    assert lines[3].split("|")[2].strip() == "2"
