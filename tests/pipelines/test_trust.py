"""Configs, runs and checkpoints of strangers: nothing in them runs code or writes but where it belongs."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CLASSIFIERS, CSGNN
from csgnn_dgl.models.trust import trusting
from csgnn_dgl.tasks.classification.task import TASK
from csgnn_dgl.training import evaluate, fit
from csgnn_dgl.training.config import class_paths, class_paths_of, config_of_checkpoint
from csgnn_dgl.training.experiment import check_run_name
from pipelines.ablation import main as ablation
from pipelines.audit import main as audit
from pipelines.compare import main as compare
from pipelines.modelnet import main

EVIL = "from pathlib import Path\nPath({!r}).touch()\nfrom torch import nn\n\n\nclass Net(nn.Linear):\n    pass\n"

CSGNN_PATH = "csgnn_dgl.models.CSGNN"

NAMED = {
    "a network": {"model": {"network": {"class_path": "stranger.Net", "init_args": {}}}},
    "the short form": {"model": {"network": "stranger.Net"}},
    "a layer": {"model": {"network": {"class_path": CSGNN_PATH, "init_args": {"make_intra": "stranger.Net"}}}},
    "a callback": {"trainer": {"callbacks": [{"class_path": "stranger.Net"}]}},
    "a logger": {"trainer": {"logger": {"class_path": "stranger.Net"}}},
    "another type": {"model": {"network": {"class_path": "subprocess.Popen", "init_args": {"args": "touch mark"}}}},
    "what the package imports": {"model": {"network": {"class_path": "csgnn_dgl.files.os.system"}}},
    "a function of the package": {
        "model": {
            "network": {
                "class_path": CSGNN_PATH,
                "init_args": {"make_radial": "csgnn_dgl.files.os.system"},
            }
        }
    },
    "a writing callback": {
        "trainer": {
            "callbacks": {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": "/tmp"}}
        }
    },
    "a writing logger": {
        "trainer": {"logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "/tmp"}}}
    },
    "a short name": {"trainer": {"callbacks": {"class_path": "ModelCheckpoint", "init_args": {"dirpath": "/tmp"}}}},
    "a file of options": {"model": "other.yaml"},
    "a file of a network": {"model": {"network": "net.yaml"}},
}


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A file that the stranger's module makes when it is imported; the working folder has the module."""
    file = tmp_path / "mark"
    (tmp_path / "stranger.py").write_text(EVIL.format(str(file)))
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"network": {"class_path": "stranger.Net"}}))
    (tmp_path / "net.yaml").write_text(yaml.safe_dump({"class_path": "stranger.Net"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield file
    sys.modules.pop("stranger", None)


def refused(mark, capsys, run=main, *words):
    assert run(list(words)) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    assert not mark.exists() and "stranger" not in sys.modules
    return message


@pytest.mark.parametrize("how", NAMED)
def test_a_config_names_classes_of_the_package_only(how, mark, capsys):
    Path("some.yaml").write_text(yaml.safe_dump(NAMED[how]))
    message = refused(mark, capsys, main, "fit", "--config", "some.yaml")
    assert "--trust" in message or "other.yaml" in message or "net.yaml" in message
    assert "some.yaml" in message or "file" in how or "short name" in how


@pytest.mark.parametrize("how", ["a network", "a layer"])
def test_all_programs_keep_to_that(how, mark, capsys):
    Path("some.yaml").write_text(yaml.safe_dump(NAMED[how]))
    with pytest.raises(InputError, match="some.yaml names stranger.Net"):
        fit("some.yaml", task="classification")
    assert not mark.exists()
    assert "some.yaml names stranger.Net" in refused(mark, capsys, compare, "some.yaml")
    Path("sweep.yaml").write_text(yaml.safe_dump({"base": "modelnet/small_so3.yaml", "rows": {"a": NAMED[how]}}))
    assert "sweep.yaml names stranger.Net" in refused(mark, capsys, ablation, "sweep.yaml")


def test_a_config_names_no_task_of_a_stranger(mark):
    Path("some.yaml").write_text("task: stranger.tasks\n")
    with pytest.raises(InputError, match="some.yaml names stranger.tasks.TASK"):
        fit("some.yaml")
    assert not mark.exists()


@pytest.fixture
def strangers_run(mark):
    """A run folder whose config names the stranger's class; its checkpoints are as ours are."""
    folder = Path("run")
    config = {"model": {"network": {"class_path": "stranger.Net"}}, "task": "classification"}
    for name in ("best", "last"):
        CLASSIFIERS.write(folder / "checkpoints" / f"{name}.ckpt", CSGNN(**CSGNN.tiny))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_run_names_classes_of_the_package_only(strangers_run, mark, capsys):
    run = str(strangers_run)
    assert "names stranger.Net" in refused(mark, capsys, main, "fit", "--resume", run)
    with pytest.raises(InputError, match="config.yaml names stranger.Net"):
        fit(resume=run)
    for file in strangers_run.glob("checkpoints/*"):
        checkpoint = torch.load(file, weights_only=True)
        checkpoint["csgnn"]["model"] = "stranger.Net"
        torch.save(checkpoint, file)
    for command in ("test", "validate"):
        assert "best.ckpt names stranger.Net" in refused(mark, capsys, main, command, "--ckpt_path", run)
    assert "best.ckpt names stranger.Net" in refused(mark, capsys, audit, run)
    with pytest.raises(InputError, match="best.ckpt names stranger.Net"):
        evaluate(run)
    assert not mark.exists()


def test_the_user_may_name_any_class(strangers_run, mark, capsys):
    for words in (["--model.network", "stranger.Net"], ["--model", "stranger.Net"], ["--trust"]):
        sys.modules.pop("stranger", None)
        mark.unlink(missing_ok=True)
        Path("some.yaml").write_text(yaml.safe_dump(NAMED["the short form"]))
        assert main(["fit", "--config", "some.yaml", *words, "--data.source", "nowhere"]) == 2
        message = capsys.readouterr().err  # that of the class, which asks for its arguments
        assert (
            mark.exists() and "stranger.Net" not in message.replace("stranger.Net.__init__", "")
        ) or "in_features" in message
    checkpoint = torch.load(strangers_run / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["csgnn"]["model"] = "stranger.Net"
    torch.save(checkpoint, strangers_run / "checkpoints" / "best.ckpt")
    sys.modules.pop("stranger", None)
    with trusting("stranger.Net"):
        config = config_of_checkpoint(strangers_run, TASK)
    assert config["model"]["network"]["class_path"] == "stranger.Net"


def test_what_is_typed_is_told_from_what_stands_in_files():
    words = ["fit", "--config", "a.b", "--model.network=mine.Net", "--model.network.init_args.make_intra", "mine.Conv"]
    words += ["--trainer.callbacks+", "mine.Back", "--data.source", "some.folder", "--trainer.accelerator", "cpu"]
    words += ["--model.network", json.dumps({"class_path": "mine.Other"})]
    assert class_paths_of(words) == {"mine.Net", "mine.Conv", "mine.Back", "mine.Other"}
    assert class_paths({"data": {"source": "a.b"}, "trainer": {"callbacks": [{"class_path": "c.D"}]}}) == {"c.D"}


def test_the_name_of_a_run_is_that_of_one_folder(mark, capsys):
    for name in ("../up", "/tmp/there", "..", "a/b", "", "a\x1bb", "x" * 300):
        with pytest.raises(InputError, match="--name is"):
            check_run_name(name)
    check_run_name("é 2.b")
    Path("some.yaml").write_text(yaml.safe_dump({"name": "../up"}))
    assert "--name is '../up'" in refused(mark, capsys, main, "fit", "--config", "some.yaml")
    assert "--name is '../up'" in refused(mark, capsys, main, "fit", "--name", "../up")
    assert sorted(path.name for path in Path().iterdir()) == ["net.yaml", "other.yaml", "some.yaml", "stranger.py"]


@pytest.mark.parametrize("options", [{"output": "/etc"}, {"trainer": {"default_root_dir": "../up"}}, {"resume": "run"}])
def test_a_config_writes_within_the_working_folder(options, mark, capsys):
    Path("some.yaml").write_text(yaml.safe_dump(options))
    message = refused(mark, capsys, main, "fit", "--config", "some.yaml")
    assert "some.yaml says" in message and "on the command line" in message


def test_jsonargparse_is_left_as_it_was(mark):
    from jsonargparse._common import parsing_settings

    before = {**parsing_settings["import_path_verdicts"]}
    with pytest.raises(InputError):
        fit({"model": {"network": {"class_path": "absent.Net"}}}, task="classification")
    assert parsing_settings["import_path_verdicts"] == before and "*" not in before
