import pytest
import torch

from csgnn_dgl.errors import InputError
from tests.tiny_training import Stop, assert_same_weights


@pytest.mark.parametrize(
    ("schedule", "workers"),
    [
        ("plateau", 1),
        pytest.param("one_cycle", 2, marks=pytest.mark.slow),
        pytest.param("cosine", 0, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_training_ends_where_an_uninterrupted_one_ends(build, schedule, workers):
    options = {"schedule": schedule, "learning_rate": 1e-2, "patience": 0, "threshold": 0.9, "minimum_rate": 0.0}
    trainer, straight, data, folder = build("straight", **options)
    trainer.fit(straight, datamodule=data)

    trainer, killed, data, broken = build("killed", callbacks=[Stop(2, 1)], data={"num_workers": workers}, **options)
    with pytest.raises(RuntimeError, match="killed"):
        trainer.fit(killed, datamodule=data)
    trainer, resumed, data, again = build("other", resume=broken.run, data={"num_workers": workers}, seed=5, **options)
    torch.nn.init.zeros_(next(resumed.parameters()))  # what it starts from must not matter
    trainer.fit(resumed, datamodule=data, ckpt_path=str(broken.run.last), weights_only=True)

    assert_same_weights(straight, resumed)
    assert trainer.global_step == 4 * (len(data.train_clouds) // 8)
    histories = [run.run.history for run in (folder, again)]
    assert [entry["epoch"] for entry in histories[1]] == [0, 1, 2, 3]
    for key in ("train/loss", "validation/loss", "validation/accuracy", "learning_rate"):
        assert [entry[key] for entry in histories[0]] == [entry[key] for entry in histories[1]], key
    assert len({entry["learning_rate"] for entry in histories[0]}) > 2
    ends = [torch.load(run.run.last, weights_only=True) for run in (folder, again)]
    assert ends[0]["lr_schedulers"] == ends[1]["lr_schedulers"]


def test_training_can_go_on_beyond_its_planned_end(build):
    options = {"schedule": "plateau", "learning_rate": 1e-2}
    trainer, straight, data, _ = build("straight", **options)
    trainer.fit(straight, datamodule=data)
    trainer, half, data, run = build("half", max_epochs=2, **options)
    trainer.fit(half, datamodule=data)
    trainer, resumed, data, _ = build("half", resume=run.run, **options)
    trainer.fit(resumed, datamodule=data, ckpt_path=str(run.run.last), weights_only=True)
    assert_same_weights(straight, resumed)


def test_a_training_that_the_plateau_rule_ended_stays_ended(build):
    options = {"schedule": "plateau", "learning_rate": 2e-5, "patience": 0, "threshold": 0.99, "max_epochs": 9}
    trainer, model, data, run = build("run", **options)
    trainer.fit(model, datamodule=data)
    assert len(run.history) == 2
    before = run.run.last.read_bytes()
    trainer, resumed, data, again = build("run", resume=run.run, **options)
    trainer.fit(resumed, datamodule=data, ckpt_path=str(run.run.last), weights_only=True)
    assert len(again.history) == 2
    assert run.run.last.read_bytes() == before
    assert_same_weights(model, resumed)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_a_planned_schedule_is_not_resumed_under_another_plan(build, schedule):
    trainer, model, data, run = build("run", max_epochs=1, schedule=schedule)
    trainer.fit(model, datamodule=data)
    trainer, model, data, _ = build("run", max_epochs=2, resume=run.run, schedule=schedule)
    with pytest.raises(InputError, match=f"{schedule} of this run was planned for 4 steps and the options make 8"):
        trainer.fit(model, datamodule=data, ckpt_path=str(run.run.last), weights_only=True)


def test_number_of_workers_changes_nothing(build):
    models = []
    for workers in (0, 2):
        trainer, model, data, _ = build("run", max_epochs=2, data={"num_workers": workers})
        trainer.fit(model, datamodule=data)
        models.append(model)
    assert_same_weights(*models)


def test_another_seed_gives_other_weights(build):
    models = []
    for seed in (1, 2):
        trainer, model, data, _ = build("run", max_epochs=1, seed=seed)
        trainer.fit(model, datamodule=data)
        models.append(model)
    pairs = zip(models[0].network.parameters(), models[1].network.parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)
