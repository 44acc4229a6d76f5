import dataclasses
from typing import Any

import pytest
import torch

from csgnn_dgl.geometry import icosahedral_rotations
from csgnn_dgl.mapping.environments import Environments, find_environments
from csgnn_dgl.mapping.forces import forces_of
from csgnn_dgl.models import ENERGY_MODELS, CSGNNEnergy
from tests.tolerances import EXACT, GRADCHECK, TOLERANCE

NUMBERS = torch.tensor([8, 1, 1, 8])
WATER = torch.tensor([[0, 0, 0], [0.1, 0.76, 0.59], [0, -0.76, 0.62], [2.2, 0.3, 0.5]], dtype=torch.float64)
CELL = torch.diag(torch.tensor([4.0, 4.5, 5.0], dtype=torch.float64))


def small(**options: Any) -> CSGNNEnergy:
    """A model that has measured its moments, with an output that is not zero."""
    torch.manual_seed(0)
    model = CSGNNEnergy(**{**CSGNNEnergy.tiny, "elements": (1, 8), "cutoff": 3.0, **options}).double()
    model.calibrate(around(WATER), NUMBERS)
    torch.nn.init.normal_(model.output.weight)
    model.reference.copy_(torch.tensor([-1.0, -5.0]))
    return model


def around(positions: torch.Tensor, cell: torch.Tensor | None = CELL) -> Environments:
    periodic = cell is not None
    found = find_environments(
        positions.numpy(), cell.numpy() if cell is not None else None, periodic, 3.0, torch.float64
    )
    return dataclasses.replace(found, vectors=found.vectors.requires_grad_())


def energy(model: CSGNNEnergy, environments: Environments, numbers: torch.Tensor = NUMBERS) -> torch.Tensor:
    return model(environments, numbers, torch.zeros(len(numbers), dtype=torch.int64), 1)


def test_energy_is_a_sum_over_atoms_and_forces_turn_with_the_60_rotations() -> None:
    model, environments = small(), around(WATER)
    whole = energy(model, environments)
    forces = forces_of(whole, environments)
    double = around(torch.cat([WATER, WATER + CELL[0]]), CELL * torch.tensor([[2.0], [1.0], [1.0]]))
    doubled = energy(model, double, NUMBERS.repeat(2))
    torch.testing.assert_close(doubled, 2 * whole, **TOLERANCE[torch.float64])
    torch.testing.assert_close(forces_of(doubled, double), forces.repeat(2, 1), **TOLERANCE[torch.float64])
    torch.testing.assert_close(forces.sum(dim=0), torch.zeros_like(forces[0]), **TOLERANCE[torch.float64])
    for rotation in torch.tensor(icosahedral_rotations()[[7, 33]]):
        turned = around(WATER @ rotation.T, CELL @ rotation.T)
        found = energy(model, turned)
        torch.testing.assert_close(found, whole, **TOLERANCE[torch.float64])
        torch.testing.assert_close(forces_of(found, turned), forces @ rotation.T, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("form", ["auto", "reference"])
def test_a_loss_of_the_forces_has_the_gradient_of_difference_quotients(form: str) -> None:
    model, environments = small(form=form), around(WATER)

    def loss() -> torch.Tensor:
        return forces_of(energy(model, environments), environments, create_graph=True).square().sum()

    encoder: Any = model.encoder
    weight = encoder.blocks[0].intra[0].weight
    (slope,) = torch.autograd.grad(loss(), weight)
    step = torch.zeros_like(weight)
    step[0, 1] = 1e-5
    with torch.no_grad():
        weight += step
        above = float(loss_of(loss))
        weight -= 2 * step
        below = float(loss_of(loss))
    assert float(slope[0, 1]) == pytest.approx((above - below) / 2e-5, rel=GRADCHECK["rtol"], abs=GRADCHECK["atol"])


def loss_of(loss: Any) -> torch.Tensor:
    with torch.enable_grad():
        return loss()


def test_a_training_begins_at_the_reference_energies() -> None:
    model = CSGNNEnergy(**CSGNNEnergy.tiny, elements=(1, 8), cutoff=3.0)
    model.start_from([torch.tensor(own) for own in ([1, 1], [1, 1, 8], [8, 8])], torch.tensor([-4.0, -14.0, -20.0]))
    torch.testing.assert_close(model.reference, torch.tensor([-2.0, -10.0], dtype=torch.float64), **EXACT)
    model.calibrate(around(WATER), NUMBERS)
    torch.testing.assert_close(energy(model, around(WATER)), torch.tensor([-24.0], dtype=torch.float64), **EXACT)


def test_atoms_without_neighbours_and_a_checkpoint(tmp_path) -> None:
    model = small().eval()
    lone = around(WATER[:1], None)
    assert torch.equal(forces_of(energy(model, lone, NUMBERS[:1]), lone), torch.zeros(1, 3, dtype=torch.float64))
    ENERGY_MODELS.write(tmp_path / "energy.ckpt", model)
    again = CSGNNEnergy.from_checkpoint(tmp_path / "energy.ckpt").double()
    found, wanted = (energy(own, around(WATER)) for own in (again, model))
    torch.testing.assert_close(found, wanted, **TOLERANCE[torch.float32])
    with pytest.raises(ValueError, match="must be among"):
        energy(model, lone, torch.tensor([6]))


@pytest.mark.parametrize("elements", [(), (1, 1), (0,)])
def test_bad_elements_are_refused(elements: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="elements must be"):
        small(elements=elements)
