import copy
import math

import lightning.pytorch as L
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import ReduceLROnPlateau

from csgnn_dgl.data import CloudDataset, TestRotation
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CSGNN
from csgnn_dgl.models.base import FORMAT
from csgnn_dgl.tasks.classification import ClassificationModule, ModelNetData
from csgnn_dgl.tasks.classification.evaluation import score
from csgnn_dgl.training.module import Throughput, batch_seed
from tests.tiny_training import assert_same_weights
from tests.tolerances import EXACT, ROUNDED, TOLERANCE, approx, relative
from tests.toy_shapes import NUM_POINTS


class Record(L.Callback):
    """Rates and first betas that the optimiser stepped with."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        group = optimizer.param_groups[0]
        self.seen.append((group["lr"], group["betas"][0]))


def one_cycle(step, total, peak):
    """Rate and momentum of the one-cycle policy: half cosines up over 30 % of the steps, and down."""
    turn = 0.3 * total - 1
    if step <= turn:
        share = (1 - math.cos(math.pi * step / turn)) / 2
        return peak / 25 + (peak - peak / 25) * share, 0.95 - 0.1 * share
    share = (1 - math.cos(math.pi * (step - turn) / (total - 1 - turn))) / 2
    return peak + (peak / 25e4 - peak) * share, 0.85 + 0.1 * share


def cosine(step, total, peak):
    return peak * (1 + math.cos(math.pi * step / total)) / 2, 0.9


@pytest.mark.parametrize(("schedule", "expected"), [("one_cycle", one_cycle), ("cosine", cosine)])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_rate_follows_the_schedule_at_every_step(build, schedule, expected, accumulated):
    record = Record()
    trainer, model, data, folder = build(
        callbacks=[record],
        max_epochs=2,
        schedule=schedule,
        learning_rate=3e-3,
        trainer={"accumulate_grad_batches": accumulated},
    )
    trainer.fit(model, datamodule=data)
    steps = 8 // accumulated
    assert len(record.seen) == steps
    for step, seen in enumerate(record.seen):
        assert seen == approx(expected(step, steps, 3e-3), **relative(TOLERANCE[torch.float64]))
    assert folder.history[-1]["learning_rate"] == approx(record.seen[-1][0], **relative(ROUNDED))


def follow_plateau(losses, rate, patience, factor=0.1, threshold=1e-3):
    """Rate of every epoch, until it is under 1e-5, given the validation losses."""
    rates, best, bad = [], math.inf, 0
    for loss in losses:
        rates.append(rate)
        best, bad = (loss, 0) if loss < best * (1 - threshold) else (best, bad + 1)
        if bad > patience:
            rate, bad = rate * factor, 0
        if rate < 1e-5:
            break
    return rates


@pytest.mark.parametrize("accumulated", [1, 2])
def test_steps_lower_the_rate_after_every_few_epochs_down_to_the_smallest(build, accumulated):
    options = {"schedule": "steps", "learning_rate": 1e-2, "patience": 2, "factor": 0.1, "minimum_rate": 3e-4}
    record = Record()
    trainer, model, data, _ = build(
        callbacks=[record], max_epochs=7, trainer={"accumulate_grad_batches": accumulated}, **options
    )
    trainer.fit(model, datamodule=data)
    per_epoch = 4 // accumulated
    rates = [1e-2] * 2 * per_epoch + [1e-3] * 2 * per_epoch + [3e-4] * 3 * per_epoch
    assert [rate for rate, _ in record.seen] == approx(rates, **relative(ROUNDED))


def test_a_resumed_run_keeps_its_place_in_the_steps(build):
    options = {"schedule": "steps", "learning_rate": 1e-2, "patience": 1, "factor": 0.5, "minimum_rate": 1e-6}
    whole = build(name="whole", max_epochs=4, **options)
    whole[0].fit(whole[1], datamodule=whole[2])
    first = build(name="parts", max_epochs=2, **options)
    first[0].fit(first[1], datamodule=first[2])
    last = first[3].run.last
    second = build(name="parts", max_epochs=4, resume=first[3].run.path, **options)
    second[0].fit(second[1], datamodule=second[2], ckpt_path=last, weights_only=True)
    for one, other in zip(whole[1].network.parameters(), second[1].network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_sgd_goes_on_with_its_last_step(build):
    options = {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.1, "schedule": "steps", "patience": 9}
    trainer, model, data, _ = build(max_epochs=1, learning_rate=1e-2, trainer={"limit_train_batches": 2}, **options)
    gradients, values = [], []

    class Spy(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            weight = pl_module.network.head[-1].weight
            values.append(weight.detach().clone())
            gradients.append(weight.grad.clone() + 0.1 * weight.detach())

    trainer.callbacks.append(Spy())
    trainer.fit(model, datamodule=data)
    expected = values[0] - 1e-2 * gradients[0]
    torch.testing.assert_close(values[1], expected, **TOLERANCE[torch.float32])
    expected = values[1] - 1e-2 * (gradients[1] + 0.5 * gradients[0])
    torch.testing.assert_close(model.network.head[-1].weight.detach(), expected, **TOLERANCE[torch.float32])


def test_adamw_shrinks_matrices_and_neither_biases_nor_norms(build):
    options = {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "steps", "patience": 9}
    trainer, model, data, _ = build(max_epochs=1, learning_rate=1e-2, trainer={"limit_train_batches": 1}, **options)
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    class Spy(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            found.update((name, (own.detach().clone(), own.grad.clone())) for name, own in model.named_parameters())

    trainer.callbacks.append(Spy())
    trainer.fit(model, datamodule=data)
    for name, own in model.named_parameters():
        before, gradient = found[name]
        step = gradient / (gradient.abs() + 1e-8)  # the first one of Adam
        kept = 1 - 1e-2 * 0.1 if own.dim() > 1 else 1.0
        torch.testing.assert_close(own.detach(), kept * before - 1e-2 * step, **TOLERANCE[torch.float32])


def test_the_moving_average_validates_is_kept_and_goes_on(build):
    options = {"average": 0.9, "learning_rate": 1e-2, "schedule": "steps", "patience": 9}
    weights, validated = [], []

    class Spy(L.Callback):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            weights.append(pl_module.network.head[-1].weight.detach().clone())

        def on_validation_batch_start(self, trainer, pl_module, *_):
            validated.append(pl_module.network.head[-1].weight.detach().clone())

    trainer, whole, data, folder = build("whole", max_epochs=2, callbacks=[Spy()], **options)
    trainer.fit(whole, datamodule=data)
    stored, name = torch.load(folder.run.last, weights_only=True), "network.head.7.weight"
    steps = [*weights[1:], stored["current_model_state"][name]]
    average = steps[0]
    for count, now in enumerate(steps[1:], 1):
        share = min(0.9, (1 + count) / (10 + count))
        average = share * average + (1 - share) * now
    for found in (stored["state_dict"][name], whole.network.head[-1].weight.detach(), validated[-1]):
        torch.testing.assert_close(found, average, **TOLERANCE[torch.float32])

    trainer, half, data, first = build("half", max_epochs=1, **options)
    trainer.fit(half, datamodule=data)
    trainer, resumed, data, _ = build("half", max_epochs=2, resume=first.run.path, **options)
    trainer.fit(resumed, datamodule=data, ckpt_path=first.run.last, weights_only=True)
    assert_same_weights(resumed, whole)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_plateau_lowers_the_rate_once_per_epoch_and_ends_the_training(build, monkeypatch, accumulated):
    losses = [1.0, 0.9, 0.8995, 0.9, 0.7, 0.71, 0.7, 0.5, 0.6, 0.6, *[0.6] * 40]
    seen = iter(losses)
    step = ReduceLROnPlateau.step
    monkeypatch.setattr(ReduceLROnPlateau, "step", lambda self, loss, epoch=None: step(self, next(seen)))
    record = Record()
    options = {"schedule": "plateau", "learning_rate": 2e-3, "patience": 1}
    trainer, model, data, folder = build(
        max_epochs=50, callbacks=[record], trainer={"accumulate_grad_batches": accumulated}, **options
    )
    trainer.fit(model, datamodule=data)
    expected = follow_plateau(losses, 2e-3, 1)
    assert len(expected) < 20
    assert [rate for rate, _ in record.seen] == approx([r for r in expected for _ in range(4 // accumulated)], **EXACT)
    assert [entry["learning_rate"] for entry in folder.history] == approx(expected, **relative(ROUNDED))


def test_plateau_follows_the_validation_loss_of_the_same_epoch(build):
    options = {"schedule": "plateau", "learning_rate": 1e-2, "patience": 0, "threshold": 0.1}
    trainer, model, data, folder = build(max_epochs=8, **options)
    trainer.fit(model, datamodule=data)
    losses = [entry["validation/loss"] for entry in folder.history]
    expected = follow_plateau(losses, 1e-2, 0, threshold=0.1)
    assert len(set(expected)) > 1
    assert [entry["learning_rate"] for entry in folder.history] == approx(expected, **relative(ROUNDED))


def test_plateau_needs_no_end(build):
    options = {"schedule": "plateau", "learning_rate": 2e-5, "patience": 0, "threshold": 0.99}
    trainer, model, data, folder = build(max_epochs=-1, **options)
    trainer.fit(model, datamodule=data)
    assert len(folder.history) == 2  # the first epoch is better than none, the second is not
    trainer, model, data, _ = build(max_epochs=-1, schedule="one_cycle")
    with pytest.raises(InputError, match="one_cycle has to know when the training ends; give trainer.max_epochs"):
        trainer.fit(model, datamodule=data)


def test_losses_and_accuracies_are_those_of_all_validation_shapes(build):
    trainer, model, data, _ = build(max_epochs=1, data={"batch_size": 3, "validation_fraction": 0.3})
    trainer.fit(model, datamodule=data)
    measured = trainer.validate(model, datamodule=data, verbose=False)[0]
    batches = list(data.val_dataloader())
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in batches])
    labels = torch.cat([batch["labels"] for batch in batches])
    assert len(labels) == len(data.validation_clouds) % 3 + len(data.validation_clouds) // 3 * 3
    assert measured["validation/loss"] == approx(float(cross_entropy(logits, labels)), **ROUNDED)
    expected = score(logits.softmax(1), labels, "SO3")
    assert measured["validation/accuracy"] == approx(expected.accuracy, **ROUNDED)
    assert measured["validation/class_accuracy"] == approx(expected.class_mean_accuracy, **ROUNDED)
    assert model.scores == [expected]


def test_tests_score_every_shape_under_every_rotation_and_vote(build):
    trainer, model, data, _ = build(data={"votes": 3, "batch_size": 4})
    trainer.test(model, datamodule=data, verbose=False)
    assert [(r.rotation, r.votes, r.num_shapes) for r in model.scores] == [
        ("z", 1, 15),
        ("z", 3, 15),
        ("SO3", 1, 15),
        ("SO3", 3, 15),
    ]
    model.eval()
    labels = torch.from_numpy(data.test_clouds.labels)
    straight = CloudDataset(data.test_clouds).__getitems__(range(15))["points"]
    with torch.no_grad():
        views = [
            model.network(TestRotation(rotation).draw(data.seed, vote, range(15), NUM_POINTS).apply(straight))
            for rotation, vote in data.views
        ]
        views = [logits.softmax(1) for logits in views]
    assert model.scores[0] == score(views[0], labels, "z")
    assert model.scores[2] == score(views[3], labels, "SO3")
    assert model.scores[3] == score((views[3] + views[4] + views[5]) / 3, labels, "SO3", 3)


def test_rotations_differ_between_votes_and_keep_z_upright(build):
    trainer, model, data, _ = build(data={"votes": 2})
    trainer.test(model, datamodule=data, verbose=False)
    views = [next(iter(loader))["points"] for loader in data.test_dataloader()]
    straight = CloudDataset(data.test_clouds).__getitems__(range(8))["points"]
    assert list(data.views) == [("z", 0), ("z", 1), ("SO3", 0), ("SO3", 1)]
    for turned in views:
        torch.testing.assert_close(turned.norm(dim=2), straight.norm(dim=2), **ROUNDED)
    for upright in views[:2]:
        assert torch.equal(upright[..., 2], straight[..., 2])
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[2], views[3])
    assert not torch.equal(views[2][..., 2], straight[..., 2])


def test_checkpoint_is_plain_and_rebuilds_the_network(build):
    trainer, model, data, folder = build(max_epochs=1)
    trainer.fit(model, datamodule=data)
    checkpoint = torch.load(folder.run.last, weights_only=True)
    assert checkpoint["csgnn"]["format"] == FORMAT
    assert checkpoint["csgnn"]["config"] == model.network.config
    assert checkpoint["csgnn"]["class_names"] == ["ball", "rod", "slab"]
    assert checkpoint["csgnn"]["training"]["train_rotation"] == "SO3"
    rebuilt = CSGNN.from_checkpoint(folder.run.last)
    assert rebuilt.class_names == ("ball", "rod", "slab")
    points = CloudDataset(data.test_clouds).__getitems__(range(15))["points"]
    model.eval()
    with torch.no_grad():
        assert torch.equal(rebuilt(points), model.network(points))


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
        trainer.test(other, datamodule=data, ckpt_path=str(folder.run.last), weights_only=True)
    assert str(folder.run.last) in str(caught.value)


def test_tensorboard_has_loss_accuracy_rate_and_throughput(build):
    trainer, model, data, folder = build(max_epochs=2, trainer={"log_every_n_steps": 1})
    trainer.fit(model, datamodule=data)
    log = EventAccumulator(str(folder.run.path / "tensorboard"))
    log.Reload()
    wanted = {"learning_rate", "train/step_loss"}
    for stage in ("train", "validation"):
        wanted |= {f"{stage}/{key}" for key in ("loss", "accuracy", "class_accuracy", "samples_per_second")}
    assert wanted <= set(log.Tags()["scalars"])
    losses = [event.value for event in log.Scalars("validation/loss")]
    assert losses == approx([entry["validation/loss"] for entry in folder.history], **ROUNDED)
    assert all(event.value > 0 for event in log.Scalars("train/samples_per_second"))


def test_seed_of_a_step_depends_on_everything():
    seeds = {batch_seed(s, e, b) for s in range(3) for e in range(3) for b in range(3)}
    assert len(seeds) == 27
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert batch_seed(1, 2, 3) == batch_seed(1, 2, 3)


def test_dropout_does_not_depend_on_what_ran_before(build):
    trainer, model, *_ = build(network={"dropout": 0.5})
    model.trainer = trainer
    trainer.optimizers = [torch.optim.Adam(model.parameters())]
    masks = []
    model.log = lambda *args, **kwargs: None
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


def test_unknown_schedules_and_optimisers_are_refused():
    network = CSGNN(level=0, num_spheres=1, base_width=1)
    with pytest.raises(ValueError, match="schedule is 'linear'; choose one of plateau"):
        ClassificationModule(network, schedule="linear")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="optimizer is 'lion'; choose one of adam, adamw, sgd"):
        ClassificationModule(network, optimizer="lion")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"momentum is 1\.0; give a number of at least 0 and below 1"):
        ClassificationModule(network, momentum=1.0)
    with pytest.raises(ValueError, match="patience is 0; schedule steps lowers the rate after 1 or more epochs"):
        ClassificationModule(network, schedule="steps", patience=0)


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


def test_accumulated_steps_are_those_of_the_mean_loss_of_their_batches(build):
    """Each batch normalises itself; the gradients of two are averaged."""
    trainer, model, data, _ = build(
        max_epochs=1, learning_rate=1e-2, network={"dropout": 0.0}, trainer={"accumulate_grad_batches": 2}
    )
    twin = copy.deepcopy(model.network)
    trainer.fit(model, datamodule=data)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-2, weight_decay=model.weight_decay)
    _, _, data, _ = build("again")  # which is before its first epoch
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert len(batches) == 4
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        optimizer.zero_grad()
        for batch in (first, second):
            (cross_entropy(twin(batch["points"]), batch["labels"]) / 2).backward()
        optimizer.step()
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[name], value, **TOLERANCE[torch.float32])


def test_sync_batchnorm_changes_nothing(build):
    """Norms measure all processes anyway; there is no torch batch norm to replace."""
    found = []
    for name, options in (("without", {}), ("with", {"sync_batchnorm": True})):
        trainer, model, data, _ = build(name, max_epochs=1, trainer=options)
        trainer.fit(model, datamodule=data)
        found.append(model.network.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model.network)
    assert not any(isinstance(module, torch.nn.SyncBatchNorm) for module in converted.modules())


def test_recomputing_changes_no_bit_of_a_training(build):
    found = []
    for name, recompute in (("without", False), ("with", True)):
        network = {"recompute": recompute, "dropout": 0.3}
        trainer, model, data, folder = build(name, max_epochs=2, network=network, learning_rate=1e-2)
        trainer.fit(model, datamodule=data)
        found.append(model.network.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    trainer, model, data, _ = build("plain")
    trainer.test(model, datamodule=data, ckpt_path=str(folder.run.last), weights_only=True, verbose=False)
    assert model.scores[0].num_shapes == 15


class Doubting(CSGNN):
    """Minimises twice the cross-entropy."""

    def loss(self, points, labels):
        loss, logits = super().loss(points, labels)
        return 2 * loss, logits


def test_a_classifier_says_what_training_minimises_and_validation_does_not_ask(build):
    losses = {}
    for kind in (CSGNN, Doubting):
        trainer, model, data, folder = build(max_epochs=1, learning_rate=1e-9, schedule="cosine")
        model.network = kind(**model.network.config)
        trainer.fit(model, datamodule=data)
        losses[kind] = [folder.history[0][f"{stage}/loss"] for stage in ("train", "validation")]
    assert losses[Doubting][0] == approx(2 * losses[CSGNN][0], **ROUNDED)
    assert losses[Doubting][1] == approx(losses[CSGNN][1], **ROUNDED)
