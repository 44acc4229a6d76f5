"""Compare and ablation: what their words mean; what is trained is tested in tests/training/test_sweep.py."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

import configs
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.tasks.classification.comparison import Candidate, entries_of
from csgnn_dgl.training.config import parse, parser_of, words_of
from csgnn_dgl.training.sweep import Sweep
from csgnn_dgl.training.task import find_task
from pipelines import ablation, compare
from pipelines.ablation import candidates, find, nested
from pipelines.compare import candidate, is_data
from pipelines.sweeping import own_options, with_source

MINE = """
from torch import nn


class Mine(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.each = nn.Sequential(nn.Linear(3, 32), nn.ReLU())
        self.whole = nn.Linear(32, num_classes)

    def forward(self, points):
        return self.whole(self.each(points).amax(dim=1))
"""


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if not name.startswith("toy")])
def test_every_classifier_has_a_reduced_config_whose_own_options_are_taken(name):
    found = candidate(name)
    file = configs.FOLDER / "modelnet" / f"{compare.REDUCED.get(name, f'{name}_small')}.yaml"
    model = yaml.safe_load(file.read_text())["model"]
    own = found.config["model"]
    assert found.name == name and found.config.keys() == {"model"}
    assert (own["network"], own["learning_rate"]) == (model["network"], model["learning_rate"])
    assert own["schedule"] == "one_cycle"
    for entry in entries_of([found], {"num_points": 1024}):
        parse(parser_of(find_task("classification"), "fit"), words_of([entry.config]))


def test_a_model_is_a_name_a_config_a_class_path_or_a_run(tiny_config, trained, work, monkeypatch):
    assert candidate(str(tiny_config)).config["model"]["learning_rate"] == 1e-2
    assert candidate(str(trained)) == Candidate("one", run=str(trained))
    (work / "mine_net.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(work))
    mine = candidate("mine_net.Mine")
    assert mine.name == "Mine" and mine.config["model"]["network"] == {"class_path": "mine_net.Mine"}
    assert is_data(str(work)) and not is_data(str(trained))
    for word, message in (("nothing", "'nothing' is no classifier"), ("gone.yaml", "no such config file")):
        with pytest.raises(InputError, match=message):
            candidate(word)
    with pytest.raises(InputError, match=r"names no model\.network"):
        own_options({"model": {}})
    assert with_source(["--data", "x", "--data=y", "--data.votes", "2"]) == [
        "--data.source",
        "x",
        "--data.source=y",
        "--data.votes",
        "2",
    ]


def test_every_entry_has_the_same_data_and_only_its_own_model():
    entries = entries_of(
        [Candidate("a", {"model": {"x": 1}}), Candidate("b", {"model": {"x": 2}}), Candidate("c", {"model": {"x": 1}})],
        {"batch_size": 8},
        seeds=(3, 4),
    )
    assert [entry.name for entry in entries[:4]] == ["a-z-3", "a-z-4", "a-SO3-3", "a-SO3-4"]
    assert [entry.run for entry in entries if entry.row == "c"] == ["a-z-3", "a-z-4", "a-SO3-3", "a-SO3-4"]
    assert entries[0].config == {
        "task": "classification",
        "trainer": {"accelerator": "cpu", "devices": 1},
        "model": {"x": 1},
        "data": {"batch_size": 8, "train_rotation": "z", "test_rotations": ["z", "SO3"]},
        "seed_everything": 3,
    }
    assert entries[2].config["data"]["test_rotations"] == ["SO3"]


@pytest.mark.parametrize("name", ["table3", "design"])
def test_the_sweeps_that_come_with_the_package_parse(name):
    file = find(name)
    sweep = yaml.safe_load(file.read_text())
    rows = candidates(file, sweep)
    assert [row.name for row in rows] == list(sweep["rows"])
    for entry in entries_of(rows, {}, rotations=sweep["rotations"]):
        if entry.run is None:
            parse(parser_of(find_task("classification"), "fit"), words_of([entry.config]))
        else:
            assert (entry.name, entry.run, entry.test["data"]) == ("5-votes-SO3-0", "base-SO3-0", {"votes": 5})


def test_sweeps_that_cannot_be_read_are_refused(work):
    assert nested({"a.b": 1, "a.c": {"d": 2}, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    with pytest.raises(InputError, match="no such sweep; give the path of a YAML file or one of design, table3"):
        find("nothing")
    for content in ({}, {"base": "x", "rows": {}}, {"base": "modelnet/quick", "rows": {"a": {}}, "row": 1}):
        with pytest.raises(InputError, match="x is no sweep"):
            candidates(Path("x"), content)
    with pytest.raises(InputError, match="no such config file"):
        candidates(Path("x"), {"base": "nowhere", "rows": {"a": {}}})
    with pytest.raises(InputError, match="row a is 3"):
        candidates(Path("x"), {"base": "modelnet/quick", "rows": {"a": 3}})


@pytest.mark.parametrize("program", [compare, ablation])
def test_wrong_words_are_refused_and_nothing_is_made(program, work, capsys):
    for words, message in (
        (["--epochs", "0"], "--epochs is 0"),
        (["--epochs", "1", "--minutes", "1"], "give one of --epochs and --minutes"),
        (["--data.sauce", "1"], "--data.sauce"),
        (["nothing"], "nothing"),
    ):
        assert program.main(words) == 2
        assert message in capsys.readouterr().err
    assert list(work.iterdir()) == []


def test_an_interruption_says_how_to_go_on(work, tiny_config, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Sweep, "carry_out", stop)
    words = [str(tiny_config), "--epochs", "2", "--output", "my runs"]
    assert compare.main(words) == 130
    shown = capsys.readouterr().out
    assert shown.endswith(f"go on with: python -m pipelines.compare {tiny_config} --epochs 2 --output 'my runs'\n")


def test_a_comparison_of_ones_own_module_and_a_finished_run(
    work, tiny_config, trained, inline_jobs, monkeypatch, capsys
):
    (work / "mine_net.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(work))
    run = shutil.copytree(trained, work / "run")
    source = yaml.safe_load(tiny_config.read_text())["data"]["source"]
    words = ["mine_net.Mine", str(run), source, "--epochs", "1", "--output", "out", "--rotations", "SO3"]
    words += ["--data.num_points", "64", "--data.batch_size", "8"]
    assert compare.main(words) == 0
    shown = capsys.readouterr().out
    content = json.loads((work / "out" / "comparison.json").read_text())
    assert [row["name"] for row in content["rows"]] == ["Mine", "run"]
    mine, other = content["rows"]
    assert mine["parameters"] == 3 * 32 + 32 + 32 * 3 + 3 and mine["epochs"] == 1 and other["epochs"] == 2
    assert mine["milliseconds_per_cloud"] > 0 and mine["clouds_per_second"] > 0
    assert mine["accuracies"]["SO3/SO3"]["p"] is None and 0 < other["accuracies"]["SO3/SO3"]["p"] <= 1
    assert other["accuracies"]["SO3/SO3"]["num_shapes"] == 15
    text = (work / "out" / "comparison.md").read_text()
    for line in shown.splitlines():
        assert not line.startswith("| ") or line in text
    assert (work / "out" / "comparison.png").is_file()
    # the table can be made again without the models
    for file in (work / "out").rglob("*.ckpt"):
        file.unlink()
    assert compare.main(words) == 0
    assert json.loads((work / "out" / "comparison.json").read_text()) == content
