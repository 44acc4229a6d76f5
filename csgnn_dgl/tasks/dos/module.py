"""The Lightning module that trains and tests models of the density of states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from csgnn_dgl.data import Snapshots
from csgnn_dgl.electronic import EnergyGrid, band_energy, fdos, fermi_level, filled_up_to, states_below
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import DOS_MODELS, DOSModel
from csgnn_dgl.models.dos.base import DOSOutput
from csgnn_dgl.nn import NormReLU
from csgnn_dgl.tasks.atoms import batch_environments
from csgnn_dgl.tasks.dos.domain import TrainingDomain
from csgnn_dgl.tasks.dos.evaluation import Prediction, Score, count_parameters, mean_prediction, score
from csgnn_dgl.training.module import Schedule, TrainingModule, at_least_float32


def spectral_loss(prediction: Tensor, reference: Tensor, alpha: float, grid: EnergyGrid) -> Tensor:
    r"""Return :math:`\alpha\, MSE(DOS) + (1 - \alpha)\, MSE(FDOS)` (Eq. 5), the mean over snapshots and bins.

    Prediction and reference are (S, count) states per eV and atom; α, from 0 to 1, is the weight of the DOS.
    """
    spectrum = (prediction - reference).square().mean()
    filled = fdos(prediction - reference, grid).square().mean()  # FDOS is linear in the DOS
    return alpha * spectrum + (1 - alpha) * filled


class DOSModule(TrainingModule):
    """Train and test a model of the DOS with the loss of Eq. 5, and beyond the paper with that of the band energy.

    Measured are the loss and the mean absolute errors of band energy (eV/atom), Fermi level (eV) and of the number of
    states up to the reference's Fermi level (electrons per atom). The defaults are those of A.3.

    `scores` are `Score` of the network and of the training means, if the data have training snapshots; their DOS are in
    `predictions`, for the snapshots in `snapshots`.

    Parameters
    ----------
    network
        The model. The data find neighbours up to its cutoff.
    alpha
        Weight α of the DOS in the loss; the FDOS has 1 - α.
    beta
        Weight β of a third term of the loss, the mean squared error of the band energy per atom (Eq. 4). Errors of the
        FDOS that hardly count in Eq. 5 add up in the band energy where they have the same sign over many bins. The
        paper has no such term; 0 leaves it out.
    gamma
        Weight γ of a fourth term, the mean squared error in electrons per atom of the number of states up to the Fermi
        level of the reference: what decides the predicted level, without the division by a DOS that nearly vanishes in
        gaps. The paper has no such term; 0 leaves it out.
    ridge
        For networks with ``output: linear``, which need it: their output is solved for instead of trained, before the
        first epoch and after each (:meth:`~csgnn_dgl.models.dos.base.LinearOutput.solve`); this is the weight of its
        penalty. The DOS that counts, in the loss too, is then filled up to the predicted Fermi level
        (:func:`csgnn_dgl.electronic.filled_up_to`).
    freeze_norms
        Share of the epochs after which all batch norms keep their running averages, 0 to 1, so that the rest of the
        training is that of the very function that is used in evaluation. The averages are taken anew for this, over
        the training batches of one epoch. The paper has nothing of the kind; 1 never freezes them.
    output_rate
        Factor of the learning rate for the last norm and the smoothing after it. Their parameters are in states per eV,
        and Adam moves them by the rate itself: at large rates energy bins can end up below zero, where the ReLU
        leaves them for ever. A smaller factor prevents that; 1 trains all parameters alike, as the paper does.
    start_at_mean
        Whether a new training begins at the mean DOS of the training snapshots, see `DOSModel.start_from`.
    learning_rate, weight_decay, schedule, patience, factor, threshold, minimum_rate, seed
        See `TrainingModule`.
    """

    registry = DOS_MODELS

    def __init__(
        self,
        network: nn.Module,
        alpha: float = 0.1,
        beta: float = 0.0,
        gamma: float = 0.0,
        ridge: float = 0.0,
        freeze_norms: float = 1.0,
        output_rate: float = 1.0,
        start_at_mean: bool = True,
        learning_rate: float = 5e-4,
        weight_decay: float = 1e-7,
        schedule: Schedule = "plateau",
        patience: int = 99,
        factor: float = 0.1,
        threshold: float = 5e-3,
        minimum_rate: float = 1e-5,
        seed: int = 0,
    ) -> None:
        rule = patience, factor, threshold, minimum_rate
        super().__init__(network, learning_rate, weight_decay, schedule, *rule, seed=seed)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha!r}; give a number from 0 to 1")
        for weight, value in (("beta", beta), ("gamma", gamma), ("ridge", ridge)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{weight} is {value!r}; give a number of at least 0")
        if not 0 <= freeze_norms <= 1:
            raise ValueError(f"freeze_norms is {freeze_norms!r}; give a share of the epochs, from 0 to 1")
        if not 0 < output_rate <= 1:
            raise ValueError(f"output_rate is {output_rate!r}; give a factor above 0, up to 1")
        self.alpha, self.beta, self.gamma, self.ridge = alpha, beta, gamma, ridge
        self.start_at_mean = start_at_mean
        self.freeze_norms, self.output_rate = freeze_norms, output_rate
        self.predictions: list[Prediction] = []
        self.domain: TrainingDomain | None = None

    def setup(self, stage: str) -> None:
        """Measure the environments of a training, and let it begin at the mean of its data.

        What a resumed one begins with is loaded after this.
        """
        super().setup(stage)
        if stage != "fit":
            return
        if (self.ridge > 0) != self._is_linear:
            raise InputError(
                f"model.ridge is {self.ridge!r}; give one above 0 for a network with output linear, and 0 for others"
            )
        self.domain = TrainingDomain.of(self.data.snapshots("train").environments(self.data.cutoff), self.data.cutoff)
        if self.start_at_mean and isinstance(self.network, DOSModel):
            self.network.start_from(self.data.dataset("train").dos_per_atom)

    @property
    def _is_linear(self) -> bool:
        return getattr(self.network, "is_linear", False)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters that learn at the rate, and those of the output that learn at a share of it."""
        if self.ridge:
            network: Any = self.network
            solved = {id(parameter) for parameter in network.output.parameters()}
            return [{"params": [own for own in self.network.parameters() if id(own) not in solved]}]
        if self.output_rate == 1:
            return super().parameter_groups()
        end = self.network.output
        assert isinstance(end, DOSOutput)
        output = [*end.norm.parameters(), *end.smoothing.parameters()]
        others = [parameter for parameter in self.network.parameters() if all(parameter is not own for own in output)]
        return [{"params": others}, {"params": output, "lr": self.output_rate * self.learning_rate}]

    def description(self) -> dict[str, Any]:
        """Say what this task has beyond others, for checkpoints and results."""
        return {
            name: getattr(self, name)
            for name in ("alpha", "beta", "gamma", "ridge", "freeze_norms", "output_rate", "start_at_mean")
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the environments of the training were like; predictions are compared with it."""
        super().on_save_checkpoint(checkpoint)
        if self.domain is not None:
            checkpoint["environments"] = self.domain.stored()

    def make_measures(self) -> Mapping[str, Metric]:
        """Make the means over the snapshots of three absolute errors."""
        names = ("band_energy_mae", "fermi_level_mae", "electrons_mae")
        return {name: MeanMetric(nan_strategy="disable") for name in names}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the DOS (S, count) per atom of the snapshots of a batch, in float32 at least."""
        found = at_least_float32(self.network(batch_environments(batch), batch["snapshot"], len(batch["index"])))
        if not self._is_linear:
            return found
        return filled_up_to(found[:, :-1], found[:, -1], batch["electrons_per_atom"], self.data.grid)

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
        """Return the loss of Eq. 5, with the terms that `beta` and `gamma` ask for."""
        reference = batch["dos_per_atom"].to(output.dtype)
        band, level = self._errors(output if self.beta else output.detach(), reference, batch["electrons_per_atom"])
        loss = spectral_loss(output, reference, self.alpha, self.data.grid)
        if self.beta:
            loss = loss + self.beta * band.square().mean().to(loss.dtype)
        electrons = batch["electrons_per_atom"]
        wanted = fermi_level(reference.double(), electrons, self.data.grid, "top")
        count = states_below(output.double(), wanted, self.data.grid) - electrons
        if self.gamma:
            loss = loss + self.gamma * count.square().mean().to(loss.dtype)
        return loss, {"band_energy_mae": (band,), "fermi_level_mae": (level,), "electrons_mae": (count.abs(),)}

    def _errors(self, prediction: Tensor, reference: Tensor, electrons: Tensor) -> tuple[Tensor, Tensor]:
        """Absolute errors (S,) of band energy and Fermi level; NaN where the prediction is not finite."""
        grid = self.data.grid
        finite = prediction.isfinite().all(dim=1)
        lost = torch.where(finite, 0.0, torch.nan)
        usable = torch.where(finite[:, None], prediction, reference).double()
        wanted = reference.double()
        band = band_energy(usable, electrons, grid, "top") - band_energy(wanted, electrons, grid, "top")
        level = fermi_level(usable, electrons, grid, "top") - fermi_level(wanted, electrons, grid, "top")
        return band.abs() + lost, level.abs() + lost

    def on_train_epoch_start(self) -> None:
        """Freeze the norms when it is time, and solve for the output before the first step of all.

        Lightning has just put all of the network into training mode.

        Raises
        ------
        InputError
            If the norms are to be frozen in a training without an end.
        """
        super().on_train_epoch_start()
        self._freeze_in_time()
        if self.ridge and self.trainer.global_step == 0:
            modes = [(module, module.training) for module in self.network.modules()]
            self.network.eval()
            self._solve()
            for module, mode in modes:
                module.training = mode

    def on_validation_epoch_start(self) -> None:
        """Solve for the output with the features as they are after an epoch."""
        super().on_validation_epoch_start()
        if self.ridge and self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            self._solve()

    @torch.no_grad()
    def _solve(self) -> None:
        """Solve for the output over all training snapshots, with a network in evaluation mode."""
        network: Any = self.network
        dataset = self.data.dataset("train")
        found, levels = [], []
        precision, strategy = self.trainer.precision_plugin, self.trainer.strategy
        for index in torch.arange(len(dataset)).split(self.data.batch_size):
            batch = strategy.batch_to_device(
                precision.convert_input(dataset.batch(index, [0] * len(index))), self.device
            )
            with precision.forward_context():
                features = network.mean_features(batch_environments(batch), batch["snapshot"], len(index))
            found.append(features.double())
            dos = batch["dos_per_atom"].double()
            levels.append(fermi_level(dos, batch["electrons_per_atom"], self.data.grid, "top"))
        network.output.solve(torch.cat(found), dataset.dos_per_atom.to(self.device), torch.cat(levels), self.ridge)

    def _freeze_in_time(self) -> None:
        """Take the averages of the norms anew and freeze them from the epoch on that `freeze_norms` says."""
        if self.freeze_norms == 1:
            return
        epochs = self.trainer.max_epochs
        if epochs is None or epochs < 0:
            raise InputError("freeze_norms has to know when the training ends; give trainer.max_epochs")
        if self.current_epoch == math.ceil(self.freeze_norms * epochs):
            self._measure(self._norms())
        self._freeze(epochs)

    def go_on_within_epoch(self) -> None:
        """Keep the norms of the epoch frozen."""
        super().go_on_within_epoch()
        if self.freeze_norms < 1:
            self._freeze(self.trainer.max_epochs or 0)

    def _norms(self) -> list[NormReLU]:
        return [module for module in self.network.modules() if isinstance(module, NormReLU)]

    def _freeze(self, epochs: int) -> None:
        """Let the norms keep their averages in this epoch, if it is time."""
        if self.current_epoch >= math.ceil(self.freeze_norms * epochs):
            for norm in self._norms():
                norm.eval()

    @torch.no_grad()
    def _measure(self, norms: list[NormReLU]) -> None:
        """Take the running averages of norms over the training batches of this epoch, with the weights as they are.

        The averages that gathered in training lag behind the weights.
        """
        for norm in norms:
            norm.forget()
        precision, strategy = self.trainer.precision_plugin, self.trainer.strategy
        for batch in islice(self.data.train_dataloader(), int(self.trainer.num_training_batches)):
            moved = strategy.batch_to_device(precision.convert_input(batch), self.device)
            with precision.forward_context():
                self(moved)

    def answers(self, output: Tensor) -> Tensor:
        """Return the DOS (S, count) in float64."""
        return output.double()

    def score(self, split: Literal["validation", "test"], answers: Tensor, items: Tensor) -> list[Score]:
        """Score the predictions, and the mean over the training snapshots of each structure if there are any."""
        self.snapshots, prediction = self.prediction(split, answers, items)
        known = self.data.known_snapshots()
        self.predictions = [prediction] if known is None else [prediction, mean_prediction(known, self.snapshots)]
        return [score(found, self.snapshots) for found in self.predictions]

    def prediction(
        self, split: Literal["validation", "test"], answers: Tensor, items: Tensor
    ) -> tuple[Snapshots, Prediction]:
        """Return the snapshots that were answered, and the answers (views, items, count) of the first view."""
        snapshots = self.data.snapshots("val" if split == "validation" else "test").subset(items.numpy())
        name = self.registry.name_of(type(self.network))
        return snapshots, Prediction(name, answers[0], count_parameters(self.network))
