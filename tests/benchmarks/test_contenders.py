import math

import pytest
import torch

from benchmarks.contenders import CONTENDERS, Contender, compare, compose, kind_of, make, new_model, usual
from benchmarks.sizes import SIZES, Size
from csgnn_dgl.errors import InputError

SIZE = Size(level=1, num_spheres=3, channels=2, base_width=1, batch=6, num_classes=3)
DOS = Size(level=1, num_spheres=1, channels=2, base_width=1, batch=20, num_bins=9)


def test_contenders_compute_the_same_and_learn_alike():
    names = [name for name in CONTENDERS if name not in ("auto-bf16", "composition-linear", "pyg")]
    built = {name: Contender(name, SIZE) for name in names}
    differences = compare({name: contender.outputs(training=True) for name, contender in built.items()})
    assert set(differences) == set(names) - {"auto"}
    assert max(differences.values()) < 1e-3
    losses = {}
    for name, contender in built.items():
        torch.manual_seed(1)
        contender.training()
        contender.inference()
        contender.model.eval()
        losses[name] = contender.loss().item()
    assert losses == pytest.approx(dict.fromkeys(names, losses["auto"]), rel=1e-2)


def test_contenders_of_the_dos_compute_the_same_and_learn_alike():
    names = ["auto", "fast", "reference", "composition", "composition-linear"]
    built = {name: Contender(name, DOS) for name in names}
    differences = compare({name: contender.outputs(training=True) for name, contender in built.items()})
    assert max(differences.values()) < 1e-3
    losses = {}
    for name, contender in built.items():
        contender.training()
        contender.inference()
        contender.model.eval()
        losses[name] = contender.loss().item()
    assert losses == pytest.approx(dict.fromkeys(names, losses["auto"]), rel=1e-2)
    with pytest.raises(InputError, match="there is no composition of CSGNNDOS with pyg; leave it out"):
        compose(new_model(DOS), "pyg")


def test_half_precision_is_used_under_its_name_only():
    features = []
    for name in ("auto", "auto-bf16"):
        contender = Contender(name, SIZE)
        block = contender.model.get_submodule("encoder.blocks.0")
        block.register_forward_hook(lambda module, given, result: features.append(result.dtype))
        assert contender.predict().dtype == torch.float32
    assert features == [torch.float32, torch.bfloat16]


def test_a_wrong_contender_is_not_timed():
    right = {"outputs at inference": [1.0, 2.0], "gradients": [3.0, 4.0]}
    assert compare({"auto": right, "composition": right}) == {"composition": 0.0}
    close = {**right, "gradients": [3.0, 4.1]}
    assert compare({"auto": right, "composition": close})["composition"] == pytest.approx(0.02)
    for wrong in ([1.0, 1.9], [math.nan, 2.0]):
        with pytest.raises(
            RuntimeError, match="composition and auto do not compute the same: the outputs at inference"
        ):
            compare({"auto": right, "composition": {**right, "outputs at inference": wrong}})
    assert compare({"auto": right, "auto-bf16": {**right, "outputs at inference": [1.0, 1.9]}})["auto-bf16"] < 0.1


def test_without_training_only_inference_is_compared():
    facts, actions = make("auto", vars(SIZE), modes=["inference"])
    assert list(facts["outputs"]) == ["outputs at inference"]
    assert set(actions) == {"training", "inference"}


def test_what_is_usual():
    assert usual("small") == ["auto", "auto-bf16", "fast", "reference", "composition", "composition-as-is"]
    assert usual("paper") == ["auto", "auto-bf16", "composition", "composition-as-is"]
    assert usual("dos") == ["auto", "auto-bf16", "composition", "composition-as-is", "composition-linear"]
    assert kind_of("composition").keep_blocks
    assert not kind_of("composition-as-is").keep_blocks
    assert SIZES["wide"].model_options()["num_classes"] == 40


def test_unknown_and_missing_contenders(monkeypatch):
    with pytest.raises(InputError, match="there is no contender 'x'; choose among auto, "):
        kind_of("x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install torch_geometric"):
        kind_of("pyg")
