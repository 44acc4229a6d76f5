"""What may differ between the beginning of a training and its continuation."""

import pytest
import torch
import yaml

from csgnn_dgl.errors import InputError
from csgnn_dgl.training.resuming import check_options
from tests.tiny_training import Stop

BEGUN = {
    "seed_everything": 0,
    "name": "a",
    "model": {"learning_rate": 0.1, "network": {"class_path": "a.B", "init_args": {"dropout": 0.2}}},
    "data": {"source": "here", "num_points": 64, "num_workers": 0},
    "trainer": {"max_epochs": 2, "devices": "auto", "precision": None},
}


def changed(path, value):
    """The config with one other value."""
    config = yaml.safe_load(yaml.safe_dump(BEGUN))
    *outer, last = path.split(".")
    part = config
    for key in outer:
        part = part[key]
    part[last] = value
    return yaml.safe_dump(config)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed_everything", 1),
        ("model.learning_rate", 0.2),
        ("model.network.init_args.dropout", 0.5),
        ("model.network.class_path", "a.C"),
        ("data.num_points", 32),
        ("trainer.precision", "bf16-mixed"),
    ],
)
def test_what_changes_the_training_is_refused(path, value):
    with pytest.raises(
        InputError, match=rf"run can only go on as it was begun \({path} = {value!r} here and .* in the"
    ):
        check_options("run", yaml.safe_dump(BEGUN), changed(path, value))


def test_what_moves_the_training_is_told_and_all_else_is_free(caplog):
    for path, value in (("trainer.max_epochs", 3), ("data.num_workers", 2), ("name", "b"), ("model.new", 1)):
        check_options("run", yaml.safe_dump(BEGUN), changed(path, value))
    assert not caplog.text
    check_options("run", yaml.safe_dump(BEGUN), changed("data.source", "there"))
    assert "run: goes on with data.source = 'there', where it was 'here'" in caplog.text


def test_another_seed_or_number_of_threads_is_noticed(build, caplog, monkeypatch):
    trainer, model, data, folder = build(callbacks=[Stop(1, 0)])
    with pytest.raises(RuntimeError, match="killed"):
        trainer.fit(model, datamodule=data)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    trainer, model, data, again = build(resume=folder.run)
    again.config = "seed_everything: 6\n"
    with pytest.raises(InputError, match=r"seed_everything = 6 here and 5 in the run"):
        trainer.fit(model, datamodule=data, ckpt_path=str(folder.run.last), weights_only=True)
    trainer, model, data, _ = build(resume=folder.run, max_epochs=1)
    trainer.fit(model, datamodule=data, ckpt_path=str(folder.run.last), weights_only=True)
    assert "goes on with 7 threads, where it had 1: sums may differ in the last bits" in caplog.text
