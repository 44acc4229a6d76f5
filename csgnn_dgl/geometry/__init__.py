"""Icospheres, rotations and Wigner's d functions as NumPy tables; no torch, no graphs."""

from csgnn_dgl.geometry.icosphere import Icosphere, icosphere, level_of
from csgnn_dgl.geometry.rotations import icosahedral_rotations, random_rotations, vertex_permutations

__all__ = ["Icosphere", "icosahedral_rotations", "icosphere", "level_of", "random_rotations", "vertex_permutations"]
