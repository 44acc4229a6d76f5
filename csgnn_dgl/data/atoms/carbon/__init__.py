"""The built-in atomic snapshots: eight carbon allotropes with tight-binding DOS. See README.md and LICENSE here."""

from importlib.resources import as_file, files

from csgnn_dgl.data.atoms.records import Snapshots, from_atoms
from csgnn_dgl.data.atoms.structures import read_atoms
from csgnn_dgl.data.splits import SPLITS, check_split


def carbon_snapshots(split: str) -> Snapshots:
    """Return one split of the built-in carbon data set, on the paper's energy grid.

    Graphene, graphite, C20, C40, C60 and the nanotubes (6,4), (9,9), (8,0) at 300 K and 600 K. Reading takes
    1.5 seconds for the 1,280 training snapshots, so nothing is cached. The data are CC BY-SA 4.0, other than
    the code; the README.md and LICENSE beside them say what that asks of you.

    Parameters
    ----------
    split
        ``"train"`` (1,280 snapshots), ``"val"`` (320) or ``"test"`` (160).

    Returns
    -------
    Snapshots
        With the DOS in states/eV of the whole cell.

    Raises
    ------
    InputError
        If `split` is unknown.
    """
    check_split(split, SPLITS, "the built-in carbon data")
    with as_file(files(__package__) / f"{split}.extxyz.gz") as path:
        atoms = read_atoms(path)
    return from_atoms(atoms, needs_dos=True, source=f"built-in carbon ({split})")
