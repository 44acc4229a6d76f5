"""What is measured of the invariance of predicted DOS, against the same measured by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.integrate import trapezoid
from scipy.spatial.transform import Rotation

from csgnn_dgl.data import Snapshots, from_atoms
from csgnn_dgl.electronic import EnergyGrid
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry.rotations import rotations_about
from csgnn_dgl.mapping import find_environments
from csgnn_dgl.models import AGNI, DOS_MODELS
from csgnn_dgl.models.dos.base import DOSOutput
from csgnn_dgl.symmetry import ANGLES
from csgnn_dgl.tasks.dos.figures import LOWEST, invariance_figure
from csgnn_dgl.tasks.dos.invariance import Change, Invariance, measure_invariance, permuted, repeated, rotated
from csgnn_dgl.tasks.dos.report import invariance_table
from tests.models.dos.molecules import CELL, CUTOFF, PERIODIC, positions, small
from tests.tolerances import EXACT, TOLERANCE, approx, relative

GRID = EnergyGrid(-9.0, 1.0, 9)


def sheet(count: int, seed: int, pbc: object = PERIODIC) -> Atoms:
    return Atoms(f"C{count}", positions(count, seed), cell=CELL, pbc=pbc)


@pytest.fixture(scope="module")
def snapshots() -> Snapshots:
    """Two crystals and a cluster."""
    return from_atoms([sheet(5, 1), sheet(6, 2, pbc=False), sheet(7, 3)], GRID)


def values(network, item):
    """DOS per atom, and its Fermi level and band energy per atom: energy is piecewise linear in the states below it."""
    environments = find_environments(item.positions, item.cell, item.pbc, CUTOFF, torch.float64)
    with torch.no_grad():
        dos = network.atom_dos(environments).mean(dim=0).numpy()
    states, edges = np.concatenate([[0.0], np.cumsum(dos)]), np.arange(-9.0, 0.5)
    electrons = item.num_electrons / item.num_atoms
    places = np.append(states[states < electrons], electrons)
    energies = np.interp(places, states, edges)
    assert dos.min() > 0 and electrons < states[-1]
    return dos, energies[-1], trapezoid(energies, places)


@pytest.mark.parametrize("kind", DOS_MODELS)
def test_in_float64_the_exact_symmetries_change_nothing_but_rounding(kind, snapshots):
    network = small(kind)
    torch.nn.init.uniform_(network.output.norm.bias, 0.5, 1.0)  # more states than electrons
    result = measure_invariance(network, snapshots)
    assert isinstance(result, Invariance)
    assert result.repeated is not None
    exact = [result.icosahedral, result.permuted, result.repeated]
    if kind != "csgnn":
        exact += [*result.rotated, result.any_rotation]
    else:
        for change in (*result.rotated, result.any_rotation):
            assert min(change.dos_per_atom, change.band_energy_per_atom, change.fermi_level) > 1e-6, change.name
    for change in exact:
        largest = max(change.largest_dos_per_atom, change.largest_band_energy_per_atom, change.largest_fermi_level)
        assert largest < TOLERANCE[torch.float64]["atol"], change.name
    assert result.angles == ANGLES[1:]
    assert [change.num_copies for change in result.changes] == [6] * 11 + [180, 3, 2]
    assert not network.training


def test_changes_are_those_of_an_independent_computation(snapshots):
    """Turns about known axes; means and largest values over all copies."""
    network = small("csgnn").train()
    torch.nn.init.uniform_(network.output.norm.bias, 0.5, 1.0)
    result = measure_invariance(network, snapshots, angles=(70,), axes_per_angle=3, seed=5)
    assert network.training
    network.eval()
    rng = np.random.default_rng(5)
    found = []
    for item in snapshots:
        dos, level, energy = values(network, item)
        axes = rng.normal(size=(3, 3))
        rng.normal(size=(3, 4)), rng.permutation(item.num_atoms)  # what the rotations and the order take
        for axis in axes / np.linalg.norm(axes, axis=1, keepdims=True):
            turn = Rotation.from_rotvec(70 * axis, degrees=True).as_matrix()
            moved = Atoms(
                numbers=item.numbers, positions=item.positions @ turn.T, cell=item.cell @ turn.T, pbc=item.pbc
            )
            other, other_level, other_energy = values(network, from_atoms(moved, GRID)[0])
            distance = np.linalg.norm(other - dos) / np.linalg.norm(dos)
            found.append((distance, abs(other_energy - energy), abs(other_level - level)))
    (change,) = result.rotated
    assert (change.name, change.num_copies, result.num_snapshots) == ("rotation by 70°", 9, 3)
    dos, energy, level = np.array(found).T
    for mean, largest, all_values in (
        (change.dos_per_atom, change.largest_dos_per_atom, dos),
        (change.band_energy_per_atom, change.largest_band_energy_per_atom, energy),
        (change.fermi_level, change.largest_fermi_level, level),
    ):
        assert [mean, largest] == approx([all_values.mean(), all_values.max()], **relative(TOLERANCE[torch.float64]))
    assert min(dos.min(), energy.mean(), level.mean()) > 1e-5


class Heights(AGNI):
    """Predicts a DOS that sees the number of the first atom, the number of atoms and the z axis."""

    def atom_dos(self, environments):
        """Return (N, count)."""
        dos = super().atom_dos(environments)
        dos[0] *= 1.5
        return dos * (1 + environments.vectors[:, 2].abs().mean())


def test_what_is_not_invariant_is_seen():
    network = Heights(num_widths=3, hidden=8, cutoff=CUTOFF, num_bins=9).double()
    assert isinstance(network.output, DOSOutput)
    torch.nn.init.constant_(network.output.norm.bias, 1.0)
    result = measure_invariance(network, from_atoms(sheet(6, 0), GRID))
    for change in result.changes:
        assert change.largest_dos_per_atom > 1e-4, change.name


def test_copies_are_what_they_say(snapshots):
    item = snapshots[0]
    turn = rotations_about(np.array([[0.0, 0.0, 2.0]]), np.pi / 2)[0]
    assert turn == approx(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]), **EXACT)
    turned = rotated(item, turn)
    assert turned.positions == approx(item.positions[:, [1, 0, 2]] * [-1, 1, 1], **EXACT)
    assert turned.cell[1] == approx([-2.9, 0.7, 0], **EXACT)
    assert np.array_equal(permuted(item, np.array([4, 3, 2, 1, 0])).positions, item.positions[::-1])
    double = repeated(item, 1)
    expected = sheet(5, 1).repeat((1, 2, 1))
    assert double.positions == approx(expected.positions, **EXACT)
    assert double.cell[:2] == approx(expected.cell.array[:2], **EXACT)
    assert (double.num_atoms, double.num_electrons) == (10, 40.0)


def test_snapshots_are_chosen_evenly_and_clusters_have_no_supercell():
    several = from_atoms([sheet(count, count, pbc=False) for count in range(2, 9)], GRID)
    network = small("agni")
    result = measure_invariance(network, several, num_snapshots=3)
    same = measure_invariance(network, several.subset([0, 2, 4]))
    assert result == same != measure_invariance(network, several.subset([0, 2, 4]), seed=1)
    assert (result.num_snapshots, result.repeated, len(result.changes)) == (3, None, 13)


def test_float32_is_measured_as_it_is_used(snapshots):
    result = measure_invariance(small("csgnn", torch.float32), snapshots)
    assert TOLERANCE[torch.float64]["rtol"] < result.icosahedral.largest_dos_per_atom < TOLERANCE[torch.float32]["rtol"]


def test_models_of_which_nothing_can_be_said_are_refused(snapshots):
    network = small("agni")
    with pytest.raises(InputError, match="snapshot 0 contains O, but the model knows C only"):
        measure_invariance(network, from_atoms(Atoms("O2", [[0, 0, 0], [0, 0, 1.2]]), GRID))
    torch.nn.init.constant_(network.output.norm.weight, 0.0)
    torch.nn.init.constant_(network.output.norm.bias, -1.0)
    with pytest.raises(InputError, match="snapshot 0: the predicted DOS is empty or not finite"):
        measure_invariance(network, snapshots)


@pytest.fixture
def invariance():
    changes = [Change(f"rotation by {a}°", 4, 0.01 * a, 0.02 * a, 1e-3, 2e-3, 3e-3, 4e-3) for a in (30, 90)]
    any_rotation, icosahedral, order = (Change(name, 4, 0, 0, 1e-15, 2e-15, 0, 0) for name in ("any", "60", "order"))
    return Invariance(2, (30.0, 90.0), tuple(changes), any_rotation, icosahedral, order, None)


def test_the_table_and_the_figure_show_what_was_measured(invariance):
    lines = invariance_table(invariance).splitlines()
    assert len(lines) == 7
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        *("rotation by 30°", "3.0e-01", "6.0e-01"),
        *("1.0e-03", "2.0e-03", "3.0e-03", "4.0e-03"),
    ]
    cell = Change("cell", 1, 1e-7, 1e-6, 1e-8, 1e-7, 0, 0)
    figure = invariance_figure(dataclasses.replace(invariance, repeated=cell))
    left, right = figure.axes
    assert left.get_yscale() == right.get_yscale() == "log"
    drawn = [np.asarray(line.get_ydata()) for line in left.lines]
    assert np.array_equal(drawn[:2], [[0.3, 0.9], [0.6, 1.8]])
    assert [line[0] for line in drawn[2:]] == [LOWEST, LOWEST, 1e-6]
    assert [np.asarray(line.get_ydata())[0] for line in right.lines] == [1e-3, 2e-3, 2e-15, 2e-15, 1e-7]
