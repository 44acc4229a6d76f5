"""What TensorBoard gets of a training, and that the training does not depend on it."""

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from csgnn_dgl.errors import InputError
from csgnn_dgl.tasks.classification.board import show
from csgnn_dgl.tasks.dos.board import show as show_dos
from csgnn_dgl.training import fit
from csgnn_dgl.training.board import Board, total_norm
from tests.tiny_training import assert_same_weights
from tests.tolerances import ROUNDED, approx
from tests.toy_shapes import NETWORK, NUM_POINTS


def log_of(path):
    log = EventAccumulator(str(path / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
    log.Reload()
    return log


def trained(shapes_folder, tmp_path, board):
    return fit(
        task="classification",
        model={"network": {"class_path": "csgnn_dgl.models.CSGNN", "init_args": NETWORK}, "learning_rate": 1e-2},
        data={"source": str(shapes_folder), "num_points": NUM_POINTS, "batch_size": 8},
        trainer={"max_epochs": 3, "accelerator": "cpu", "log_every_n_steps": 1},
        runs=str(tmp_path / "runs"),
        name=board,
        board=board,
    )


@pytest.mark.slow
def test_the_option_chooses_what_is_shown_and_the_weights_are_the_same_bits(shapes_folder, tmp_path):
    runs = {board: trained(shapes_folder, tmp_path, board) for board in ("none", "scalars", "full")}
    logs = {board: log_of(run.path) for board, run in runs.items()}
    tags = {board: log.Tags() for board, log in logs.items()}
    norms = {"norms/gradients", "norms/weights", "best/accuracy"}
    assert not norms & set(tags["none"]["scalars"]) and not tags["none"]["images"]
    assert norms <= set(tags["scalars"]["scalars"]) and not tags["scalars"]["images"]
    assert norms <= set(tags["full"]["scalars"])
    assert len(logs["full"].Images("validation/confusion")) == 3
    curves = [tag for tag in tags["full"]["tensors"] if tag.startswith("precision_recall/")]
    assert len(curves) == 3
    epochs = [torch.load(run.last, weights_only=True)["state_dict"] for run in runs.values()]
    assert_same_weights(epochs[0], epochs[1])
    assert_same_weights(epochs[0], epochs[2])


def test_norms_and_hyperparameters_are_those_of_the_training(build):
    trainer, model, data, folder = build(max_epochs=1)
    board = Board(folder, "scalars", "model: {learning_rate: 0.5}\nname: x\n")
    weights = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    trainer.callbacks.insert(0, board)
    trainer.fit(model, datamodule=data)
    log = log_of(folder.run.path)
    assert log.Scalars("norms/weights")[0].value == approx(float(np.linalg.norm(weights.numpy())), **ROUNDED)
    assert log.Scalars("best/loss")[0].value == approx(folder.best["validation/loss"], **ROUNDED)
    assert "_hparams_/session_start_info" in log.summary_metadata
    content = log.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"model.learning_rate" in content and b"name" not in content.replace(b"model_name", b"")


def test_the_norm_is_that_of_all_numbers():
    assert total_norm([torch.tensor([3.0]), torch.tensor([[4.0]], dtype=torch.bfloat16)]) == approx(5.0, **ROUNDED)
    assert total_norm([]) == 0.0


class Writer:
    """Keeps what it is given."""

    def __init__(self):
        self.kept = {}

    def __getattr__(self, kind):
        return lambda tag, *values, **_: self.kept.setdefault((kind, tag), values)


def test_misclassified_clouds_are_those_with_a_wrong_answer(build):
    trainer, model, data, _ = build(max_epochs=1)
    trainer.fit(model, datamodule=data)
    clouds, writer = data.validation_clouds, Writer()
    items = torch.arange(len(clouds.labels))
    answers = torch.nn.functional.one_hot(torch.from_numpy(clouds.labels), 3).float()
    answers[1] = answers[1].roll(1)
    show(writer, model, answers, items, 7, True)
    (points,) = (values[0] for key, values in writer.kept.items() if key[0] == "add_mesh")
    assert np.array_equal(points.numpy(), clouds.points[1:2].astype(np.float32))
    names, label = clouds.class_names, clouds.labels[1]
    text = writer.kept["add_text", "validation/misclassified"][0]
    assert text == f"1. {names[label]}, taken for {names[(label + 1) % 3]}"
    rare = Writer()
    show(rare, model, answers, items, 7, False)
    assert list(rare.kept) == [("add_figure", "validation/confusion")]


def test_example_dos_are_drawn_after_few_epochs(build_dos):
    trainer, model, data, folder = build_dos("agni", max_epochs=2)
    trainer.callbacks.insert(0, Board(folder, show=show_dos))
    trainer.fit(model, datamodule=data)
    steps = trainer.global_step // 2
    assert [event.step for event in log_of(folder.run.path).Images("validation/dos")] == [steps, 2 * steps]


def test_an_unknown_amount_is_refused(shapes_folder, tmp_path):
    with pytest.raises(InputError, match="board"):
        trained(shapes_folder, tmp_path, "all")
