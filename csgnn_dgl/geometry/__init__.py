"""Icospheres and rotations as NumPy tables; no torch, no graphs."""

from csgnn_dgl.geometry.icosphere import Icosphere, icosphere
from csgnn_dgl.geometry.rotations import icosahedral_rotations, random_rotations, vertex_permutations

__all__ = ["Icosphere", "icosahedral_rotations", "icosphere", "random_rotations", "vertex_permutations"]
