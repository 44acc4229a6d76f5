"""Environments against all images of all atoms, and what must not change them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry import icosphere, random_rotations
from csgnn_dgl.mapping import Environments, find_environments
from csgnn_dgl.mapping.environments import CUTOFF, SMALLEST_DISTANCE, check_distances, checked_structure
from tests.tolerances import EXACT, TOLERANCE, approx


def brute_force(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, neighbour and vector of all pairs within the cutoff; and all distances."""
    periodic = cell[pbc]
    heights = 1 / np.linalg.norm(np.linalg.pinv(periodic), axis=0) if pbc.any() else np.zeros(0)
    reach = np.linalg.norm(positions[:, None] - positions, axis=-1).max() + cutoff
    images = [range(-int(reach / height) - 1, int(reach / height) + 2) for height in heights]
    shifts = np.array(list(itertools.product(*images))) @ periodic
    vectors = positions[None, :, None] - positions[:, None, None] + shifts
    distances = np.linalg.norm(vectors, axis=-1)
    itself = np.eye(len(positions), dtype=bool)[:, :, None] & (np.abs(shifts).max(axis=-1, initial=0) == 0)
    distances[itself] = np.inf
    centre, neighbour, image = np.nonzero(distances <= cutoff)
    return np.column_stack([centre, neighbour]), vectors[centre, neighbour, image], distances


def ordered(pairs: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Pairs and vectors as rows in an order that rounding does not change."""
    rows = np.column_stack([pairs, np.round(vectors, 5) + 0.0])
    order = np.lexsort(rows.T[::-1])
    return np.column_stack([pairs, vectors])[order]


def as_rows(found: Environments) -> np.ndarray:
    pairs = np.column_stack([found.centre.numpy(), found.neighbour.numpy()])
    return ordered(pairs, found.vectors.double().numpy())


number = st.floats(-1, 1, allow_subnormal=False)


@settings(deadline=None, max_examples=80)
@given(
    cell=st.lists(number, min_size=9, max_size=9),
    scale=st.sampled_from([3.0, 6.0, 15.0]),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    places=st.lists(st.tuples(number, number, number), min_size=1, max_size=5),
    cutoff=st.sampled_from([2.5, 5.0, 7.0]),
)
def test_equals_brute_force(cell, scale, pbc, places, cutoff):
    lattice, periodic = scale * np.array(cell).reshape(3, 3), np.array(pbc)
    flatness = np.linalg.svd(lattice[periodic], compute_uv=False).min(initial=np.inf)
    assume(flatness > 1.0)
    # also far outside the cell
    positions = np.array(places) * 2 * scale
    pairs, vectors, distances = brute_force(positions, lattice, periodic, cutoff)
    assume(distances.min() > SMALLEST_DISTANCE and np.abs(distances - cutoff).min() > 1e-5)
    found = find_environments(positions, lattice, periodic, cutoff, dtype=torch.float64)
    np.testing.assert_allclose(as_rows(found), ordered(pairs, vectors), **EXACT)
    assert (found.centre.diff() >= 0).all()
    assert len(found) == len(positions)


def test_a_cell_much_smaller_than_the_cutoff():
    # simple cubic, 1.5 Å: as many neighbours as there are lattice points within the cutoff
    points = np.array(list(itertools.product(range(-6, 7), repeat=3))) * 1.5
    inside = (np.linalg.norm(points, axis=1) <= 7.0).sum() - 1
    found = find_environments(np.zeros((1, 3)), 1.5 * np.eye(3), True)
    assert found.vectors.shape == (inside, 3)
    assert found.vectors.dtype == torch.float32
    assert not found.neighbour.any()


def test_neighbours_on_the_cutoff_belong_to_it_however_they_are_turned(rng):
    shell = 7.0 * icosphere(1).vertices
    for rotation in random_rotations(20, rng):
        positions = np.concatenate([np.zeros((1, 3)), shell @ rotation.T])
        for dtype in (np.float64, np.float32):
            found = find_environments(positions.astype(dtype), cutoff=7.0)
            assert int((found.centre == 0).sum()) == 42
    assert len(find_environments(np.array([[0, 0, 0], [0, 0, 7.00001]])).vectors) == 0


def test_lattice_vectors_that_are_not_periodic_do_not_matter(rng):
    positions = rng.random((6, 3)) * 9
    cell = np.diag([9.0, 10.0, 11.0])
    expected = as_rows(find_environments(positions, cell, (True, False, False), 5.0))
    for second in ([0, 0, 0], [9, 0, 0], [np.nan, 0, 0], [0.001, 0, 0]):
        cell[1] = second
        np.testing.assert_array_equal(as_rows(find_environments(positions, cell, (True, False, False), 5.0)), expected)
    single = as_rows(find_environments(positions, None, False, 5.0))
    np.testing.assert_array_equal(single, as_rows(find_environments(positions, np.zeros((3, 3)), False, 5.0)))


def test_a_supercell_has_the_same_environments(rng):
    cell = np.array([[3.1, 0, 0], [1.1, 3.3, 0], [-0.4, 0.7, 4.2]])
    positions = rng.random((2, 3)) @ cell + [[0, 0, 0], [0, 0, 2.0]]
    once = find_environments(positions, cell, True, 6.0, torch.float64)
    repeats = np.array(list(itertools.product(range(2), range(3), range(1))))
    more = (positions[None] + (repeats @ cell)[:, None]).reshape(-1, 3)
    many = find_environments(more, cell * np.array([2, 3, 1])[:, None], True, 6.0, torch.float64)
    assert len(many.vectors) == 6 * len(once.vectors)
    for atom in range(12):
        expected, found = once.chunk(atom % 2, atom % 2 + 1).vectors, many.chunk(atom, atom + 1).vectors
        zeros = np.zeros((len(expected), 2))
        np.testing.assert_allclose(ordered(zeros, found.numpy()), ordered(zeros, expected.numpy()), **EXACT)


def test_permuted_atoms_have_permuted_environments(rng):
    cell, positions = np.diag([5.0, 6.0, 7.0]), rng.random((5, 3)) * [5, 6, 7]
    order = rng.permutation(5)
    plain = find_environments(positions, cell, True, 4.0)
    permuted = find_environments(positions[order], cell, True, 4.0)
    pairs = np.column_stack([order[permuted.centre], order[permuted.neighbour]])
    np.testing.assert_array_equal(ordered(pairs, permuted.vectors.double().numpy()), as_rows(plain))


def test_atoms_without_neighbours_have_an_environment():
    found = find_environments([[0, 0, 0], [20, 0, 0], [21, 0, 0], [50, 0, 0]])
    assert (len(found), found.centre.tolist(), found.neighbour.tolist()) == (4, [1, 2], [2, 1])
    assert repr(found) == "Environments(4 atoms, 2 neighbours)"


def test_chunks_and_joins(rng):
    one = find_environments(rng.random((7, 3)) * 12, cutoff=5.0)
    two = find_environments(rng.random((4, 3)) * 5, cutoff=5.0)
    both = Environments.join([one, two])
    assert len(both) == 11
    assert torch.equal(both.chunk(0, 7).vectors, one.vectors)
    tail = both.chunk(7, 99)
    assert torch.equal(tail.vectors, two.vectors)
    assert torch.equal(tail.centre, two.centre)
    assert torch.equal(tail.neighbour, two.neighbour + 7)
    pieces = [both.chunk(start, start + 3) for start in range(0, 11, 3)]
    assert [len(piece) for piece in pieces] == [3, 3, 3, 2]
    assert torch.equal(torch.cat([piece.vectors for piece in pieces]), both.vectors)
    starts = torch.tensor([0, 3, 6, 9]).repeat_interleave(torch.tensor([len(piece.vectors) for piece in pieces]))
    assert torch.equal(torch.cat([piece.centre for piece in pieces]) + starts, both.centre)


def test_rotation_and_conversion(rng):
    found = find_environments(rng.random((4, 3)) * 4)
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    assert torch.equal(found.rotated(turn).vectors[:, 1], found.vectors[:, 0])
    double = found.to("cpu", torch.float64)
    assert double.vectors.dtype == torch.float64
    assert double.centre.dtype == torch.int64


@pytest.mark.parametrize(
    ("positions", "cell", "pbc", "complaint"),
    [
        ([[0, 0, 0], [0, 0, 0.1]], None, False, r"atoms 0 and 1 are only 0\.1 Å apart; remove one"),
        ([[0, 0, 0], [0, 0, 0]], None, False, r"atoms 0 and 1 are only 0 Å apart"),
        ([[0, 0, 0], [0, 0, 4.9]], np.diag([5, 5, 5]), True, r"atoms 0 and 1 are only 0\.1 Å apart"),
        ([[0, 0, 0]], np.diag([5, 5, 0.2]), True, r"atom 0 and its periodic image are only 0\.2 Å apart"),
        ([[0, 0, 0]], np.diag([5, 5, 0.02]), True, r"the cell is only 0\.02 Å thick; give lengths in Å"),
        ([[0, 0, 0]] * 500, np.diag([0.5, 0.5, 0.5]), True, r"500 atoms in a cell of only 0\.125 Å\^3"),
        ([[0, 0, 0]], None, (True, False, False), "direction a is flagged as periodic but the cell has no lattice"),
        ([[0, 0, 0]], np.diag([5, 5, 0]), True, "direction c is flagged as periodic but"),
        ([[0, 0, 0]], [[5, 0, 0], [5, 0, 0], [0, 0, 5]], True, "parallel or lie in one plane"),
        ([[0, 0, 0], [0, np.nan, 0]], None, False, "atom 1 has a coordinate that is NaN or infinite"),
        ([[0, 0, 0]], np.diag([5, 5, np.inf]), True, "the cell has a number that is NaN or infinite"),
    ],
)
def test_bad_structures_are_named(positions, cell, pbc, complaint):
    with pytest.raises(InputError, match=complaint):
        find_environments(positions, cell, pbc)
    with pytest.raises(InputError, match=complaint):
        check_distances(*checked_structure(positions, cell, pbc))


def test_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"positions must have the shape \(atoms, 3\)"):
        find_environments(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"positions must have the shape \(atoms, 3\)"):
        find_environments(np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"cell must have the shape \(3, 3\), not \(3,\)"):
        find_environments(np.zeros((1, 3)), np.ones(3), True)
    for cutoff in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="cutoff must be a length above"):
            find_environments(np.zeros((1, 3)), cutoff=cutoff)


SLAB = np.stack(np.meshgrid(np.arange(3) * 3.0, np.arange(3) * 3.0, [0.0, 2.0]), -1).reshape(-1, 3)


@pytest.mark.parametrize(
    "positions, cell, pbc",
    [
        ([[0, 0, 0], [1, 1, 1], [3e5, 0, 0]], None, False),
        ([[0, 0, 0], [2, 0, 0], [3e3, 3e3, 3e3], [3e3, 3e3, 3001]], None, False),
        (np.vstack([SLAB, [0, 0, 5e4], [1, 0, 5e4]]), np.diag([9.0, 9.0, 0.0]), [True, True, False]),
        ([[0, 0, 0], [1e4, -1e4, 1.5]], np.diag([2000.0, 2000.0, 2000.0]), True),
        ([[0.1, 0, 0], [1, 300, 2]], [[3.0, 0, 0], [9, 3, 0], [20, 12, 3.0]], True),
        ([[0.1, 0, 0]], [[3.0, 0, 0], [0, 0, 0], [40, 0, 3.0]], [True, False, True]),
    ],
    ids=["far", "apart", "off a slab", "empty cell", "skewed", "skewed layer"],
)
def test_far_apart_and_skewed_is_as_near_by(positions, cell, pbc):
    points = np.asarray(positions, dtype=float)
    lattice = np.zeros((3, 3)) if cell is None else np.asarray(cell, dtype=float)
    periodic = np.broadcast_to(np.asarray(pbc), 3)
    found = find_environments(points, lattice, periodic, dtype=torch.float64)
    short = _shortened(lattice, periodic)
    wrapped = points - np.floor(points @ np.linalg.pinv(short)) @ short
    pairs = []
    for shift in itertools.product(*(range(-4, 5) if one else [0] for one in periodic)):
        gaps = wrapped[None] + np.array(shift) @ short - wrapped[:, None]
        distances = np.linalg.norm(gaps, axis=-1)
        pairs += [(i, *gaps[i, j]) for i, j in np.argwhere((distances <= CUTOFF) & (distances > 0))]
    own = np.column_stack([found.centre.numpy(), found.vectors.numpy()])
    wanted = np.array(pairs).reshape(-1, 4)
    assert own.shape == wanted.shape
    for each in (own, wanted):
        each[:] = each[np.lexsort(each.round(4).T)]
    assert own == approx(wanted, **TOLERANCE[torch.float64])


def _shortened(lattice, periodic):
    """Take whole multiples of the other vectors off each lattice vector as long as that makes it shorter."""
    short, rows = np.where(periodic[:, None], lattice, 0.0), np.flatnonzero(periodic)
    for _ in range(200):
        for i, j in itertools.permutations(rows, 2):
            short[i] -= np.round(short[i] @ short[j] / (short[j] @ short[j])) * short[j]
    return short


@pytest.mark.parametrize(
    "positions, cell, pbc, complaint",
    [
        ([[0, 0, 0], [3e9, 0, 0]], None, False, "atom 1 has a coordinate of 3e"),
        ([[0, 0, 0]], np.diag([3.0, 3e12, 3.0]), True, "lattice vector 1 has a coordinate of 3e"),
        (np.zeros((20_000, 3)), None, False, "atoms 0 and 1 are only 0 Å apart"),
        (np.indices((40, 40, 40)).reshape(3, -1).T * 0.35, None, False, "64000 atoms are too close together"),
    ],
)
def test_what_no_search_would_end_is_refused(positions, cell, pbc, complaint):
    with pytest.raises(InputError, match=complaint):
        find_environments(positions, cell, pbc)
