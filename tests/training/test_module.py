import lightning.pytorch as L
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from torch.nn.functional import cross_entropy

from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CSGNN
from csgnn_dgl.training import ClassificationModule, ModelNetData, cosine, one_cycle, score
from csgnn_dgl.training.module import Throughput, batch_seed


class Record(L.Callback):
    """Rates and first betas that the optimiser stepped with."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        group = optimizer.param_groups[0]
        self.seen.append((group["lr"], group["betas"][0]))


def test_rate_follows_the_schedule_at_every_step(build):
    for schedule, expected in (
        ("one_cycle", lambda step: one_cycle(step, 8, 3e-3)),
        ("cosine", lambda step: (cosine(step, 8, 3e-3), 0.9)),
        ("constant", lambda step: (3e-3, 0.9)),
    ):
        record = Record()
        trainer, model, data, _ = build(callbacks=[record], max_epochs=2, schedule=schedule, learning_rate=3e-3)
        trainer.fit(model, datamodule=data)
        assert record.seen == [expected(step) for step in range(8)], schedule


def test_accumulated_batches_make_one_step_of_the_schedule(build):
    record = Record()
    trainer, model, data, _ = build(
        callbacks=[record],
        max_epochs=2,
        schedule="one_cycle",
        learning_rate=3e-3,
        trainer={"accumulate_grad_batches": 2},
    )
    trainer.fit(model, datamodule=data)
    assert record.seen == [one_cycle(step, 4, 3e-3) for step in range(4)]


def test_plateau_lowers_the_rate_and_ends_the_training(build, monkeypatch):
    options = {"schedule": "plateau", "learning_rate": 1e-3, "patience": 1, "minimum_rate": 1e-5}
    record = Record()
    trainer, model, data, folder = build(max_epochs=50, callbacks=[record], **options)
    update = model.plateau.update
    monkeypatch.setattr(model.plateau, "update", lambda loss: update(1.0))  # no epoch is better than the first
    trainer.fit(model, datamodule=data)
    # two bad epochs for each fall: 1e-3, 1e-4, 1e-5, and then below the minimum
    rates = [rate for rate, _ in record.seen][:: len(data.train_clouds) // 8]
    assert rates[:5] == pytest.approx([1e-3] * 3 + [1e-4] * 2)
    assert rates[5:] in ([], pytest.approx([1e-5] * 2))  # 1e-3 * 0.1 * 0.1 may round to either side of 1e-5
    assert len(folder.history) == len(rates)
    assert model.plateau.rate < 1e-5


def test_losses_and_accuracies_are_those_of_all_validation_shapes(build):
    trainer, model, data, _ = build(max_epochs=1, data={"batch_size": 3, "validation_fraction": 0.3})
    trainer.fit(model, datamodule=data)
    measured = trainer.validate(model, datamodule=data, verbose=False)[0]
    batches = [data.on_after_batch_transfer(batch, 0) for batch in _in_stage(trainer, data.val_dataloader())]
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(batch["points"]) for batch in batches])
    labels = torch.cat([batch["labels"] for batch in batches])
    assert len(labels) == len(data.validation_clouds) % 3 + len(data.validation_clouds) // 3 * 3
    assert measured["validation/loss"] == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-5)
    expected = score(logits.softmax(1), labels, "SO3")
    assert measured["validation/accuracy"] == pytest.approx(expected.accuracy)
    assert measured["validation/class_accuracy"] == pytest.approx(expected.class_mean_accuracy)


def _in_stage(trainer, loader):
    trainer.validating = True
    return list(loader)


def test_tests_score_every_shape_under_every_rotation_and_vote(build):
    trainer, model, data, _ = build(data={"votes": 3, "batch_size": 4})
    trainer.test(model, datamodule=data, verbose=False)
    assert [(r.rotation, r.votes, r.num_shapes) for r in model.scores] == [
        ("z", 1, 15),
        ("z", 3, 15),
        ("SO3", 1, 15),
        ("SO3", 3, 15),
    ]
    trainer.testing = True
    model.eval()
    points, labels = torch.from_numpy(data.test_clouds.points), torch.from_numpy(data.test_clouds.labels)
    batch = {"points": points, "labels": labels, "index": torch.arange(15)}
    with torch.no_grad():
        views = [
            model(data.on_after_batch_transfer(batch, view)["points"]).softmax(1) for view in range(len(data.views))
        ]
    assert model.scores[0] == score(views[0], labels, "z")
    assert model.scores[2] == score(views[3], labels, "SO3")
    assert model.scores[3] == score((views[3] + views[4] + views[5]) / 3, labels, "SO3", 3)


def test_rotations_differ_between_votes_and_keep_z_upright(build):
    trainer, model, data, _ = build(data={"votes": 2})
    trainer.test(model, datamodule=data, verbose=False)
    trainer.testing = True
    batch = next(iter(data.test_dataloader()[0]))
    views = [data.on_after_batch_transfer(batch, view)["points"] for view in range(4)]
    assert [(view.rotation, view.vote) for view in data.views] == [("z", 0), ("z", 1), ("SO3", 0), ("SO3", 1)]
    for turned in views:
        torch.testing.assert_close(turned.norm(dim=2), batch["points"].norm(dim=2))
    for upright in views[:2]:
        torch.testing.assert_close(upright[..., 2], batch["points"][..., 2])
    assert not torch.allclose(views[0], views[1])
    assert not torch.allclose(views[2], views[3])
    assert not torch.allclose(views[2][..., 2], batch["points"][..., 2])


def test_checkpoint_is_plain_and_rebuilds_the_network(build):
    trainer, model, data, folder = build(max_epochs=1)
    trainer.fit(model, datamodule=data)
    checkpoint = torch.load(folder.last, weights_only=True)
    assert checkpoint["csgnn"]["format"] == 1
    assert checkpoint["csgnn"]["config"] == model.network.config
    assert checkpoint["csgnn"]["class_names"] == ["ball", "rod", "slab"]
    assert checkpoint["csgnn"]["training"]["train_rotation"] == "SO3"
    rebuilt = CSGNN.from_checkpoint(folder.last)
    assert rebuilt.class_names == ("ball", "rod", "slab")
    points = torch.from_numpy(data.test_clouds.points)
    model.eval()
    with torch.no_grad():
        assert torch.equal(rebuilt(points), model(points))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"base_width": 2}, r"another architecture \(base_width = 1 in the file and 2 here\)"),
        ({"num_spheres": 3}, r"num_spheres = 2 in the file and 3 here"),
        ({"num_classes": 7}, r"num_classes = 3 in the file and 7 here"),
    ],
)
def test_checkpoint_of_another_architecture_is_refused(build, change, match):
    trainer, model, data, folder = build(max_epochs=1)
    trainer.fit(model, datamodule=data)
    trainer, other, data, _ = build("other", network=change)
    with pytest.raises(InputError, match=match) as caught:
        trainer.test(other, datamodule=data, ckpt_path=str(folder.last), weights_only=True)
    assert str(folder.last) in str(caught.value)


def test_tensorboard_has_loss_accuracy_rate_and_throughput(build):
    trainer, model, data, folder = build(max_epochs=2, trainer={"log_every_n_steps": 1})
    trainer.fit(model, datamodule=data)
    log = EventAccumulator(str(folder.path / "tensorboard"))
    log.Reload()
    wanted = {"learning_rate", "train/step_loss"}
    for stage in ("train", "validation"):
        wanted |= {f"{stage}/{key}" for key in ("loss", "accuracy", "class_accuracy", "samples_per_second")}
    assert wanted <= set(log.Tags()["scalars"])
    losses = [event.value for event in log.Scalars("validation/loss")]
    assert losses == pytest.approx([entry["validation/loss"] for entry in folder.history])
    assert all(event.value > 0 for event in log.Scalars("train/samples_per_second"))


def test_seed_of_a_step_depends_on_everything():
    seeds = {batch_seed(s, e, b, r) for s in range(3) for e in range(3) for b in range(3) for r in range(2)}
    assert len(seeds) == 54
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert batch_seed(1, 2, 3) == batch_seed(1, 2, 3)


def test_dropout_does_not_depend_on_what_ran_before(build):
    trainer, model, *_ = build(network={"dropout": 0.5})
    model.trainer = trainer
    masks = []
    model.log = lambda *args, **kwargs: None
    model.set_rate = lambda: 0.0
    for before in (0, 1000):
        torch.rand(before)
        model.on_train_batch_start(None, 3)
        masks.append(torch.nn.functional.dropout(torch.ones(100)))
    assert torch.equal(*masks)


def test_throughput_counts_samples(monkeypatch):
    moments = iter([10.0, 12.0, 14.0])
    monkeypatch.setattr("csgnn_dgl.training.module.time.perf_counter", lambda: next(moments))
    throughput = Throughput()
    assert throughput.add(8) == 4.0
    assert throughput.add(8) == 4.0


def test_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule is 'steps'; choose one of plateau"):
        ClassificationModule(CSGNN(level=0, num_spheres=1, base_width=1), schedule="steps")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"batch_size": 0}, "data.batch_size is 0"),
        ({"votes": 0}, "data.votes is 0"),
        ({"num_points": 0}, "data.num_points is 0"),
        ({"num_workers": -1}, "data.num_workers is -1"),
        ({"test_rotations": ()}, "data.test_rotations is"),
        ({"test_rotations": ("z", "z")}, "data.test_rotations is"),
        ({"validation_fraction": 1.0}, "data.validation_fraction is 1.0"),
    ],
)
def test_impossible_options_are_refused(option, match):
    with pytest.raises(InputError, match=match):
        ModelNetData(**option)
