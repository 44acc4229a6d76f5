import lightning.pytorch as L
import numpy as np
import pytest
import torch
from ase.io import iread, write

from csgnn_dgl.data import EpochSampler, load_snapshots
from csgnn_dgl.electronic import PAPER_GRID, EnergyGrid, fermi_level
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import DOS_MODELS, StructureMean
from csgnn_dgl.nn import NormReLU
from csgnn_dgl.tasks.atoms import batch_environments
from csgnn_dgl.tasks.dos import DOSModule
from csgnn_dgl.tasks.dos.data import SnapshotDataset
from csgnn_dgl.tasks.dos.module import spectral_loss
from tests.tiny_training import Stop, assert_same_weights
from tests.tolerances import EXACT, NUMERIC, ROUNDED, TOLERANCE, approx, relative, times
from tests.toy_snapshots import NETWORKS, band_energy_by_hand, write_snapshots


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_the_loss_is_that_of_eq_5(alpha, dtype):
    rng = np.random.default_rng(0)
    grid = EnergyGrid(-2.0, 0.25, 12)
    prediction, reference = rng.random((2, 5, 12))
    spectrum = ((prediction - reference) ** 2).mean()
    filled = np.stack([0.25 * (prediction - reference)[:, : k + 1].sum(axis=1) for k in range(12)], axis=1)
    expected = alpha * spectrum + (1 - alpha) * (filled**2).mean()
    one, other = (torch.from_numpy(values).to(dtype) for values in (prediction, reference))
    assert float(spectral_loss(one, other, alpha, grid)) == approx(expected, **TOLERANCE[dtype])


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_logged_is_computed_over_all_snapshots(build_dos, snapshots_folder, kind):
    trainer, model, data, folder = build_dos(kind, max_epochs=2)
    trainer.fit(model, datamodule=data)
    snapshots = load_snapshots(snapshots_folder, "val")
    batch = SnapshotDataset(snapshots).__getitems__(range(len(snapshots)))
    with torch.no_grad():
        found = model.network.eval()(batch_environments(batch), batch["snapshot"], 6).double()
    entry = folder.history[-1]
    reference = torch.from_numpy(snapshots.dos_per_atom)
    assert entry["validation/loss"] == approx(float(spectral_loss(found, reference, 0.1, PAPER_GRID)), **ROUNDED)
    pairs = [
        (band_energy_by_hand(p.numpy(), 4.0), band_energy_by_hand(r.numpy(), 4.0))
        for p, r in zip(found, reference, strict=True)
    ]
    errors = np.abs([np.subtract(*pair) for pair in pairs]).mean(axis=0)
    assert entry["validation/band_energy_mae"] == approx(errors[0], **ROUNDED)
    assert entry["validation/fermi_level_mae"] == approx(errors[1], **ROUNDED)
    assert entry["train/samples_per_second"] > 0
    best = torch.load(folder.run.best, weights_only=True)
    maes = [item["validation/band_energy_mae"] for item in folder.history]
    assert best["epoch"] == int(np.argmin(maes))


def test_a_checkpoint_says_what_is_needed_to_use_it(build_dos, snapshots_folder):
    trainer, model, data, folder = build_dos("agni", max_epochs=1, data={"holdout": "dimer"})
    trainer.fit(model, datamodule=data)
    description = torch.load(folder.run.last, weights_only=True)["csgnn"]
    assert description["model"] == "agni"
    assert description["config"] == model.network.config
    assert description["data"] == {
        "holdout": "dimer",
        "source": snapshots_folder,
        "grid": {"start": -30.0, "width": 0.1, "count": 310},
        "offset": 0.0,
        "valences": None,
    }
    assert description["training"]["alpha"] == 0.1
    assert description["training"]["seed"] == 5


@pytest.mark.parametrize(("kind", "workers"), [("agni", 2), pytest.param("csgnn", 0, marks=pytest.mark.slow)])
def test_killed_and_resumed_training_ends_where_an_uninterrupted_one_ends(build_dos, kind, workers):
    options = {"schedule": "one_cycle", "beta": 0.01, "freeze_norms": 0.5, "output_rate": 0.1}
    turned = {"train_rotation": "SO3", "num_workers": workers}
    trainer, straight, data, folder = build_dos(kind, "straight", data=turned, **options)
    trainer.fit(straight, datamodule=data)
    trainer, killed, data, broken = build_dos(kind, "killed", callbacks=[Stop(1, 1)], data=turned, **options)
    with pytest.raises(RuntimeError, match="killed"):
        trainer.fit(killed, datamodule=data)
    alone = {**turned, "num_workers": 0}
    trainer, resumed, data, again = build_dos(kind, "again", resume=broken.run, data=alone, **options)
    torch.nn.init.zeros_(next(resumed.parameters()))  # what it starts from must not matter
    trainer.fit(resumed, datamodule=data, ckpt_path=str(broken.run.last), weights_only=True)
    assert_same_weights(straight, resumed)
    histories = [run.run.history for run in (folder, again)]
    for key in ("train/loss", "validation/loss", "validation/band_energy_mae", "learning_rate"):
        assert [entry[key] for entry in histories[0]] == [entry[key] for entry in histories[1]], key


def test_testing_scores_the_model_and_the_training_means(build_dos, snapshots_folder):
    trainer, model, data, _ = build_dos(max_epochs=1)
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    train, test = load_snapshots(snapshots_folder, "train"), load_snapshots(snapshots_folder, "test")
    assert [score.name for score in model.scores] == ["agni", "training mean"]
    assert model.scores[0].num_parameters == sum(p.numel() for p in model.network.parameters())
    means = StructureMean().fit(train).predict(test)
    errors = [
        abs(band_energy_by_hand(mean, 4.0)[0] - band_energy_by_hand(wanted, 4.0)[0])
        for mean, wanted in zip(means, test.dos_per_atom, strict=True)
    ]
    assert model.scores[1].band_energy_mae == approx(np.mean(errors), **EXACT)
    batch = data.dataset("test").__getitems__(range(len(test)))
    with torch.no_grad():
        expected = model.network.eval()(batch_environments(batch), batch["snapshot"], len(test))
    torch.testing.assert_close(model.predictions[0].dos_per_atom, expected.double(), **TOLERANCE[torch.float32])


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_fresh_output_can_start_at_the_mean(kind, snapshots_folder):
    torch.manual_seed(1)
    data = SnapshotDataset(load_snapshots(snapshots_folder, "train"))
    network = DOS_MODELS[kind](**NETWORKS[kind])
    batch = data.__getitems__(range(len(data)))
    arguments = batch_environments(batch), batch["snapshot"], len(data)
    with torch.no_grad():
        before = spectral_loss(network(*arguments), data.dos_per_atom, 0.1, PAPER_GRID)
        network.start_from(data.dos_per_atom)
        after = spectral_loss(network(*arguments), data.dos_per_atom, 0.1, PAPER_GRID)
    assert torch.equal(network.output.norm.bias, data.dos_per_atom.mean(dim=0))
    assert float(network.output.smoothing.weight.detach().sum()) == approx(3, **ROUNDED)
    assert after < before / 5


def test_starting_at_the_mean_is_an_option(build_dos):
    trainer, model, data, _ = build_dos(max_epochs=0, start_at_mean=False)
    trainer.fit(model, datamodule=data)
    assert not model.network.output.norm.bias.any()


def test_the_number_of_bins_must_be_that_of_the_data(build_dos):
    trainer, model, data, _ = build_dos()
    model.network = DOS_MODELS["agni"](**NETWORKS["agni"], num_bins=100)
    with pytest.raises(InputError, match="the model predicts 100 energy bins and data.grid has 310"):
        trainer.fit(model, datamodule=data)


def test_a_foreign_element_is_named_with_its_file(build_dos, snapshots_folder, tmp_path):
    folder = write_snapshots(tmp_path / "foreign")
    frames = list(iread(folder / "train.extxyz"))
    frames[3].numbers[1] = 14
    write(folder / "train.extxyz", frames, format="extxyz")
    trainer, model, data, _ = build_dos(data={"source": str(folder)})
    with pytest.raises(InputError, match=r"train.extxyz: snapshot 3 contains Si, but the model knows C only"):
        trainer.fit(model, datamodule=data)
    assert not (tmp_path / "runs" / "run" / "checkpoints").exists()


def test_a_prediction_that_is_no_number_has_no_error(build_dos):
    trainer, model, data, folder = build_dos(max_epochs=1, learning_rate=float("inf"), weight_decay=0.0)
    with pytest.raises(InputError, match="not finite and no checkpoint is written"):
        trainer.fit(model, datamodule=data)
    assert np.isnan(folder.history[-1]["validation/band_energy_mae"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"beta": -0.1}, "beta is -0.1"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"freeze_norms": 1.1}, "freeze_norms is 1.1"),
        ({"output_rate": 0.0}, "output_rate is 0.0"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        DOSModule(DOS_MODELS["agni"](**NETWORKS["agni"]), **option)


def test_the_loss_of_the_band_energy_is_added_and_its_gradient_too(build_dos, monkeypatch):
    trainer, model, data, folder = build_dos(max_epochs=1, beta=0.5, learning_rate=1e-3)
    trainer.fit(model, datamodule=data)
    batch = data.dataset("val").__getitems__(range(6))
    arguments = batch_environments(batch), batch["snapshot"], 6
    prediction = model.network.eval()(*arguments)
    pairs = [
        (band_energy_by_hand(p.double().numpy(), 4.0)[0], band_energy_by_hand(r.double().numpy(), 4.0)[0])
        for p, r in zip(prediction.detach(), batch["dos_per_atom"], strict=True)
    ]
    squares = [(one - other) ** 2 for one, other in pairs]
    expected = float(spectral_loss(prediction.detach(), batch["dos_per_atom"], 0.1, PAPER_GRID)) + 0.5 * np.mean(
        squares
    )
    assert folder.history[-1]["validation/loss"] == approx(expected, **ROUNDED)
    # along its gradient the loss falls as it says: which it would not if the term had none
    monkeypatch.setattr(model, "log", lambda *_, **__: None)
    model.network.double()
    loss, _ = model._step("validation", batch)
    gradients = torch.autograd.grad(loss, list(model.network.parameters()))
    size = float(sum(gradient.square().sum() for gradient in gradients))
    with torch.no_grad():
        for parameter, gradient in zip(model.network.parameters(), gradients, strict=True):
            parameter -= gradient * (1e-7 / size**0.5)
    lower, _ = model._step("validation", batch)
    assert float((loss - lower).detach()) == approx(1e-7 * size**0.5, **relative(NUMERIC))


@pytest.mark.parametrize("schedule", ["plateau", "one_cycle", "cosine"])
def test_the_output_learns_at_a_share_of_the_rate(build_dos, schedule):
    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
            assert rates[1] == approx(0.01 * rates[0], **relative(EXACT))
            assert pl_module.rate == rates[0]

    trainer, model, data, _ = build_dos(max_epochs=2, output_rate=0.01, schedule=schedule, callbacks=[Watch()])
    trainer.fit(model, datamodule=data)
    every, slow = (group["params"] for group in trainer.optimizers[0].param_groups)
    output = model.network.output
    assert {id(p) for p in slow} == {id(p) for part in (output.norm, output.smoothing) for p in part.parameters()}
    assert len(every) + len(slow) == len(list(model.parameters()))
    # Adam's first steps are as large as the rate
    start = torch.from_numpy(np.asarray(data.dataset("train").dos_per_atom)).mean(dim=0)
    moved = (output.norm.bias.detach() - start).abs().max()
    assert 0 < moved <= 6 * 1e-2 * 0.01 * 1.1


class WatchNorms(L.Callback):
    """Keep the state of all norms at the end of each epoch, and the weights before it."""

    def __init__(self):
        self.averages, self.measures, self.weights = [], [], []

    def on_train_epoch_start(self, trainer, pl_module):
        self.weights.append({name: value.clone() for name, value in pl_module.network.state_dict().items()})

    def on_train_epoch_end(self, trainer, pl_module):
        norms = [module for module in pl_module.modules() if isinstance(module, NormReLU)]
        self.averages.append(torch.cat([torch.cat([norm.running_mean, norm.running_var]) for norm in norms]))
        self.measures.append({norm.measures for norm in norms})


@pytest.mark.parametrize("kind", NETWORKS)
def test_norms_freeze_for_the_last_epochs_at_the_averages_of_one(build_dos, kind):
    watch = WatchNorms()
    trainer, model, data, _ = build_dos(kind, max_epochs=4, callbacks=[watch], freeze_norms=0.5)
    trainer.fit(model, datamodule=data)
    assert watch.measures == [{True}, {True}, {False}, {False}]
    first, second, third, last = watch.averages
    assert not torch.equal(first, second) and not torch.equal(second, third)
    assert torch.equal(third, last)
    # plain means over the three batches of the third epoch, with the weights that it began with
    network = DOS_MODELS[kind](**NETWORKS[kind])
    network.load_state_dict(watch.weights[2])
    norms = [module for module in network.modules() if isinstance(module, NormReLU)]
    for norm in norms:
        norm.momentum, norm.running_mean[:], norm.running_var[:] = 0.0, 0.0, 0.0
        norm.forget()
    sampler = EpochSampler(15, seed=5, groups=np.repeat(range(3), 5))
    sampler.set_epoch(2)
    order = list(sampler)
    for start in (0, 4, 8):
        batch = data.dataset("train").__getitems__(order[start : start + 4])
        network(batch_environments(batch), batch["snapshot"], 4)
    expected = torch.cat([torch.cat([norm.running_mean, norm.running_var]) for norm in norms])
    torch.testing.assert_close(third, expected, **TOLERANCE[torch.float32])


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_norms_freeze_in_any_precision(build_dos, precision):
    watch = WatchNorms()
    options = {"callbacks": [watch], "freeze_norms": 0.5, "trainer": {"precision": precision}}
    trainer, model, data, folder = build_dos("csgnn", max_epochs=2, **options)
    trainer.fit(model, datamodule=data)
    assert watch.measures == [{True}, {False}]
    assert np.isfinite(folder.history[-1]["validation/loss"])


def test_freezing_norms_needs_an_end(build_dos):
    trainer, model, data, _ = build_dos(max_epochs=-1, freeze_norms=0.5, trainer={"max_steps": 2})
    with pytest.raises(InputError, match="freeze_norms has to know when the training ends; give trainer.max_epochs"):
        trainer.fit(model, datamodule=data)


def test_training_in_float64_works(build_dos):
    trainer, model, data, folder = build_dos(max_epochs=1, trainer={"precision": "64-true"})
    trainer.fit(model, datamodule=data)
    assert next(model.network.parameters()).dtype == torch.float64
    assert np.isfinite(folder.history[-1]["validation/loss"])


def test_a_linear_output_is_solved_for_and_its_level_is_that_of_the_dos(build_dos, snapshots_folder):
    network = DOS_MODELS.build("agni", **NETWORKS["agni"], output="linear")
    trainer, model, data, _ = build_dos("agni", max_epochs=2, ridge=1e-3, gamma=0.1, freeze_norms=0.0, network=network)
    trainer.fit(model, datamodule=data)
    train = SnapshotDataset(load_snapshots(snapshots_folder, "train"))
    batch = train.__getitems__(range(len(train)))
    network.eval()
    with torch.no_grad():
        features = network.mean_features(batch_environments(batch), batch["snapshot"], len(train))
        found = network.output.with_level(features)
        network.output.solve(
            features, train.dos_per_atom, fermi_level(train.dos_per_atom, batch["electrons_per_atom"]), 1e-3
        )
        torch.testing.assert_close(found, network.output.with_level(features), **times(TOLERANCE[torch.float32], 10))
        dos = model(batch).double()
    level = fermi_level(dos, batch["electrons_per_atom"], too_few="top")
    torch.testing.assert_close(level, found[:, -1].double(), **TOLERANCE[torch.float32])


def test_the_ridge_goes_with_a_linear_output(build_dos):
    trainer, model, data, _ = build_dos("agni", ridge=1e-3)
    with pytest.raises(InputError, match=r"model.ridge is 0.001; give one above 0 for a network with output linear"):
        trainer.fit(model, datamodule=data)
