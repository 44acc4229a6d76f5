"""Fixtures of a tiny training on three kinds of ellipsoids."""

import lightning.pytorch as L
import pytest

from csgnn_dgl.models import CSGNN
from csgnn_dgl.tasks.classification import ClassificationModule, ModelNetData
from csgnn_dgl.training import RunFolder
from tests.toy_shapes import NETWORK, NUM_POINTS, write_shapes


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("shapes") / "data")


@pytest.fixture
def build(shapes_folder, tmp_path):
    """Build data, module and trainer of a tiny training; the same seed gives the same start."""

    def make(
        name="run", max_epochs=4, callbacks=(), resume=None, data=None, network=None, trainer=None, seed=5, **module
    ):
        L.seed_everything(seed, verbose=False)
        clouds = ModelNetData(
            **{"source": str(shapes_folder), "num_points": NUM_POINTS, "batch_size": 8, "seed": seed, **(data or {})}
        )
        model = ClassificationModule(
            CSGNN(**{**NETWORK, "num_points": NUM_POINTS, "num_classes": clouds.num_classes, **(network or {})}),
            **{"seed": seed, **module},
        )
        folder = RunFolder(tmp_path / "runs", name, "seed_everything: 5\n", resume)
        runner = L.Trainer(
            max_epochs=max_epochs,
            callbacks=[*callbacks, folder],
            logger=False,
            accelerator="cpu",
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            **(trainer or {}),
        )
        return runner, model, clouds, folder

    return make
