import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import yaml

import configs
from csgnn_dgl.data import CloudTransform, load
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CSGNN
from csgnn_dgl.symmetry import so3_error
from csgnn_dgl.tasks.classification import TASK
from csgnn_dgl.tasks.classification.evaluation import wilson_interval
from pipelines import cli, modelnet
from pipelines.modelnet import main
from tests.tolerances import EXACT, ROUNDED, approx
from tests.toy_shapes import NUM_POINTS

ROOT = Path(__file__).parents[2]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_fit_tells_how_to_test_and_test_gives_the_table(trained, tiny_config, work, capsys, figures):
    run = shutil.copytree(trained, work / "runs" / "one")
    assert main(["test", "--ckpt_path", str(run)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("| 15 ") == 4
    content = json.loads((run / "results.json").read_text())
    assert [(r["rotation"], r["votes"], r["num_shapes"]) for r in content["rows"]] == [
        ("z", 1, 15),
        ("z", 2, 15),
        ("SO3", 1, 15),
        ("SO3", 2, 15),
    ]
    assert content["models"]["csgnn"]["training"]["validation"].startswith("a stratified part")
    assert content["models"]["csgnn"]["config"] == CSGNN.from_checkpoint(run / "checkpoints" / "best.ckpt").config
    assert f"results in {run}" in shown
    # results that exist are not written over
    before = (run / "results.json").read_bytes()
    assert main(["test", "--ckpt_path", str(run / "checkpoints" / "last.ckpt")]) == 0
    assert (run / "results.json").read_bytes() == before
    assert (run / "test-2" / "results.json").is_file()


def test_a_checkpoint_by_itself_can_be_tested(trained, tiny_config, work):
    file = shutil.copy(trained / "checkpoints" / "best.ckpt", work / "model.ckpt")
    source = yaml.safe_load(tiny_config.read_text())["data"]["source"]
    assert main(["test", "--ckpt_path", str(file), "--data.source", source, "--output", "out"]) == 0
    content = json.loads((work / "out" / "results.json").read_text())
    assert [r["rotation"] for r in content["rows"]] == ["z", "SO3"]
    assert main(["test", f"--ckpt_path={file}", "--data.source", source, "--data.test_rotations", "[none]"]) == 0
    content = json.loads((work / "runs" / "modelnet" / "model" / "results.json").read_text())
    assert [r["rotation"] for r in content["rows"]] == ["none"]


def test_validate_prints_loss_and_accuracy(trained, work, capsys):
    assert main(["validate", "--ckpt_path", str(trained)]) == 0
    shown = capsys.readouterr().out
    history = json.loads((trained / "history.json").read_text())
    best = max(history, key=lambda entry: (entry["validation/accuracy"], -entry["validation/loss"]))
    row = next(line for line in shown.splitlines() if line.startswith("| SO3"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[1:4] == ["none", "4", f"{100 * best['validation/accuracy']:.1f} %"]
    low, high = wilson_interval(round(4 * best["validation/accuracy"]), 4)
    assert cells[4] == f"{100 * low:.1f} to {100 * high:.1f} %"
    assert f"validation loss: {best['validation/loss']:.4f}" in shown


def test_the_error_under_rotation_is_measured_on_request(trained, work, capsys, figures):
    assert main(["test", "--ckpt_path", str(trained), "--output", "out", "--so3_error", "true"]) == 0
    assert "| 180° " in capsys.readouterr().out
    measured = json.loads((work / "out" / "results.json").read_text())["details"]["so3_error"]
    source = yaml.safe_load((trained / "config.yaml").read_text())["data"]["source"]
    clouds = load(source, "test", NUM_POINTS)
    points = CloudTransform()(torch.from_numpy(clouds.points))
    expected = so3_error(CSGNN.from_checkpoint(trained / "checkpoints" / "best.ckpt"), points)
    assert measured["num_clouds"] == 15
    assert measured["angles"] == list(expected.angles)
    assert measured["relative_error"] == approx(expected.relative_error, **ROUNDED)
    assert measured["changed"] == approx(expected.changed, **EXACT)
    assert "so3_error.png" in (work / "out" / "results.md").read_text()
    assert (work / "out" / "so3_error.png").is_file()


def test_download_tells_where_the_data_is_and_how_to_train_on_it(monkeypatch, capsys, work):
    asked = []

    def fetch(folder, progress):
        asked.append((folder, progress))
        return Path(folder) / "modelnet40_ply_hdf5_2048"

    monkeypatch.setattr(modelnet, "download_modelnet40", fetch)
    assert main(["download", "my data"]) == 0
    assert asked == [("my data", False)]
    shown = capsys.readouterr().out
    assert "ModelNet40 is in my data/modelnet40_ply_hdf5_2048\n" in shown
    command = shlex.split(shown.split("train on it with: python -m pipelines.modelnet ")[1])
    assert command == [
        "fit",
        "--config",
        "configs/modelnet/small_so3.yaml",
        "--data.source",
        "my data/modelnet40_ply_hdf5_2048",
    ]
    # the command leads to the folder, which is not there in this test
    assert main(command) == 2
    assert "my data/modelnet40_ply_hdf5_2048' does not exist" in capsys.readouterr().err


def test_a_failing_download_is_an_error_of_the_user(failing, monkeypatch):
    def fail(folder, progress):
        raise InputError("no connection")

    monkeypatch.setattr(modelnet, "download_modelnet40", fail)
    assert failing("download", "x") == "error: no connection\n"
    assert "folder" in failing("download")


def test_missing_data_name_the_download_command(failing):
    message = failing("fit", "--config", "configs/modelnet/small_so3.yaml")
    assert "'modelnet40_ply_hdf5_2048' does not exist" in message
    assert "`python -m pipelines.modelnet download .`" in message


@pytest.mark.slow
def test_resuming_takes_one_flag_and_ends_like_an_uninterrupted_run(trained, tiny_config, work):
    options = ["--config", str(tiny_config), "--trainer.max_epochs", "3"]
    assert main(["fit", *options, "--name", "whole"]) == 0
    assert main(["fit", *options, "--name", "part", "--trainer.max_steps", "5"]) == 0
    # killed in the middle of the second epoch
    runs = work / "runs" / "modelnet"
    config = yaml.safe_load((runs / "part" / "config.yaml").read_text())
    config["trainer"]["max_steps"] = -1
    (runs / "part" / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--resume", str(runs / "part")]) == 0
    states = [torch.load(runs / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("whole", "part")]
    assert states[0]["epoch"] == states[1]["epoch"] == 2
    assert all(torch.equal(value, states[1]["state_dict"][name]) for name, value in states[0]["state_dict"].items())
    assert sorted(path.name for path in runs.iterdir()) == ["part", "whole"]
    # the latest run, without its name, for one more epoch
    assert main(["--resume", "--trainer.max_epochs", "4"]) == 0
    assert torch.load(runs / "part" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 3


def test_a_new_run_takes_the_next_free_name(trained, tiny_config, capsys):
    options = [
        "fit",
        "--config",
        str(tiny_config),
        "--runs",
        str(trained.parent),
        "--name",
        "one",
        "--trainer.max_epochs",
        "1",
    ]
    assert main([*options, "--test_at_end", "true", "--data.validation", "test"]) == 0
    shown = capsys.readouterr().out
    second = trained.with_name("one-2")
    assert f"run folder: {second}" in shown
    assert "authors' protocol" in shown
    assert (
        "authors' protocol"
        in json.loads((second / "results.json").read_text())["models"]["csgnn"]["training"]["validation"]
    )


def test_no_arguments_mean_the_quick_training(monkeypatch):
    asked = []

    def complete(words, *_):
        asked.append(words)
        return ["--help"]

    monkeypatch.setattr(cli, "complete", complete)
    for words in ([], ["--data.votes", "2"], ["--resume"]):
        with pytest.raises(SystemExit):
            main(words)
    default = ["fit", "--config", "configs/modelnet/quick.yaml", "--name", "quick"]
    assert asked == [default, [*default, "--data.votes", "2"], ["fit", "--resume"]]
    assert yaml.safe_load(configs.find("modelnet/quick.yaml").read_text())["test_at_end"] is True


def test_configs_come_before_other_options():
    words = cli.complete(["fit", "--x", "1", "--config=modelnet/quick", "-c", "modelnet/small_so3"], TASK, "")
    files = [str(configs.find(name)) for name in ("modelnet/quick", "modelnet/small_so3")]
    assert words == ["fit", "--config", files[0], "--config", files[1], "--x", "1"]


@pytest.mark.parametrize(
    ("name", "spheres", "rate", "decay", "dropout", "rotation"),
    [("csgnn_so3", 20, 2.2e-4, 2.7e-7, 0.14, "SO3"), ("csgnn_z", 15, 3.9e-4, 3.2e-7, 0.19, "z")],
)
def test_published_configs_are_those_of_the_paper(capsys, name, spheres, rate, decay, dropout, rotation):
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", f"configs/modelnet/{name}.yaml", "--print_config"])
    assert not end.value.code
    content = yaml.safe_load(capsys.readouterr().out)
    network = content["model"]["network"]["init_args"]
    expected = {
        "level": 4,
        "num_spheres": spheres,
        "channels": 8,
        "base_width": 4,
        "threshold": 0.01,
        "dropout": dropout,
    }
    assert {key: network[key] for key in expected} == expected
    model = content["model"]
    assert (model["learning_rate"], model["weight_decay"], model["schedule"]) == (rate, decay, "plateau")
    assert (model["patience"], model["factor"], model["threshold"], model["minimum_rate"]) == (4, 0.1, 1e-3, 1e-5)
    data = content["data"]
    assert (data["batch_size"], data["num_points"], data["train_rotation"], data["votes"]) == (32, 1024, rotation, 5)
    assert (data["scale"], data["translation"], data["jitter"]) == ([0.8, 1.2], 0.1, 0.01)
    assert data["validation"] == "split"
    assert content["trainer"]["max_epochs"] == 60


@pytest.mark.parametrize("name", sorted(path.stem for path in (configs.FOLDER / "modelnet").glob("*.yaml")))
def test_every_config_parses(capsys, name):
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", f"modelnet/{name}", "--print_config"])
    assert not end.value.code


def test_unknown_keys_name_the_key_and_the_file(failing, work, tiny_config):
    file = work / "mine.yaml"
    file.write_text("model: {learning_rates: 3}\n")
    assert "learning_rates" in (message := failing("fit", "--config", "mine.yaml")) and "mine.yaml" in message
    network = {"class_path": "csgnn_dgl.models.CSGNN", "init_args": {"levle": 1}}
    file.write_text(yaml.safe_dump({"model": {"network": network}}))
    assert "levle" in (message := failing("fit", "--config=mine.yaml")) and "mine.yaml" in message
    assert "--data.sauce" in failing("fit", "--config", str(tiny_config), "--data.sauce", "x")


def test_values_of_the_wrong_kind_are_refused(failing, tiny_config):
    config = ["fit", "--config", str(tiny_config)]
    assert "model.learning_rate" in failing(*config, "--model.learning_rate", "fast")
    assert "level" in failing(*config, "--model.network.level", "9")
    assert "data.votes is 0" in failing(*config, "--data.votes", "0")
    assert "data.train_rotation" in failing(*config, "--data.train_rotation", "y")


def test_missing_files_are_named(failing, work, tiny_config):
    assert "nope.yaml" in (message := failing("fit", "--config", "nope.yaml")) and "modelnet/quick.yaml" in message
    assert "nowhere" in failing("fit", "--config", str(tiny_config), "--data.source", "nowhere")
    assert "gone.ckpt" in failing("test", "--ckpt_path", "gone.ckpt")
    assert "gone cannot be resumed" in failing("fit", "--resume", "gone")
    assert "no run to resume" in failing("fit", "--resume")
    assert "ckpt_path" in failing("test")
    assert "argument --config/-c: expected one argument" in failing("fit", "--config")
    assert "frobnicate" in failing("frobnicate")


def test_broken_config_files_are_refused(failing, work):
    (work / "broken.yaml").write_text("model: [1,\n")
    assert "broken.yaml cannot be read as YAML" in failing("fit", "--config", "broken.yaml")
    (work / "list.yaml").write_text("- 1\n")
    assert "list.yaml is no config" in failing("fit", "--config", "list.yaml")


def test_checkpoints_that_do_not_fit_are_refused(failing, trained, work, tiny_config):
    file = shutil.copy(trained / "checkpoints" / "best.ckpt", work / "model.ckpt")
    source = yaml.safe_load(tiny_config.read_text())["data"]["source"]
    message = failing("test", "--ckpt_path", str(file), "--data.source", source, "--model.network.num_spheres", "3")
    assert "model.ckpt is a checkpoint of another architecture (num_spheres = 2 in the file and 3 here)" in message
    assert "another architecture" in failing("fit", "--resume", str(trained), "--model.network.level", "1")
    assert "leave --config out" in failing("fit", "--resume", str(trained), "--config", str(tiny_config))
    other = work / "data"
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            shutil.copytree(Path(source) / "rod" / split, other / name / split)
    message = failing("test", "--ckpt_path", str(file), "--data.source", str(other))
    assert "only in the checkpoint: 'ball', 'rod', 'slab'; only in the data: 'cat', 'dog'" in message
    (work / "cut.ckpt").write_bytes(Path(file).read_bytes()[:1000])
    assert "cut.ckpt cannot be read as a checkpoint" in failing("test", "--ckpt_path", "cut.ckpt")


def test_a_class_that_was_added_is_named_on_resuming_and_testing(failing, trained, work, tiny_config):
    source = Path(yaml.safe_load(tiny_config.read_text())["data"]["source"])
    shutil.copytree(source, work / "more")
    shutil.copytree(source / "rod", work / "more" / "wand")
    told = "(3 classes in the checkpoint and 4 in the data; only in the data: 'wand')"
    assert told in failing("fit", "--resume", str(trained), "--data.source", "more")
    assert told in failing("test", "--ckpt_path", str(trained), "--data.source", "more")


def test_what_cannot_be_trained_or_tested_on_is_told_before_a_folder_is_made(failing, work, tiny_config):
    source = Path(yaml.safe_load(tiny_config.read_text())["data"]["source"])
    fit = ["fit", "--config", str(tiny_config)]
    assert "batch norm of CSGNN has nothing to average" in failing(*fit, "--data.batch_size", "1")
    shutil.copytree(source, work / "data")
    for path in work.glob("data/*/test/*"):
        path.unlink()
    message = failing(*fit, "--data.source", "data", "--test_at_end", "true")
    assert "data: no class has a mesh or point file in test/; put some there" in message
    shutil.copytree(source / "rod", work / "one" / "rod")
    assert "are of the class 'rod', and there is nothing to tell apart" in failing(*fit, "--data.source", "one")
    assert "caf\\xe9: the name is not in UTF-8; rename it" in failing(*fit, "--data.source", "caf\udce9")
    assert "caf\\udce9: there is no such checkpoint" in failing("test", "--ckpt_path", "caf\udce9")


def test_classes_of_any_name_are_trained_tested_and_drawn(work, tiny_config, capfd, figures):
    source = Path(yaml.safe_load(tiny_config.read_text())["data"]["source"])
    names = ["椅子", "a_b$c$_|{", "line\nbreak\x1b[31m", "$\\frac{"]
    for name in names:
        shutil.copytree(source / "rod", work / "data" / name.replace("/", ""))
    fit = ["fit", "--config", str(tiny_config), "--data.source", "data", "--test_at_end", "true"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert main([*fit, "--trainer.max_epochs", "1"]) == 0
    assert capfd.readouterr().err == ""
    (run,) = (work / "runs" / "modelnet").iterdir()
    assert json.loads((run / "results.json").read_text())["models"]["csgnn"]["class_names"] == sorted(names)
    assert (run / "confusion.png").stat().st_size > 1000


def test_the_program_as_a_user_starts_it(tiny_config, work):
    """Ctrl-C keeps the last epoch and says how to go on; errors end with code 2; nothing but our own lines is shown."""
    command = [sys.executable, "-m", "pipelines.modelnet", "fit", "--config", str(tiny_config)]
    process = subprocess.Popen(
        [*command, "--trainer.max_epochs", "500", "--model.patience", "500"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        # Where the tests run in the background of a shell, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.startswith("epoch 2/"):
            process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert all(line.startswith("epoch ") for line in lines[:-1]), lines
    assert lines[-1].startswith("stopped by SIGINT; all steps are kept")
    assert lines[-1].rstrip().endswith("fit --resume runs/modelnet/tiny")
    assert (work / "runs" / "modelnet" / "tiny" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_two_processes_train_together_and_test_every_shape_once(tiny_config, work):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "pipelines.modelnet"]
    options = [
        "fit",
        "--config",
        str(tiny_config),
        "--data.batch_size",
        "4",
        "--test_at_end",
        "true",
        "--trainer.max_epochs",
        "1",
    ]
    subprocess.run([*command, *options], check=True, env=environment(), capture_output=True, text=True)
    runs = work / "runs" / "modelnet"
    assert [path.name for path in runs.iterdir()] == ["tiny"]
    content = json.loads((runs / "tiny" / "results.json").read_text())
    assert {r["num_shapes"] for r in content["rows"]} == {15}
    assert sum(map(sum, content["rows"][0]["confusion"])) == 15
