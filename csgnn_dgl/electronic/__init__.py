"""From a density of states (DOS) to its integral, the Fermi level and the band energy (Sec. 4.2, Eq. 4)."""

from csgnn_dgl.electronic.filling import filled_up_to, non_negative
from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.electronic.measures import DOSErrors, dos_errors, rmse, wasserstein_distance
from csgnn_dgl.electronic.observables import band_energy, band_energy_per_atom, fdos, fermi_level, states_below

__all__ = [
    "PAPER_GRID",
    "DOSErrors",
    "EnergyGrid",
    "band_energy",
    "band_energy_per_atom",
    "dos_errors",
    "fdos",
    "fermi_level",
    "filled_up_to",
    "non_negative",
    "rmse",
    "states_below",
    "wasserstein_distance",
]
