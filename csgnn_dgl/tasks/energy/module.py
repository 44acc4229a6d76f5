"""The Lightning module that trains and tests models of energies."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from csgnn_dgl.data.atoms.energies import EnergySnapshots
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping.forces import forces_of
from csgnn_dgl.models import ENERGY_MODELS, EnergyModel
from csgnn_dgl.tasks.atoms import batch_environments
from csgnn_dgl.training.module import Schedule, TrainingModule

CALIBRATED = 16
"""Training snapshots that the moments of a network are measured on."""


@dataclasses.dataclass(frozen=True)
class EnergyScore:
    """Mean absolute errors: of energies per atom, in eV, and of the components of forces, in eV/Å, where known."""

    name: str
    rotation: str
    num_snapshots: int
    energy_mae: float
    forces_mae: float | None


class EnergyModule(TrainingModule):
    """Train and test a model of energies by the squared errors of energies per atom and of forces.

    The forces are the gradients of the energy, in the loss too. Measured are the loss and the mean absolute errors of
    energies (eV/atom) and forces (eV/Å). `scores` are `EnergyScore` of the network for the snapshots as they are,
    for those that are turned, and of the reference energies alone, with no forces.

    Parameters
    ----------
    network
        The model; the data find neighbours up to its cutoff.
    force_weight
        Weight, in Å², of the mean squared error of the components of forces in the loss, where there are forces.
    learning_rate, weight_decay, schedule, patience, factor, threshold, minimum_rate, average, seed
        See `TrainingModule`.
    """

    registry = ENERGY_MODELS
    network: EnergyModel

    def __init__(
        self,
        network: EnergyModel,
        force_weight: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        schedule: Schedule = "one_cycle",
        patience: int = 4,
        factor: float = 0.1,
        threshold: float = 1e-3,
        minimum_rate: float = 1e-5,
        average: float = 0.0,
        seed: int = 0,
    ) -> None:
        rule = patience, factor, threshold, minimum_rate
        super().__init__(network, learning_rate, weight_decay, schedule, *rule, average=average, seed=seed)
        if not isinstance(network, EnergyModel):
            raise InputError(f"{type(network).__name__} is no csgnn_dgl.models.EnergyModel; derive it from that")
        if not 0 <= force_weight < math.inf:
            raise ValueError(f"force_weight is {force_weight!r}; give a number of at least 0")
        self.force_weight = force_weight

    def setup(self, stage: str) -> None:
        """Fit reference energies and scale to the training, and measure the moments of the network.

        What a resumed one begins with is loaded after this.

        Raises
        ------
        InputError
            If energies would be rounded to less than float32.
        """
        super().setup(stage)
        if self.network.reference.dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"trainer.precision is {self.trainer.precision!r}, in which energies have three digits; give 32-true, "
                "bf16-mixed or 64-true"
            )
        if stage != "fit":
            return
        dataset = self.data.dataset("train")
        known = [own for own in dataset.forces if own is not None]
        spread = float(torch.cat(known).double().square().mean().sqrt()) if known else None
        self.network.start_from(dataset.numbers, dataset.energies, spread)
        some = torch.linspace(0, len(dataset) - 1, min(CALIBRATED, len(dataset))).long()
        batch = {name: value.to(self.device) for name, value in dataset.batch(some, [0] * len(some)).items()}
        self.network.calibrate(batch_environments(batch), batch["numbers"])

    def description(self) -> dict[str, Any]:
        """Say what this task has beyond others, for checkpoints and results."""
        return {"force_weight": self.force_weight}

    def make_measures(self) -> Mapping[str, Metric]:
        """Make the means of the absolute errors of energies and forces."""
        names = ("energy_mae", "forces_mae") if self.data.has_forces else ("energy_mae",)
        return {name: MeanMetric(nan_strategy="disable") for name in names}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the energies (S, 1), or with ``forces`` in the batch (S, 1 + 3·M): energies in eV, forces in eV/Å."""
        count = len(batch["index"])
        if "forces" not in batch:
            return self.network(batch_environments(batch), batch["numbers"], batch["snapshot"], count)[:, None]
        trains = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            own = {name: value.clone() for name, value in batch.items()}  # a test makes tensors without gradients
            own["vectors"].requires_grad_()
            environments, snapshot = batch_environments(own), own["snapshot"]
            energy = self.network(environments, own["numbers"], snapshot, count)
            forces = forces_of(energy, environments, create_graph=trains).double()
            atoms = torch.bincount(snapshot, minlength=count)
            place = torch.arange(len(snapshot), device=snapshot.device) - (atoms.cumsum(0) - atoms)[snapshot]
            padded = forces.new_zeros(own["forces"].shape).index_put((snapshot, place), forces)
            found = torch.cat([energy[:, None], padded.flatten(1)], dim=1)
        return found if trains else found.detach()

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
        """Return the mean squared error of energies per atom, and of forces times their weight."""
        atoms = torch.bincount(batch["snapshot"], minlength=len(output))
        wrong = (output[:, 0] - batch["energy"]) / atoms
        loss = wrong.square().mean()
        seen: dict[str, tuple[Tensor, ...]] = {"energy_mae": (wrong.abs(),)}
        wanted = batch.get("forces")
        if wanted is not None and bool(wanted.isfinite().any()):
            off = (output[:, 1:].reshape(wanted.shape) - wanted)[wanted.isfinite()]
            loss = loss + self.force_weight * off.square().mean()
            seen["forces_mae"] = (off.abs(),)
        return loss, seen

    def score(self, split: Literal["validation", "test"], answers: Tensor, items: Tensor) -> list[EnergyScore]:
        """Score the snapshots as they are and turned, and the reference energies without forces."""
        self.answered = self.data.snapshots("val" if split == "validation" else "test").subset(items.tolist())
        self.found = answers.double()
        name = self.registry.name_of(type(self.network))
        references = dict(zip(self.network.elements, self.network.reference.tolist(), strict=True))
        sums = [sum(references[number] for number in item.numbers.tolist()) for item in self.answered.snapshots]
        nothing = torch.zeros_like(self.found[0])
        nothing[:, 0] = torch.tensor(sums)
        views = [(name, view, rotation) for view, rotation in zip(self.found, ("none", "SO3"), strict=False)]
        rows = [*views, ("references alone", nothing, "none")]
        return [score_energies(own, found, self.answered, rotation) for own, found, rotation in rows]


def score_energies(name: str, found: Tensor, known: EnergySnapshots, rotation: str) -> EnergyScore:
    """Score energies and forces (S, 1 + 3·M) of snapshots; of turned ones the energies alone are compared."""
    energies, forces = pairs(found, known)
    atoms = torch.from_numpy(known.snapshots.num_atoms)
    wrong = (energies[0] - energies[1]).abs() / atoms
    off = None if forces is None or rotation != "none" else float((forces[0] - forces[1]).abs().mean())
    return EnergyScore(name, rotation, len(known), float(wrong.mean()), off)


def pairs(found: Tensor, known: EnergySnapshots) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor] | None]:
    """Return predicted and true energies (S,), and all components of forces that are known, if any are."""
    energies = found[:, 0], torch.from_numpy(known.energies)
    rows = [(row, torch.from_numpy(own)) for row, own in zip(found, known.forces, strict=True) if own is not None]
    if not rows:
        return energies, None
    predicted = torch.cat([row[1 : 1 + own.numel()] for row, own in rows])
    return energies, (predicted, torch.cat([own.flatten() for _, own in rows]))
