"""The figure of a prediction shows the states, electrons and levels that it was given."""

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from csgnn_dgl.data import from_atoms
from csgnn_dgl.electronic import EnergyGrid
from csgnn_dgl.tasks.dos.figures import prediction_figure, reference_of, states_between
from tests.tolerances import EXACT, approx
from tests.toy_snapshots import band_energy_by_hand, toy_atoms

GRID = EnergyGrid(-5.0, 0.5, 20)
DOS = np.array([0.0] * 6 + [2.0, 4.0, 4.0, 2.0] + [0.0] * 4 + [3.0, 3.0] + [0.0] * 4)
REFERENCE = np.roll(DOS, 1)


def drawn(**options):
    """Draw a prediction with 5 electrons, and its reference; return the panel."""
    figure = prediction_figure(GRID, DOS, -1.0, "a", 4, (REFERENCE, -0.5), **options)
    (axes,) = figure.axes
    return axes


def shaded(axes):
    """Return the states in each shaded area, and where it ends."""
    areas = [patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch) and patch.get_fill()]
    return [(float(values @ np.diff(edges)), float(edges[-1])) for values, edges, _ in areas]


def test_filled_states_are_shaded_up_to_the_level_of_each():
    axes = drawn()
    # 2·0.5 + 4·0.5 + 4·0.5 states up to -0.5 eV; up to -1 eV a bin less
    assert shaded(axes) == [(approx(3.0, **EXACT), -0.5), (approx(3.0, **EXACT), -1.0)]
    assert [line.get_xdata()[0] for line in axes.lines] == [-0.5, -1.0]
    assert axes.get_xlim() == (-3.0, 4.5)  # states from -2 to 3.5 eV
    assert axes.get_xlabel() == "energy (eV), zero of the training data"
    texts = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert texts == ["reference, Fermi level −0.50 eV", "predicted, Fermi level −1.00 eV"]


def test_energies_may_begin_at_the_predicted_level_and_states_be_those_of_an_atom():
    axes = drawn(from_fermi_level=True, per_atom=True)
    assert shaded(axes) == [(approx(0.75, **EXACT), 0.5), (approx(0.75, **EXACT), 0.0)]
    assert [line.get_xdata()[0] for line in axes.lines] == [0.5, 0.0]
    assert axes.get_xlim() == (-2.0, 5.5)
    assert axes.get_xlabel() == "energy − predicted Fermi level (eV)"
    assert axes.get_ylabel() == "DOS (states / eV / atom)"


@pytest.mark.parametrize("level", [-5.0, -4.9, -0.75, 5.0])
def test_a_level_within_a_bin_or_at_an_end_cuts_the_shade_there(level):
    (axes,) = prediction_figure(GRID, np.ones(20), level, "a", 1).axes
    ((states, end),) = shaded(axes)
    assert (states, end) == (approx(level + 5.0, **EXACT), level)
    assert axes.get_xlim() == (-5.0, 5.0)


def test_the_axis_is_cut_to_where_states_are():
    faint = np.where(np.arange(20) == 0, 0.03, DOS)
    assert states_between(GRID, faint) == (-2.0, 3.0)
    assert states_between(GRID, faint, np.eye(20)[19]) == (-2.0, 5.0)
    assert states_between(GRID, np.zeros(20)) == (-5.0, 5.0)


def test_the_level_of_the_reference_is_that_of_its_own_dos():
    (snapshot,) = from_atoms([toy_atoms("square", 1.4)])
    found = reference_of(snapshot)
    assert found is not None and snapshot.dos is not None
    assert found[0] is snapshot.dos
    assert found[1] == approx(band_energy_by_hand(snapshot.dos, 16.0)[1], **EXACT)
    atoms = toy_atoms("square", 1.4)
    del atoms.info["dos"]
    (bare,) = from_atoms([atoms], needs_dos=False)
    assert reference_of(bare) is None
