import math

import pytest
import torch
from scipy.stats import kstest

from benchmarks.contenders import (
    CONTENDERS,
    MODES,
    PIECES,
    Contender,
    build,
    build_piece,
    compare,
    draw_environments,
    entry_of,
    pieces_of,
    usual,
)
from benchmarks.sizes import SIZES, Size
from tests.tolerances import P_VALUE, ROUNDED, TOLERANCE, TRAINED, approx

SIZE = Size(level=1, num_spheres=3, channels=2, base_width=1, batch=6, num_classes=3)
DOS = Size(level=1, num_spheres=1, channels=2, base_width=1, batch=20, num_bins=9)
FAMILY = ["auto", "fast", "reference", "composition", "composition-torch"]


@pytest.mark.parametrize(("size", "more"), [(SIZE, []), (DOS, ["composition-linear"])], ids=["classifier", "dos"])
def test_contenders_compute_the_same_and_learn_alike(size, more):
    names = [*FAMILY, *more]
    built = {name: Contender(name, size) for name in names}
    differences = compare({name: contender.outputs(training=True) for name, contender in built.items()})
    assert set(differences) == set(names) - {"auto"}
    assert max(differences.values()) < TOLERANCE[torch.float32]["rtol"]
    losses = {}
    for name, contender in built.items():
        torch.manual_seed(1)
        contender.training()
        contender.inference()
        contender.model.eval()
        losses[name] = contender.loss().item()
    assert losses == approx(dict.fromkeys(names, losses["auto"]), **TRAINED[torch.float32])


def test_half_precision_is_used_under_its_name_only():
    features = []
    for name in ("auto", "auto-bf16"):
        contender = Contender(name, SIZE)
        block = contender.model.get_submodule("encoder.blocks.0")
        block.register_forward_hook(lambda module, given, result: features.append(result.dtype))
        assert contender.predict().dtype == torch.float32
    assert features == [torch.float32, torch.bfloat16]


def test_a_wrong_contender_is_not_timed():
    def outputs(*values, gradients=(3.0, 4.0)):
        return {"outputs at inference": torch.tensor(values), "gradients": torch.tensor(gradients)}

    right = outputs(1.0, 2.0)
    assert compare({"auto": right, "composition": right}) == {"composition": 0.0}
    close = outputs(1.0, 2.0, gradients=(3.0, 4.1))
    assert compare({"auto": right, "composition": close})["composition"] == approx(0.02, **ROUNDED)
    for wrong in (outputs(1.0, 1.9), outputs(math.nan, 2.0)):
        with pytest.raises(
            RuntimeError, match="composition and auto do not compute the same: the outputs at inference"
        ):
            compare({"auto": right, "composition": wrong})
    assert compare({"auto": right, "auto-bf16": outputs(1.0, 1.9)})["auto-bf16"] == approx(0.1 / 5**0.5, **ROUNDED)


def test_without_training_only_inference_is_compared():
    built = build("auto", SIZE, ["inference"])
    assert list(built.outputs) == ["outputs at inference"]
    assert set(built.actions) == set(MODES)
    assert build("auto", SIZE, []).outputs == {}


def test_what_is_usual_and_how_it_runs():
    small = ["auto", "auto-bf16", "fast", "inductor", "reference", "composition", "composition-as-is"]
    assert usual("small") == small
    assert usual("paper") == ["auto", "auto-bf16", "composition", "composition-as-is"]
    assert usual("dos") == ["auto", "auto-bf16", "composition", "composition-as-is", "composition-linear"]
    assert [name for name in CONTENDERS if not entry_of(name, SIZE, MODES).keep_blocks] == [
        "composition-as-is",
        "composition-linear",
    ]
    assert [name for name in CONTENDERS if entry_of(name, SIZE, MODES).optional] == [
        "inductor",
        "inductor-bf16",
        "inductor-graphs",
    ]


@pytest.mark.parametrize("size", [SIZE, DOS], ids=["classifier", "dos"])
def test_every_piece_computes_the_same_in_every_form(size):
    pieces = pieces_of(size)
    assert {piece for piece, _ in pieces} == set(PIECES)
    for piece, layer in pieces:
        outputs = {}
        for name in ("reference", "fast", "auto"):
            built = build_piece(piece, layer, name, size)
            assert set(built.actions) == {"forward", "forward and backward"}
            outputs[name] = built.outputs
        assert max(compare(outputs).values()) < TOLERANCE[torch.float32]["rtol"]


def test_pieces_are_listed_once_and_blocks_by_level():
    names = [(piece, str(layer)) for piece, layer in pieces_of(SIZES["small"])]
    assert len(set(names)) == len(names)
    assert [layer.level for piece, layer in pieces_of(SIZES["small"]) if piece == "block"] == [3, 2, 1]


def test_drawn_environments_lie_within_the_cutoff_and_differ_in_their_neighbours():
    environments = draw_environments(4, cutoff=5.0)
    distances = environments.vectors.norm(dim=1)
    slack = ROUNDED["rtol"]
    assert 1.2 * (1 - slack) <= distances.min() <= distances.max() <= 5.0 * (1 + slack)
    assert torch.bincount(environments.centre).tolist() == [25, 100, 175, 250]
    # as many neighbours in every part of the volume
    volume = (distances.double() ** 3 - 1.2**3) / (5.0**3 - 1.2**3)
    assert kstest(volume, "uniform").pvalue > P_VALUE
