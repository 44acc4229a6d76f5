"""The symmetry of CIF files: which of them tell where their atoms are."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from csgnn_dgl.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

OPERATIONS = re.compile(r"^\s*_(symmetry_equiv_pos|space_group_symop(_operation|\.operation)?)_(as_)?xyz", re.M | re.I)
SETTING = re.compile(r"^\s*_symmetry_space_group_setting\b", re.M | re.I)
SYMBOL = re.compile(
    r"^\s*_(?:symmetry_)?space_group_name_h-m(?:_alt)?\s+(?:'([^'\n]*)'|\"([^\"\n]*)\"|(\S+))", re.M | re.I
)
TWO_ORIGINS = {
    *(48, 50, 59, 68, 70, 85, 86, 88, 125, 126, 129, 130, 133, 134, 137, 138, 141, 142, 201, 203, 222, 224, 227, 228)
}
TWO_AXES = {146, 148, 155, 160, 161, 166, 167}
"""Space groups whose number leaves open where the origin is, or whether the axes are hexagonal or rhombohedral."""


def check_symmetry(path: Path, text: str, atoms: "Atoms") -> None:
    """Refuse a CIF that names a space group without its operations where that does not say where the atoms are.

    Parameters
    ----------
    path, text
        The file, and what is in it.
    atoms
        What ase has read of it, with the space group that it has taken.

    Raises
    ------
    InputError
        If origin or axes are open, or the symbol in the file is not that of the setting that was taken.
    """
    group = atoms.info.get("spacegroup")
    if OPERATIONS.search(text) or group is None or group.no == 1:
        return
    found = SYMBOL.search(text)
    symbol = next((part for part in found.groups() if part), "") if found else ""
    what = ""
    if group.no in TWO_ORIGINS and not SETTING.search(text):
        what = "has two origins, and it does not say which"
    elif group.no in TWO_AXES and _is_hexagonal(atoms) != (group.setting == 1):
        what = "has other axes than the cell"
    elif symbol and not _forms(symbol) & _forms(group.symbol):
        what = f"is in a setting other than that of number {group.no}, {group.symbol}"
    if what:
        raise InputError(
            f"{path}: the space group {symbol or group.symbol} {what}; write its operations "
            f"(_space_group_symop_operation_xyz) into the file, or all atoms and P 1."
        )


def _is_hexagonal(atoms: "Atoms") -> bool:
    """Whether the axes of a trigonal cell are hexagonal, not rhombohedral."""
    return bool(np.allclose(atoms.cell.angles(), [90, 90, 120], atol=0.1))


def _forms(symbol: str) -> set[str]:
    """Return a Hermann-Mauguin symbol with and without the axes that have no symmetry, in lower case."""
    words = symbol.replace("_", "").replace("-", "").lower().split()
    return {"".join(words), "".join(word for word in words if word != "1")}
