"""What VASP writes of a spectrum that is known exactly: levels of a Gaussian width, in Fortran's formats."""

from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from scipy.optimize import brentq
from scipy.special import ndtr


class Spectrum:
    """Levels (n,) in eV, each of so many states and smeared by `sigma`; counted without any table."""

    def __init__(self, levels: np.ndarray, weights: np.ndarray | float = 2.0, sigma: float = 0.1) -> None:
        self.levels, self.weights, self.sigma = levels, np.broadcast_to(weights, levels.shape), sigma

    def states(self, energies: np.ndarray | float) -> np.ndarray:
        """Number of states up to each energy."""
        return ndtr((np.asarray(energies)[..., None] - self.levels) / self.sigma) @ self.weights

    def dos(self, energies: np.ndarray) -> np.ndarray:
        """States per eV at each energy."""
        x = (energies[:, None] - self.levels) / self.sigma
        return np.exp(-(x**2) / 2) @ self.weights / (self.sigma * np.sqrt(2 * np.pi))

    def fermi_level(self, electrons: float) -> float:
        """Where so many states are filled."""
        low, high = self.levels.min() - 5, self.levels.max() + 5
        return float(brentq(lambda energy: float(self.states(energy)) - electrons, low, high, xtol=1e-10))

    def table(self, energies: np.ndarray, kind: str = "steps") -> np.ndarray:
        """Energy, DOS and integrated DOS (M, 3).

        The DOS is the rise of the integrated DOS over the step before ("steps"), or that at the energy ("points").
        """
        states = self.states(energies)
        if kind == "points":
            dos = self.dos(energies)
        else:
            step = energies[1] - energies[0]
            dos = np.diff(states, prepend=self.states(energies[0] - step)) / step
        return np.column_stack([energies, dos, states])


def fortran(value: float, width: int = 12, digits: int = 4, letter: str = "E") -> str:
    """Write a number as Fortran's Ew.d does: 0.1234E+02, and 0.1234-100 where the exponent has three digits."""
    if value == 0:
        return f"{0:.{digits}f}{letter}+00".rjust(width)
    first, _, rest = f"{value:.{digits - 1}e}".partition("e")
    exponent = int(rest) + 1
    power = f"{letter}{exponent:+03d}" if abs(exponent) < 100 else f"{exponent:+04d}"
    return f"{'-' if value < 0 else ''}0.{first.lstrip('-').replace('.', '')}{power}".rjust(width)


def fixed(value: float, width: int, digits: int) -> str:
    """Write a number as Fortran's Fw.d does: stars where it has no room."""
    text = f"{value:{width}.{digits}f}"
    return text if len(text) <= width else "*" * width


def whole(value: int, width: int) -> str:
    """Write a number as Fortran's Iw does."""
    return f"{value:{width}d}" if len(str(value)) <= width else "*" * width


def diamond() -> Atoms:
    """Two carbon atoms."""
    return Atoms(
        "C2", [[0, 0, 0], [0.89, 0.89, 0.89]], cell=np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 1.78, pbc=True
    )


def doscar_text(table: np.ndarray, fermi: float, atoms: int = 2, letter: str = "E") -> str:
    """Write a table (M, 3 or 5) as VASP does; what follows it belongs to the atoms."""
    first, last = table[0, 0], table[-1, 0]
    head = fixed(last, 16, 8) + fixed(first, 16, 8) + whole(len(table), 5) + fixed(fermi, 16, 8) + fixed(1, 16, 8)
    lines = [whole(atoms, 4) * 2 + "   1   0", "  0.1128E+02  0.2520E-09  0.2520E-09  0.2520E-09  0.5000E-15"]
    lines += ["  1.0000000000000000E-004", "  CAR ", " diamond", head]
    lines += [fixed(row[0], 11, 3) + "".join(fortran(value, letter=letter) for value in row[1:]) for row in table]
    lines += [head, *([fixed(first, 11, 3) + fortran(0.5) * 9] * len(table))]
    return "\n".join(lines) + "\n"


def write_doscar(folder: Path, text: str, atoms: Atoms | None = None) -> Path:
    """Write a DOSCAR and its POSCAR."""
    folder.mkdir(parents=True, exist_ok=True)
    ase.io.write(folder / "POSCAR", atoms or diamond(), format="vasp")
    (folder / "DOSCAR").write_text(text)
    return folder / "DOSCAR"


def dos_element(table: np.ndarray, fermi: float, attributes: str = "", digits: int = 4) -> str:
    """Write the element ``dos`` of a vasprun.xml."""
    spins = (table.shape[1] - 1) // 2
    rows = [
        "".join(
            "<r>" + "".join(fixed(row[k], 10, digits) for k in (0, 1 + s, 1 + spins + s)) + " </r>\n" for row in table
        )
        for s in range(spins)
    ]
    sets = "".join(f'<set comment="spin {s + 1}">\n{text}</set>\n' for s, text in enumerate(rows))
    fields = "<field>energy</field><field>total</field><field>integrated</field>"
    return (
        f'<dos{attributes}><i name="efermi"> {fixed(fermi, 14, 8)} </i>\n'
        f'<total><array><dimension dim="1">gridpoints</dimension>{fields}<set>\n{sets}</set></array></total></dos>\n'
    )


def vectors(name: str, rows: np.ndarray) -> str:
    """Write the element ``varray``."""
    return (
        f'<varray name="{name}" >'
        + "".join("<v>" + "".join(fixed(x, 17, 8) for x in row) + " </v>" for row in rows)
        + "</varray>"
    )


def structure_element(atoms: Atoms, attributes: str = "") -> str:
    """Write the element ``structure``."""
    cell = vectors("basis", atoms.cell.array)
    positions = vectors("positions", atoms.get_scaled_positions())
    return f"<structure{attributes}><crystal>{cell}</crystal>{positions}</structure>\n"


def vasprun_text(steps: list[tuple[Atoms, str]], electrons: str = "8.00000000") -> str:
    """Write a vasprun.xml: structures of the ionic steps, and what follows in each calculation."""
    first, last = steps[0][0], steps[-1][0]
    energy = (
        "<energy>"
        + "".join(f'<i name="{e}"> -18.0 </i>' for e in ("e_fr_energy", "e_wo_entrp", "e_0_energy"))
        + "</energy>"
    )
    rows = "".join(f"<rc><c>{symbol:2s}</c><c>   1</c></rc>" for symbol in first.get_chemical_symbols())
    calculations = "".join(
        f"<calculation><scstep>{energy}</scstep>{structure_element(atoms)}"
        f"{vectors('forces', np.zeros((len(atoms), 3)))}{vectors('stress', np.zeros((3, 3)))}{energy}{rest}"
        "</calculation>\n"
        for atoms, rest in steps
    )
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<generator><i name="version" type="string">6.4.2</i></generator>
<kpoints><varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
<parameters><separator name="electronic"><i name="NELECT"> {electrons}</i></separator></parameters>
<atominfo><atoms>{len(first)}</atoms><types>1</types><array name="atoms"><set>{rows}</set></array></atominfo>
{structure_element(first, ' name="initialpos"')}{calculations}{structure_element(last, ' name="finalpos"')}</modeling>
"""
