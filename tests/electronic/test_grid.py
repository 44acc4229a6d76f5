import numpy as np
import pytest

from csgnn_dgl.electronic import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError
from tests.tolerances import EXACT, approx


def test_the_papers_grid():
    assert (PAPER_GRID.start, PAPER_GRID.width, PAPER_GRID.count) == (-30, 0.1, 310)
    assert PAPER_GRID.stop == approx(1.0, **EXACT)
    assert PAPER_GRID.edges.shape == (311,)
    np.testing.assert_allclose(PAPER_GRID.edges[[0, 1, 310]], [-30, -29.9, 1.0], **EXACT)
    np.testing.assert_allclose(PAPER_GRID.centres, (PAPER_GRID.edges[1:] + PAPER_GRID.edges[:-1]) / 2, **EXACT)
    assert EnergyGrid() == PAPER_GRID


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ((float("nan"), 0.1, 310), "starts at nan eV"),
        ((-30, 0.0, 310), "are 0.0 eV wide"),
        ((-30, float("inf"), 310), "are inf eV wide"),
        ((-30, 0.1, 0), "has 0 bins"),
        ((-30, 0.1, 2.5), "has 2.5 bins"),
        ((-30, 0.1, True), "has True bins"),
    ],
)
def test_refuses_what_is_no_grid(facts, complaint):
    with pytest.raises(InputError, match=complaint):
        EnergyGrid(*facts)
