"""Trainings whose modules, or whose logs, ask other things of the layers than float32 in eager mode."""

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from csgnn_dgl.errors import InputError

DTYPES = {"bf16-true": torch.bfloat16, "64-true": torch.float64}


@pytest.mark.parametrize("precision", sorted(DTYPES))
def test_classifiers_train_in_true_precision(build, precision):
    trainer, model, data, _ = build(max_epochs=1, trainer={"precision": precision})
    trainer.fit(model, data)
    assert {value.dtype for value in model.parameters()} == {DTYPES[precision]}
    assert all(value.isfinite().all() for value in model.parameters())


def test_models_of_the_dos_train_in_true_precision(build_dos):
    trainer, model, data, _ = build_dos("csgnn", max_epochs=1, trainer={"precision": "bf16-true"})
    trainer.fit(model, data)
    assert all(value.isfinite().all() for value in model.parameters())


def test_training_in_float16_is_refused(build):
    for trainer, dtype in ({"precision": "16-true"}, torch.float32), ({}, torch.float16):
        trainer, model, data, _ = build(max_epochs=1, trainer=trainer)
        with pytest.raises(InputError, match=r"weights would be float16.*give bf16-true, bf16-mixed or 32-true"):
            trainer.fit(model.to(dtype), data)


@pytest.mark.filterwarnings("ignore")
def test_the_graph_of_a_model_is_logged(build, tmp_path):
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    trainer, model, data, _ = build(max_epochs=1)
    trainer.fit(model, data)
    model.example_input_array = ({"points": torch.rand(2, model.network.num_points, 3)},)
    logger.log_graph(model)
    logger.save()
    assert any(b"index_select" in file.read_bytes() for file in tmp_path.rglob("events.out.tfevents.*"))
