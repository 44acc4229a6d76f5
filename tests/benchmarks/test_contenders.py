import copy
import math
from typing import Any

import pytest
import torch
from scipy.stats import kstest

from benchmarks.contenders import (
    CONTENDERS,
    MODES,
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
from benchmarks.suite import MEMORY_MODES
from tests.tolerances import P_VALUE, ROUNDED, TOLERANCE, TRAINED, approx

SIZE = Size(level=1, num_spheres=3, channels=2, base_width=1, batch=6, num_classes=3)
DOS = Size(level=1, num_spheres=1, channels=2, base_width=1, batch=20, num_bins=9)
FAMILY = ["auto", "fast", "reference", "composition", "composition-torch"]


@pytest.mark.parametrize(("size", "more"), [(SIZE, []), (DOS, ["composition-linear"])], ids=["classifier", "dos"])
def test_contenders_compute_the_same_and_learn_alike(size, more):
    names = [*FAMILY, *more]
    built = {name: Contender(name, size) for name in names}
    differences = compare({name: contender.outputs() for name, contender in built.items()})
    assert set(differences) == set(names) - {"auto"}
    assert max(differences.values()) < TOLERANCE[torch.float32]["rtol"]
    losses = {}
    for name, contender in built.items():
        torch.manual_seed(1)
        contender.training()
        contender.inference()
        contender.model.eval()
        losses[name] = contender.criterion(contender.predict(contender.inputs), contender.targets).item()
    assert losses == approx(dict.fromkeys(names, losses["auto"]), **TRAINED[torch.float32])


def test_half_precision_is_used_under_its_name_only():
    features = []
    for name in ("auto", "auto-bf16"):
        contender = Contender(name, SIZE)
        block = contender.model.get_submodule("encoder.blocks.0")
        block.register_forward_hook(lambda module, given, result: features.append(result.dtype))
        assert contender.predict(contender.inputs).dtype == torch.float32
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


def test_nothing_is_compared_unless_it_is_asked_for():
    built = build("auto", SIZE, compared=False)
    assert (set(built.actions), built.outputs) == (set(MODES), {})


def test_what_is_usual_and_how_it_runs():
    small = ["auto", "auto-bf16", "fast", "inductor", "reference", "composition", "composition-as-is"]
    assert usual("small") == small
    assert usual("paper") == ["auto", "auto-bf16", "composition", "composition-as-is"]
    assert usual("dos") == ["auto", "auto-bf16", "composition", "composition-as-is", "composition-linear"]
    entries = {name: entry_of(name, SIZE) for name in CONTENDERS}
    given_back = [name for name, entry in entries.items() if not entry.keep_blocks]
    assert given_back == ["composition-as-is", "composition-linear"]
    assert [name for name, entry in entries.items() if entry.optional] == [
        "inductor",
        "inductor-bf16",
        "inductor-graphs",
    ]


@pytest.mark.parametrize("size", [SIZE, DOS], ids=["classifier", "dos"])
def test_every_piece_computes_the_same_in_every_form(size):
    pieces = pieces_of(size)
    assert {title.split()[2] for title in pieces} == {"intra", "radial", "norm", "pool", "block"}
    for place in pieces.values():
        outputs = {name: build_piece(place, name, size).outputs for name in ("reference", "fast", "auto")}
        assert max(compare(outputs).values()) < TOLERANCE[torch.float32]["rtol"]


@pytest.mark.parametrize("mode", MEMORY_MODES)
def test_steps_from_clouds_run_in_every_mode_that_saves_memory(mode):
    options = {"contender": "auto", "size": SIZES["tiny"], "compared": False, "clouds": True, **MEMORY_MODES[mode]}
    for action in build(**options).actions.values():
        action()


def test_a_step_of_two_parts_from_clouds_is_a_step_by_hand():
    contender = Contender("auto", SIZE, compared=False, clouds=True, parts=2)
    model: Any = copy.deepcopy(contender.model)
    torch.manual_seed(1)
    contender.training()
    torch.manual_seed(1)
    for clouds, labels in zip(contender.inputs.chunk(2), contender.targets.chunk(2), strict=True):
        logits = model.forward_grid(model.mapping(clouds))
        (torch.nn.functional.cross_entropy(logits, labels) / 2).backward()
    for one, two in zip(contender.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, **TOLERANCE[torch.float32])


def test_drawn_environments_lie_within_the_cutoff_and_differ_in_their_neighbours():
    environments = draw_environments(4, cutoff=5.0)
    distances = environments.vectors.norm(dim=1)
    slack = ROUNDED["rtol"]
    assert 1.2 * (1 - slack) <= distances.min() <= distances.max() <= 5.0 * (1 + slack)
    assert torch.bincount(environments.centre).tolist() == [25, 100, 175, 250]
    # as many neighbours in every part of the volume
    volume = (distances.double() ** 3 - 1.2**3) / (5.0**3 - 1.2**3)
    assert kstest(volume, "uniform").pvalue > P_VALUE
