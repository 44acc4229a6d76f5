"""Point location against solving for the coefficients in every face."""

import copy
import pickle

import numpy as np
import pytest
import torch

from csgnn_dgl.geometry import icosphere
from csgnn_dgl.mapping import TriangleLocator
from csgnn_dgl.mapping.location import ROUNDING
from csgnn_dgl.mapping.tables import faces_around_vertices
from tests.mapping.brute_force import containing_faces, random_points, tie_points


def faces_of(locator: TriangleLocator, points: torch.Tensor) -> tuple[list[set[int]], torch.Tensor]:
    """The set of faces of each point, and its share; checks that no face is named twice."""
    located = locator(points.t().contiguous(), points.norm(dim=1))
    faces = [{int(face)} for face in located.face]
    for place, face in zip(located.other.tolist(), located.other_face.tolist(), strict=True):
        point = int(located.tied[place])
        assert face not in faces[point]
        faces[point].add(face)
    share = torch.ones(len(points), dtype=torch.float64).index_copy(0, located.tied, located.share)
    return faces, share


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", range(6))
def test_faces_and_shares(level, dtype, rng):
    cloud = np.concatenate([random_points(60, rng), tie_points(level, 10, rng)])
    points = torch.from_numpy(cloud[np.linalg.norm(cloud, axis=1) > 0]).to(dtype)
    faces, share = faces_of(TriangleLocator(level), points)
    exact = points.double().numpy()
    for direction, found in zip(exact / np.linalg.norm(exact, axis=1, keepdims=True), faces, strict=True):
        assert found == set(containing_faces(direction, level, ROUNDING[dtype]))
    assert share.tolist() == [1 / len(found) for found in faces]


@pytest.mark.parametrize("level", [0, 2, 4])
def test_every_face_contains_its_centre(level):
    sphere = icosphere(level)
    centres = torch.from_numpy(sphere.vertices[sphere.faces].mean(axis=1)).float()
    located = TriangleLocator(level)(centres.t().contiguous(), centres.norm(dim=1))
    assert located.face.tolist() == list(range(len(sphere.faces)))
    assert len(located.tied) == len(located.other) == 0


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 1.0])
def test_location_depends_on_the_direction_alone(scale, rng):
    locator = TriangleLocator(3)
    points = torch.from_numpy(np.concatenate([random_points(500, rng), icosphere(3).vertices]))
    directions = points / points.norm(dim=1, keepdim=True)
    assert faces_of(locator, directions * scale)[0] == faces_of(locator, directions)[0]


def test_points_within_the_tolerance_of_an_edge_are_shared():
    sphere = icosphere(2)
    a, b = sphere.vertices[sphere.edges[17]]
    middle, across = (a + b) / np.linalg.norm(a + b), np.cross(a, b) / np.linalg.norm(np.cross(a, b))
    offsets = np.array([-2.0, -0.9, -0.1, 0.0, 0.1, 0.9, 2.0])
    points = torch.from_numpy(middle + offsets[:, None] * ROUNDING[torch.float32] * across).float()
    faces, _ = faces_of(TriangleLocator(2), points)
    assert [len(found) for found in faces] == [1, 2, 2, 2, 2, 2, 1]
    assert faces[0] | faces[-1] == faces[3]


def test_faces_around_vertices():
    sphere = icosphere(2)
    fans = faces_around_vertices(sphere)
    for vertex, fan in enumerate(fans):
        assert fan[fan >= 0].tolist() == np.flatnonzero((sphere.faces == vertex).any(axis=1)).tolist()


def test_tables_keep_their_precision_and_are_not_saved():
    locator = TriangleLocator(2)
    assert not locator.state_dict()
    for moved in (copy.deepcopy(locator).half(), copy.deepcopy(locator).to("cpu", torch.float32)):
        for name, table in locator.named_buffers():
            assert torch.equal(moved.get_buffer(name), table)
            assert table.dtype in (torch.int64, torch.float64)
    assert all(table.is_meta for table in copy.deepcopy(locator).to("meta").buffers())
    loaded = pickle.loads(pickle.dumps(locator))
    assert all(torch.equal(loaded.get_buffer(name), table) for name, table in locator.named_buffers())
