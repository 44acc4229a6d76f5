"""Models of the energy of molecules and cells."""

from csgnn_dgl.models.energy.base import ENERGY_MODELS, EnergyModel
from csgnn_dgl.models.energy.csgnn import CSGNNEnergy

__all__ = ["ENERGY_MODELS", "CSGNNEnergy", "EnergyModel"]
