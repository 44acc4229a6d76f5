"""Fixtures and helpers of tiny trainings: ellipsoids of three kinds, and three kinds of carbon molecules."""

from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from matplotlib.figure import Figure

from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CSGNN, DOS_MODELS
from csgnn_dgl.tasks.classification import ClassificationModule, ModelNetData
from csgnn_dgl.tasks.dos import DOSData, DOSModule
from csgnn_dgl.training import RunFolder
from csgnn_dgl.training.workers import News
from tests.toy_shapes import NETWORK, NUM_POINTS, write_shapes
from tests.toy_snapshots import NETWORKS, write_snapshots

SILENT = {
    "accelerator": "cpu",
    "logger": False,
    "log_every_n_steps": 1,
    "num_sanity_val_steps": 0,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


class Stop(L.Callback):
    """Kill the training in the given epoch, at the given batch."""

    def __init__(self, epoch, batch):
        self.epoch, self.batch = epoch, batch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            raise RuntimeError("killed")


def assert_same_weights(one, other):
    """Make sure that two modules or states are the same to the bit."""
    states = [item if isinstance(item, dict) else item.state_dict() for item in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory):
    """Shapes as files."""
    return write_shapes(tmp_path_factory.mktemp("shapes") / "data")


@pytest.fixture(scope="session")
def snapshots_folder(tmp_path_factory):
    """Snapshots as files."""
    return str(write_snapshots(tmp_path_factory.mktemp("snapshots") / "data"))


@pytest.fixture
def build(shapes_folder, tmp_path):
    """Build data, module and trainer of a tiny training of a classifier; the same seed gives the same start."""

    def make(
        name="run",
        max_epochs=4,
        callbacks=(),
        resume=None,
        data=None,
        network=None,
        trainer=None,
        seed=5,
        minutes=10.0,
        **module,
    ):
        L.seed_everything(seed, verbose=False)
        clouds = ModelNetData(
            **{"source": str(shapes_folder), "num_points": NUM_POINTS, "batch_size": 8, "seed": seed, **(data or {})}
        )
        options = {**NETWORK, "num_points": NUM_POINTS, "num_classes": clouds.num_classes, **(network or {})}
        model = ClassificationModule(CSGNN(**options), **{"seed": seed, **module})
        panels = {"loss": "loss", "accuracy": "accuracy"}
        text = "seed_everything: 5\n"
        folder = RunFolder(tmp_path / "runs", name, "validation/accuracy", "max", panels, text, resume, minutes)
        runner = L.Trainer(**{**SILENT, "max_epochs": max_epochs, "callbacks": [*callbacks, folder], **(trainer or {})})
        return runner, model, clouds, folder

    return make


@pytest.fixture
def build_dos(snapshots_folder, tmp_path):
    """The same for a model of the DOS."""

    def make(
        kind="agni",
        name="run",
        max_epochs=3,
        callbacks=(),
        resume=None,
        data=None,
        trainer=None,
        minutes=10.0,
        network=None,
        **module,
    ):
        L.seed_everything(5, verbose=False)
        network = network or DOS_MODELS[kind](**NETWORKS[kind])
        snapshots = DOSData(**{"source": snapshots_folder, "batch_size": 4, "seed": 5, **(data or {})})
        model = DOSModule(network, **{"seed": 5, "learning_rate": 1e-2, **module})
        folder = RunFolder(tmp_path / "runs", name, "validation/band_energy_mae", resume=resume, minutes=minutes)
        runner = L.Trainer(**{**SILENT, "max_epochs": max_epochs, "callbacks": [*callbacks, folder], **(trainer or {})})
        return runner, model, snapshots, folder

    return make


@pytest.fixture
def inline_jobs(monkeypatch):
    """Do the jobs of sweeps in the process of the test, which need not import everything anew."""

    def do(jobs, at_once=1):
        for job in jobs:
            yield News(job.name, "started")
            told: list[str] = []
            try:
                value = job.function(*job.arguments, told.append)
            except InputError as error:
                yield News(job.name, "failed", str(error))
            else:
                yield from (News(job.name, "told", line) for line in told)
                yield News(job.name, "done", value)

    for module in ("csgnn_dgl.training.sweep", "csgnn_dgl.tasks.classification.comparison"):
        monkeypatch.setattr(f"{module}.carry_out_jobs", do)


@pytest.fixture
def figures():
    """Draw figures as users get them."""


@pytest.fixture(autouse=True)
def quick_figures(request, monkeypatch):
    """Leave the files of figures empty but for their signature, unless a test asks for `figures`."""
    if "figures" not in request.fixturenames:
        save = Path.write_bytes
        monkeypatch.setattr(Figure, "savefig", lambda _, path, **options: save(path, b"\x89PNG"))
