"""Meshes in every dialect of their formats, against values by hand."""

import itertools
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from csgnn_dgl.data import read_cloud
from csgnn_dgl.data.clouds.formats import READERS
from csgnn_dgl.data.clouds.polygons import triangulated
from csgnn_dgl.errors import InputError
from tests.tolerances import EXACT, ROUNDED, approx

Faces = list[list[int]]
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
FACES = [[0, 1, 2, 3], [0, 1, 4]]
# an L of area 3 whose corner 4 is concave, seen from its first corner a fan would leave the outline
L_SHAPE = np.array([[2, 0], [2, 1], [1, 1], [1, 2], [0, 2], [0, 0]], dtype=float)


def read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    vertices, triangles = READERS[path.suffix](path)
    assert triangles is not None and triangles.dtype == np.int64
    return vertices, triangles


def areas(vertices: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    """Vector areas of triangles."""
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    return np.cross(b - a, c - a) / 2


def same(path: Path, vertices: NDArray[np.float64] = SQUARE, faces: Faces = FACES) -> None:
    """Make sure that a file holds these polygons: the same corners, the same vector area of each part of a plane."""
    found, triangles = read(path)
    own = [[face[0], *pair] for face in faces for pair in itertools.pairwise(face[1:])]
    wanted = sorted(map(sorted, vertices[own].tolist()))
    np.testing.assert_allclose(sorted(map(sorted, found[triangles].tolist())), wanted, **ROUNDED)
    np.testing.assert_allclose(areas(found, triangles).sum(0), areas(vertices, np.array(own)).sum(0), **ROUNDED)


@pytest.mark.parametrize("turn", range(6))
@pytest.mark.parametrize("plane", [(0, 1), (1, 2), (2, 0), (1, 0)])
def test_a_concave_polygon_is_covered_within_its_outline(turn: int, plane: tuple[int, int]) -> None:
    outline = np.zeros((6, 3))
    outline[:, plane] = np.roll(L_SHAPE, turn, axis=0)
    parts = areas(outline, triangulated(outline, np.arange(6), [6]))
    assert len(parts) == 4
    normal = np.cross(*np.eye(3)[list(plane)])
    np.testing.assert_allclose(parts.sum(axis=0), 3 * normal, **EXACT)
    assert np.linalg.norm(parts, axis=1).sum() == approx(3.0, **EXACT)  # no triangle outside, none turned over


def test_a_star_that_winds_twice_is_no_fan() -> None:
    angle = 4 * np.pi * np.arange(5) / 5
    star = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    assert np.linalg.norm(areas(star, triangulated(star, np.arange(5), [5])), axis=1).sum() < np.pi


def test_polygons_keep_their_order_and_edges_are_left_out() -> None:
    found = triangulated(SQUARE, [0, 1, 4, 3, 2, 0, 1, 2, 3, 1, 2, 4], [3, 2, 4, 3])
    np.testing.assert_array_equal(found, [[0, 1, 4], [0, 1, 2], [0, 2, 3], [1, 2, 4]])


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 9), st.integers(0, 2**32 - 1))
def test_any_simple_polygon_is_covered(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, size))
    if np.diff(np.append(angle, angle[0] + 2 * np.pi)).max() > np.pi - 0.1 or np.diff(angle).min() < 0.01:
        return
    radius = rng.uniform(0.2, 1, size)  # star-shaped about the origin
    flat = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(size)], axis=1)
    turned = flat @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    whole = sum(np.cross(flat[i], flat[(i + 1) % size])[2] for i in range(size)) / 2
    found = areas(turned, triangulated(turned, np.arange(size), [size]))
    assert np.linalg.norm(found, axis=1).sum() == approx(whole, **ROUNDED)


def test_negative_indices_of_obj_count_back_from_their_line(tmp_path: Path) -> None:
    one = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\n"
    two = "v 0 0 5\nv 1 0 5\nv 0 1 5\nf -3 -2 -1\n"
    (tmp_path / "a.obj").write_text(one + two)
    vertices, triangles = read(tmp_path / "a.obj")
    np.testing.assert_array_equal(triangles, [[0, 1, 2], [3, 4, 5]])
    assert set(np.unique(vertices[triangles[1], 2])) == {5.0}


OBJ = [
    "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nf 1 2 3 4\nf 1 2 5\n",
    "\ufeff# made by hand\r\n\r\n  v\t0 0\t0 1.0\r\n\tv 1 0 0 0.5 0.5 0.5\r\nv 1 1 0 # here\r\nv 0 1 0\r\nv 0 0 1\r\n"
    "vn 0 0 1\r\nvt 0 0\r\nusemtl gone\r\n f\t1/1/1 2/1/1   3//1 4/1 \r\nf 1 2 \\\r\n 5\r\nl 1 2\r\n",
    "v 0 0 0\rv 1e0 0 0\rv 1 +1 0\rv 0 1. 0\rv 0 0 1\rf -5 -4 -3 -2\rf 1 -4 -1\r",
    "f 1 2 3 4\nf 1 2 5\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1",  # faces first
]
OFF = [
    "OFF\n5 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n0 0 1\n4 0 1 2 3\n3 0 1 4\n",
    "OFF5 2 0\r\n# c\r\n0 0 0\r\n1 0 0 #\r\n\r\n1 1 0\r\n0 1 0\r\n0 0 1\r\n4  0 1 2 3  9 0 0\r\n3 0 1 4 0.5 0 0\r\n",
    "COFF\n5 2 6\n0 0 0 1 2 3 4\n1 0 0 1 2 3 4\n1 1 0 1 2 3 4\n0 1 0 1 2 3 4\n0 0 1 1 2 3 4\n4 0 1 2 3\n3 0 1 4\n",
    "STCNOFF 5 2\n0 0 0 9 9 9\n1 0 0 9 9 9\n1 1 0 9 9 9\n0 1 0 9 9 9\n0 0 1 9 9 9\n4 0 1 2 3\n3 0 1 4\n",
    "5 2 0\n0 0 0 1 0 0 1 1 0\n0 1 0 0 0 1\n4 0 1 2 3 3\n0 1 4\n",  # no header, lines broken elsewhere
    "OFF 5 2 0 0 0 0 1 0 0 1 1 0 0 1 0 0 0 1 4 0 1 2 3 3 0 1 4",
    "off\r5 2\r0 0 0\r1 0 0\r1 1 0\r0 1 0\r0 0 1\r4 0 1 2 3\r3 0 1 4\r\x1a",
    "NCOFF 5 2 0\n"
    + "".join(f"{p} 0 0 1 9 9 9\n" for p in ("0 0 0", "1 0 0", "1 1 0", "0 1 0", "0 0 1"))
    + "4 0 1 2 3 255 0 0\n3 0 1 4\n",
]


@pytest.mark.parametrize(
    ("suffix", "text"), [*(("obj", text) for text in OBJ), *(("off", text) for text in OFF)], ids=lambda text: text[:4]
)
def test_every_dialect_of_text_reads_the_same(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(text.encode())
    same(path)


STL_TEXT = """solid a b facet
facet normal 0 0 1
 outer loop
  vertex 0 0 0
  VERTEX 1 0 0
  vertex 1 1e0 0
 endloop
endfacet
  facet normal 0 0 1 outer loop vertex 0 0 0 vertex 1 1 0 vertex 0 1 0 endloop endfacet
facet normal 0 -1 0
outer loop
vertex 0 0 0
vertex 1 0 0
vertex 0 0 1
endloop
endfacet
"""


def stl_binary(triangles: NDArray[np.float64], header: bytes = b"") -> bytes:
    rows = b"".join(struct.pack("<12fH", 0, 0, 0, *triangle.ravel(), 7) for triangle in triangles)
    return header.ljust(80, b"\0") + struct.pack("<I", len(triangles)) + rows


CORNERS = SQUARE[np.array([[0, 1, 2], [0, 2, 3], [0, 1, 4]])]


@pytest.mark.parametrize(
    "content",
    [
        STL_TEXT.encode(),
        (STL_TEXT + "endsolid a\n").replace("\n", "\r\n").encode(),
        stl_binary(CORNERS),
        stl_binary(CORNERS, b"solid facet made by a program that lies"),
        stl_binary(CORNERS) + b"\0" * 333,
        stl_binary(CORNERS, b"solid facet normal") + b"\0" * 333,
        STL_TEXT.replace("\n", " ").encode(),
        STL_TEXT.replace("\n", "\r").encode() + b"\0" * 33,
    ],
)
def test_stl_is_read_with_and_without_what_surrounds_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.stl").write_bytes(content)
    same(tmp_path / "a.stl")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (stl_binary(CORNERS)[:-60], "it ends after 1 of 3 triangles"),
        (stl_binary(CORNERS, b"solid facet")[:-60], "it ends after 1 of 3 triangles"),
        (stl_binary(CORNERS)[:80] + bytes(4) + stl_binary(CORNERS)[84:], "counts no triangles, and 150 bytes follow"),
        (b"solid a\nendsolid a\n", "the solid has no facets"),
        (
            STL_TEXT.replace("endfacet\n  facet", "facet").replace("1e0 0", "1e0 0\nvertex 2 2 2").encode(),
            "has 4 vertices",
        ),
        (stl_binary(CORNERS)[:50], "50 bytes"),
        (STL_TEXT[:-20].encode(), "within a facet|incomplete"),
        (STL_TEXT[:-55].encode(), "within a facet|incomplete"),
        (STL_TEXT.replace("vertex 1 1 0 ", "").encode(), "line 9 has 2 vertices and not 3"),
        (STL_TEXT.replace("1e0 0", "1,5 0").encode(), "line 6 reads 'vertex 1 1,5 0'"),
    ],
)
def test_incomplete_stl_is_called_incomplete(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "a.stl").write_bytes(content)
    with pytest.raises(InputError, match=f"a.stl: .*({complaint})"):
        read(tmp_path / "a.stl")


def ply(order: str, kinds: tuple[str, str, str], faces: Faces, eol: str = "\n", tail: bytes = b"") -> bytes:
    """Write SQUARE with a list in every element, of varying length, and an element nobody asked for before them."""
    number, count, index = kinds
    names = {"float": "f", "double": "d", "uchar": "B", "int": "i", "ushort": "H", "uint": "I", "short": "h"}
    lines = ["ply", f"format {order} 1.0", "comment TextureFile a.png", "obj_info x", "element camera 2"]
    lines += ["property list uchar float view", "property int id", "element vertex 5", f"property {number} x"]
    lines += ["property uchar red", f"property {number} y", f"property {number} z", "property list uchar short tags"]
    lines += [f"element face {len(faces)}", f"property list {count} {index} vertex_indices"]
    lines += ["property list uchar float texcoord", "property int texnumber", "end_header", ""]
    rows: list[list[tuple[str, list[float]]]] = [
        [("B", [2]), ("f", [0.5, 0.25]), ("i", [3])],
        [("B", [0]), ("f", []), ("i", [4])],
    ]
    for place, (x, y, z) in enumerate(SQUARE):
        kind = names[number]
        rows.append([(kind, [x]), ("B", [200]), (kind, [y, z]), ("B", [place % 3]), ("h", [-7.0] * (place % 3))])
    for face in faces:
        texture = [0.5] * (2 * len(face))
        parts: list[tuple[str, list[float]]] = [(names[count], [len(face)]), (names[index], [float(i) for i in face])]
        rows.append([*parts, ("B", [len(texture)]), ("f", texture), ("i", [0])])
    if order == "ascii":
        lines[-1:] = [" ".join(f"{v:g}" for _, values in row for v in values) for row in rows]
        return (eol.join(lines) + eol).encode() + tail
    sign = {"binary_little_endian": "<", "binary_big_endian": ">"}[order]
    data = b"".join(
        struct.pack(f"{sign}{len(values)}{kind}", *(values if kind in "fd" else map(int, values)))
        for row in rows
        for kind, values in row
    )
    return eol.join(lines).encode() + data + tail


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["ascii", "binary_little_endian", "binary_big_endian"]),
    st.sampled_from(["float", "double"]),
    st.sampled_from(["uchar", "int", "ushort"]),
    st.sampled_from(["int", "uint", "uchar", "short"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([b"", b"\n", b"trailing bytes"]),
)
def test_every_dialect_of_ply_reads_the_same(
    order: str, number: str, count: str, index: str, eol: str, tail: bytes
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.ply"
        path.write_bytes(ply(order, (number, count, index), FACES, eol, tail))
        same(path)
        path.write_bytes(ply(order, (number, count, index), [[0, 1, 4]], eol, tail))
        same(path, faces=[[0, 1, 4]])


def test_strips_are_taken_apart(tmp_path: Path) -> None:
    header = "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\n"
    rows = "\n".join(" ".join(f"{value:g}" for value in row) for row in SQUARE)
    strips = "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    # 0 1 3, then 1 2 3 turned over; after -1 a strip of its own
    (tmp_path / "a.ply").write_text(f"{header}{strips}{rows}\n8 0 1 3 2 -1 0 1 4\n")
    vertices, triangles = read(tmp_path / "a.ply")
    np.testing.assert_array_equal(triangles, [[0, 1, 3], [3, 1, 2], [0, 1, 4]])
    np.testing.assert_allclose(areas(vertices, triangles)[:2], [[0, 0, 0.5]] * 2, **EXACT)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("property float z", "property float w"), "the vertices have no z .found: x, red, y, w, tags.; export it"),
        (("vertex_indices", "corners"), "the faces name no vertices .found: corners, texcoord, texnumber."),
        (("format ascii 1.0", "format binary 1.0"), "line 2 of the header reads 'format binary 1.0'"),
        (("element face 2", "element face 3"), "it ends in row 2 of the 3 of element face"),
        (("4 0 1 2 3", "4 0 1 2 9"), "a face names vertex 9, counted from 0, and there are 5"),
        (("4 0 1 2 3", "-4 0 1 2 3"), "a list of -4 numbers"),
        (("ply\n", "plx\n"), "it does not begin with 'ply'"),
    ],
)
def test_broken_ply_is_refused(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    text = ply("ascii", ("float", "uchar", "int"), FACES).decode()
    (tmp_path / "a.ply").write_text(text.replace(*change))
    with pytest.raises(InputError, match=f"a.ply: .*{complaint}"):
        read(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.obj", "v 0 0 0\nv 1 0\n", "line 2 reads 'v 1 0'; a vertex is 'v x y z'"),
        ("a.obj", "v 0 0 0\n\nf 1 -2 1\n", "line 3 names vertex -2, and there are 1 before it"),
        ("a.obj", "v 0 0 0\nf 0 1 1\n", "line 2 names vertex 0"),
        ("a.obj", "v 0 0 0\n\nf 1 3 2\nf 1 2 1\n", "line 3 names vertex 3, and there are 1"),
        (
            "a.off",
            "OFF\n2 1 0\n0 0 0\n1 0 0\n0 2 0\n3 0 1 2\n",
            "counts 2 vertices and 1 faces, and line 6 is one more",
        ),
        ("a.off", "OFF\n4 1 0\n0 0 0\n1 0 0\n0 2 0\n3 0 1 2\n3 0 2 1\n", "line 6 reads '3 0 1 2' where a vertex"),
        (
            "a.off",
            "COFF\n3 1 0\n0 0 0\n9 9 9\n1 0 0\n9 9 9\n0 2 0\n9 9 9\n3 0 1 2\n",
            "counts 3 vertices and 1 faces, and line 7 is one",
        ),
        (
            "a.off",
            "OFF\n3 1 0\n0 0 0\n1 0 0\n0 2 0\n3 0 1 3\n",
            "face in line 6 names vertex 3, counted from 0, and there",
        ),
        ("a.obj", "v\0 0 0 0\n", "binary or UTF-16"),
        ("a.off", "4OFF\n1 1 1\n", "4OFF has vertices of other than three coordinates"),
        ("a.off", "OFF BINARY\n", "the file is binary OFF"),
        ("a.off", "OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "ends after 3 of 3 vertices and 1 of 2 faces"),
        ("a.off", "solid a\n", "the counts of vertices and faces are wanted where 'solid a' stands"),
    ],
)
def test_broken_text_is_refused(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name}: .*{complaint}"):
        read_cloud(tmp_path / name, 16)


@st.composite
def meshes(draw: st.DrawFn) -> tuple[NDArray[np.float64], Faces]:
    """Polygons without holes: regular ones of 3 to 7 corners, each in a plane of its own."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vertices, faces, count = [], [], 0
    for size in draw(st.lists(st.integers(3, 7), min_size=1, max_size=5)):
        angle = 2 * np.pi * np.arange(size) / size
        flat = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
        vertices.append(np.round(flat @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + rng.normal(size=3), 3))
        faces.append(list(range(count, count + size)))
        count += size
    return np.concatenate(vertices), faces


def written(vertices: NDArray[np.float64], faces: Faces, dialect: str, blank: str, eol: str) -> bytes:
    """Write a mesh in a dialect of text."""
    points = [blank.join(f"{value:g}" for value in vertex) for vertex in vertices]
    if dialect.startswith("obj"):
        lines = [f"{blank}v{blank}{point}" for point in points]
        for face in faces:
            first = -len(vertices) if dialect == "obj backwards" else 1
            ending = "/1/2" if dialect == "obj with corners" else ""
            lines.append(f"f{blank}" + blank.join(f"{index + first}{ending}" for index in face))
        if dialect == "obj in order":  # each face after its own vertices, counted back from there
            lines, count = [], 0
            for face in faces:
                lines += [f"v{blank}{points[index]}" for index in face]
                count += len(face)
                lines.append(f"f{blank}" + blank.join(str(index - count) for index in face))
        return eol.join([*lines, ""]).encode()
    head = {"off": "OFF" + eol, "off on a line": "OFF ", "off bare": ""}[dialect]
    rows = [f"{len(vertices)}{blank}{len(faces)}{blank}0", *points]
    rows += [blank.join(map(str, [len(face), *face])) for face in faces]
    return (head + eol.join([*rows, ""])).encode()


DIALECTS = ["obj", "obj backwards", "obj with corners", "obj in order", "off", "off on a line", "off bare"]


@settings(deadline=None, max_examples=60)
@given(meshes(), st.sampled_from([" ", "\t", "  "]), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_any_mesh_reads_the_same_in_every_dialect_of_text(mesh: Any, blank: str, eol: str) -> None:
    vertices, faces = mesh
    with TemporaryDirectory() as folder:
        for dialect in DIALECTS:
            path = Path(folder) / f"a.{dialect[:3]}"
            path.write_bytes(written(vertices, faces, dialect, blank, eol))
            same(path, vertices, faces)


@settings(deadline=None, max_examples=40)
@given(meshes(), st.binary(max_size=60), st.sampled_from([b"", b"solid", b"facet"]))
def test_any_mesh_reads_the_same_in_text_and_binary_stl(mesh: Any, tail: bytes, header: bytes) -> None:
    vertices, faces = mesh
    fans = [[face[0], *pair] for face in faces for pair in itertools.pairwise(face[1:])]
    corners = vertices[np.array(fans)]
    rows = [
        "facet normal 0 0 0 outer loop "
        + " ".join(f"vertex {x:g} {y:g} {z:g}" for x, y, z in triangle)
        + " endloop endfacet"
        for triangle in corners
    ]
    contents = [stl_binary(corners, header), stl_binary(corners) + tail]
    contents += ["\n".join(["solid a", *rows, *end]).encode() for end in ([], ["endsolid a"])]
    with TemporaryDirectory() as folder:
        for content in contents:
            (Path(folder) / "a.stl").write_bytes(content)
            same(Path(folder) / "a.stl", vertices, faces)


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian"])
def test_only_whole_numbers_name_vertices(tmp_path: Path, order: str) -> None:
    for corner, shown in ((float("nan"), "nan"), (1e300, "1e[+]300"), (1.5, "1.5")):
        (tmp_path / "a.ply").write_bytes(ply(order, ("double", "uchar", "double"), [[0, corner, 2]]))  # type: ignore[list-item]
        with pytest.raises(InputError, match=f"a.ply: .*vertex_indices have {shown}, which is no whole number"):
            read(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("vertex_indices", "corners"), "the faces name no vertices .found: corners"),
        (("element face", "element patch"), "element patch names no vertices that are understood"),
        (("element vertex 5", "element vertex 4"), "ends (within a line|in row 0 of the 2 of element face)"),
        (
            ("property float z", "property float z\nproperty float w"),
            "row 0 of element vertex ends within a line, before .0.; the header says 5 rows of 6",
        ),
    ],
)
def test_a_surface_is_never_taken_for_points_nor_shifted(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    text = ply("ascii", ("float", "uchar", "int"), FACES).decode()
    assert change[0] in text
    (tmp_path / "a.ply").write_text(text.replace(*change))
    with pytest.raises(InputError, match=f"a.ply: .*{complaint}"):
        read(tmp_path / "a.ply")


def test_text_whose_faces_are_shifted_by_a_vertex_is_refused(tmp_path: Path) -> None:
    rows = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2\n3 0 2 3\n"
    head = "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element face 2\nproperty list uchar int {}\nend_header\n"
    (tmp_path / "a.ply").write_text(head.format(4, "vertex_index") + rows)
    assert len(read(tmp_path / "a.ply")[1]) == 2
    (tmp_path / "b.ply").write_text(head.format(3, "vertex_index") + rows)
    with pytest.raises(
        InputError, match="b.ply: .*row 0 of element face ends within a line, before '1'; the header says 2 rows"
    ):
        read(tmp_path / "b.ply")
    (tmp_path / "c.ply").write_text(head.format(4, "corners") + rows)
    with pytest.raises(InputError, match="c.ply: element face names no vertices that are understood .found: corners"):
        read(tmp_path / "c.ply")
