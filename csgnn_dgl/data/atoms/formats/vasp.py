"""Snapshots from a vasprun.xml, which is one calculation of VASP."""

from csgnn_dgl.data.atoms.vasp.calculation import read_vasp
from csgnn_dgl.data.packed import PACKED

READERS = {f"{kind}{packed}": read_vasp for kind in (".xml", ".vasprun.xml") for packed in ("", *PACKED)}
