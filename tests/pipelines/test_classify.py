"""The program that classifies, and the one that makes weights for it, as a user runs them."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

import csgnn_dgl
from csgnn_dgl.data.clouds.shapes import make_shape
from csgnn_dgl.models.base import read_checkpoint
from csgnn_dgl.tasks.classification import ModelNetData
from csgnn_dgl.tasks.classification.trained import load_classifier
from csgnn_dgl.training import fit
from pipelines.classify import main
from pipelines.publish import main as publish
from tests.tolerances import TOLERANCE, approx, printed
from tests.toy_shapes import NUM_POINTS

SMALL = ("--weights", "builtin-small")
PUBLISH = ("--title", "ellipsoids", "--licence", "free", "--remark", "They are toys.", "--output", "out")


@pytest.fixture
def shapes(work):
    """A folder with two shapes and a broken file."""
    folder = work / "shapes"
    folder.mkdir()
    for name in ("chair", "mug"):
        np.save(folder / f"{name}.npy", make_shape(name, "test", 0))
    (folder / "broken.off").write_text("OFF\n3 1 0\n")
    return folder


@pytest.fixture(scope="module")
def published(trained, tmp_path_factory):
    """Weights of a finished run, with their card. Tests may read it."""
    folder = tmp_path_factory.mktemp("published")
    assert publish([str(trained), "toys", *PUBLISH[:-1], str(folder)]) == 0
    return folder


def test_one_file_has_its_five_classes(shapes, capsys):
    assert main([str(shapes / "chair.npy"), "--rotations", "2", *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "chair.npy: chair\n" in shown
    assert len([line for line in shown.splitlines() if line.startswith("|") and "%" in line]) == 5
    assert "nearest training shapes: chair/" in shown and "under 2 random rotations: chair 2;" in shown


def test_many_files_are_a_table_and_broken_ones_are_named(shapes, capsys):
    assert main([str(shapes), *SMALL]) == 2
    shown = capsys.readouterr()
    assert "| chair.npy | chair " in shown.out and "| mug.npy   | mug " in shown.out
    assert shown.err.count("error: ") == 1 and "broken.off: not a complete OFF file" in shown.err


def test_names_of_broken_files_do_not_steer_the_terminal(shapes, capsys):
    (shapes / "x\x1b[2Jy.off").write_text("OFF\n3 1 0\n")
    assert main([str(shapes), *SMALL]) == 2
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err and "x\\x1b[2Jy.off: not a complete OFF file" in shown.err


def test_json_is_all_that_is_printed(shapes, capsys):
    assert main([str(shapes), "--json", "--output", "out", *SMALL]) == 2
    shown = capsys.readouterr().out
    content = json.loads(shown)
    assert content == json.loads((shapes.parent / "out" / "answers.json").read_text())
    assert [item["answer"] for item in content["shapes"]] == ["chair", "mug"]
    assert content["weights"] == "builtin-small" and list(content["failures"]) == ["broken.off"]
    assert main([str(shapes), "--output", "out"]) == 2  # results are not written over
    assert "out has results already (answers.json)" in capsys.readouterr().err


def test_figures_go_to_a_new_folder(shapes, capsys):
    assert main([str(shapes / "chair.npy"), "--figure", *SMALL]) == 0
    assert {path.name for path in (shapes.parent / "runs" / "answers").iterdir()} == {"chair.png", "answers.json"}
    assert "answers in runs/answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: FILE"),
        (["no.off"], "no.off: there is no such file"),
        (["no.off", "--weights", "none"], "'none' is no checkpoint or run folder"),
        (["no.off", "--weights", "dos"], "dos.ckpt holds no classifier"),
        (["no.off", "--training_data", "data"], "--training_data is for the shapes in a figure; give --figure too"),
        (["no.off", "--device", "nonsense"], "--device nonsense cannot be used here"),
    ],
)
def test_what_cannot_be_done_is_refused(words, message, failing):
    assert message in failing(*words)


def test_published_weights_are_the_run_s_small_calibrated_and_know_their_training(published, trained, work, caplog):
    run, file = trained, published / "toys.ckpt"
    assert file.stat().st_size < (run / "checkpoints" / "best.ckpt").stat().st_size / 3
    content = read_checkpoint(file)
    assert set(content) == {"csgnn", "state_dict", "epoch", "published"}
    found = load_classifier(file)
    assert not caplog.records
    assert (found.class_names, found.num_points) == (("ball", "rod", "slab"), NUM_POINTS)
    assert found.temperature is not None and found.domain is not None
    assert found.temperature > 0 and len(found.domain.references) == 38 and found.domain.names[0].startswith("ball/")
    # what comes out is what the run's weights give, but for the rounding to float16
    options = yaml.safe_load((run / "config.yaml").read_text())["data"]
    clouds = ModelNetData(source=options["source"], num_points=NUM_POINTS).test_clouds
    points = torch.from_numpy(clouds.points)
    rounded, whole = (load_classifier(place).answer(points)[0] for place in (file, run))
    np.testing.assert_allclose(rounded, whole, **TOLERANCE[torch.bfloat16])
    assert str(options["source"]) not in str(content["csgnn"]) and content["csgnn"]["data"]["source"] == "data"


def test_the_card_has_the_numbers_of_the_run_s_own_test(published, trained):
    card = (published / "toys.md").read_text()
    assert (published / "toys.png").is_file()
    details = read_checkpoint(published / "toys.ckpt")["published"]["measured"]
    tested = csgnn_dgl.training.evaluate(trained, output=str(published / "tested"))
    for row in tested.rows:
        if row["votes"] == 1:
            assert details["test_accuracy"][row["rotation"]] == approx(row["accuracy"], **printed(9))
            assert f"| test       | {row['rotation']:<8} | 15     | {row['accuracy']:.1%}" in card
    for text in (
        "# toys",
        "- They are toys.",
        "| ball  | 5      |",
        "licence      | free",
        "csgnn publish runs/modelnet/toys toys",
    ):
        assert text in card
    assert str(trained) not in card


def test_the_options_on_the_card_make_the_same_run(published, trained, work):
    card = (published / "toys.md").read_text()
    (text,) = [part.split("```")[0] for part in card.split("```yaml\n")[1:]]
    options = yaml.safe_load(text)
    options["data"]["source"] = yaml.safe_load((trained / "config.yaml").read_text())["data"]["source"]
    again = fit(options, task="classification", runs="again", name="one")
    one, other = (read_checkpoint(place)["state_dict"] for place in (trained, again.path))
    assert all(torch.equal(value, other[name]) for name, value in one.items() if name.startswith("network."))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("toys",), "out/toys.ckpt is there already; give another name"),
        (("to/ys",), "'to/ys' is no name for weights"),
    ],
)
def test_weights_that_cannot_be_made_are_refused(words, message, trained, published, work, capsys):
    shutil.copytree(published, work / "out")
    assert publish([str(trained), *words, *PUBLISH]) == 2
    assert message in capsys.readouterr().err
    assert publish([str(trained), "new", *PUBLISH, "--data", "moved"]) == 2
    assert "data source 'moved' does not exist" in capsys.readouterr().err
    assert publish(["no-run", "new", *PUBLISH]) == 2
    assert "there is no such checkpoint" in capsys.readouterr().err
