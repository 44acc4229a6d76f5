"""The program that audits: what it audits, what it prints, and its exit codes."""

import os
import subprocess
import sys

import pytest

from csgnn_dgl.models import CLASSIFIERS
from pipelines.audit import main
from pipelines.modelnet import main as modelnet

QUICK = ["--clouds", "26", "--points", "64", "--copies", "2"]


def rows(text):
    """The verdicts of a page, by their questions."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row[1] for row in cells[2:]}


@pytest.mark.parametrize(
    ("name", "code", "last"),
    [
        ("honest", 0, "nothing is wrong"),
        ("ordered", 0, "nothing is wrong"),
        ("attending", 1, "wrong: its batch: clouds of all classes; its batch: clouds of its own class"),
        ("bent", 1, "wrong: rotations about the vertical axis; the 60 rotations of the icosahedron; any rotation"),
    ],
)
def test_the_exit_code_says_whether_something_is_wrong(name, code, last, capsys):
    assert main([f"tests.toy_classifiers:{name}", *QUICK]) == code
    shown = capsys.readouterr().out
    assert shown.startswith(f"tests.toy_classifiers:{name} (as it is), asked about 26 clouds of 64 points of built-in")
    assert shown.splitlines()[-1] == last
    assert len(rows(shown)) == 14
    assert len(shown.splitlines()) < 25  # one page


@pytest.mark.parametrize("word", ["csgnn", "csgnn_dgl.models.SFCNN", "tests.models.toys.Bag"])
def test_names_and_class_paths_are_made_untrained(word, capsys):
    assert main([word, *QUICK]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{word} (untrained)")
    assert rows(shown)["votes that a reported accuracy needs"] == "unknown"


def test_full_makes_a_class_with_its_defaults(monkeypatch, capsys):
    monkeypatch.setattr(CLASSIFIERS["pointnet"], "tiny", {"form": "no argument of PointNet"})
    assert main(["pointnet", *QUICK]) == 2
    assert "pointnet cannot be made (" in capsys.readouterr().err
    assert main(["pointnet", "--full", *QUICK[2:], "--clouds", "4"]) == 0


def test_a_run_is_asked_about_its_own_data_and_its_selection(trained, capsys):
    assert main([str(trained), "--copies", "2"]) == 0
    shown = capsys.readouterr().out
    assert "(trained), asked about 15 clouds of 64 points of" in shown
    found = rows(shown)
    assert found["the test split, read for selection"] == "fine"
    assert found["votes that a reported accuracy needs"] in ("fine", "noted")


def test_a_run_that_validated_on_the_test_split_is_wrong(tiny_config, work, capsys):
    words = ["fit", "--config", str(tiny_config), "--runs", str(work), "--name", "one", "--data.validation", "test"]
    assert modelnet([*words, "--trainer.max_epochs", "1"]) == 0
    capsys.readouterr()
    for place in (work / "one", work / "one" / "checkpoints" / "last.ckpt"):
        assert main([str(place), "--copies", "2"]) == 1
        shown = capsys.readouterr().out
        assert shown.splitlines()[-1] == "wrong: the test split, read for selection"
        assert "validated on the test split (authors' protocol" in shown


def test_other_data_than_that_of_the_run_may_be_named(trained, capsys):
    assert main([str(trained), "--data", "builtin", *QUICK]) == 0
    shown = capsys.readouterr().out
    assert "built-in shapes (test)" in shown
    assert rows(shown)["votes that a reported accuracy needs"] == "unknown"  # other classes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "'nothing' is no classifier; give one of csgnn, "),
        (["tests.nothing"], "'tests.nothing' cannot be imported"),
        (["tests.toy_classifiers:WEIGHT"], "give a function or module"),
        (["runs/none.ckpt"], "there is no such checkpoint"),
        (["csgnn", "--clouds", "1"], "--clouds is 1; give a whole number of at least 2"),
        (["csgnn", "--data", "nowhere"], "data source 'nowhere' does not exist"),
        ([], "the following arguments are required: MODEL; --help lists the options"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(words, message, capsys):
    assert main(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and not shown.out


def test_help_explains_models_verdicts_and_exit_codes(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    for word in ("mine:function", "run folder", "noted", "exit code: 0", "--data FOLDER"):
        assert word in shown


@pytest.mark.slow
def test_it_is_a_program_of_its_own(tmp_path):
    (tmp_path / "mine.py").write_text("def function(points):\n    return points.mean(dim=1)\n")
    command = [sys.executable, "-m", "pipelines.audit", "mine:function", *QUICK]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine:function (as it is)")
