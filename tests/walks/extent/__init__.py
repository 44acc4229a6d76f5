"""A toy task on the grid, in one folder: the mean radius of a cloud, by regression."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, Metric

from csgnn_dgl.mapping import PrismMapping
from csgnn_dgl.mapping.unit_ball import centre_clouds
from csgnn_dgl.models import ConcentricEncoder, Model, Registry
from csgnn_dgl.tasks.classification import ModelNetData
from csgnn_dgl.training import Task, TrainingModule
from csgnn_dgl.training.report import Section, markdown_table

MODELS: Registry[Any] = Registry("tests.walks.extent", "model of the mean radius", "tests.walks.extent")


@MODELS.register("toy-extent")
class Extent(Model):
    """Mapping, encoder, and a linear layer on the mean over spheres and vertices."""

    registry = MODELS
    symmetry = "icosahedral"

    def __init__(self, level: int = 1, num_spheres: int = 3) -> None:
        super().__init__()
        self.mapping = PrismMapping(level, num_spheres, channels=1)
        self.encoder = ConcentricEncoder(level, num_spheres, 1, [([4], [8])] * (level + 1), pooling="mean")
        self.head = nn.Linear(8, 1)

    def forward(self, points: Tensor) -> Tensor:
        largest = torch.linalg.vector_norm(points, dim=-1).amax(dim=1)[:, None, None]
        return self.head(self.encoder(self.mapping(points / largest)).mean(dim=(0, 1)))[:, 0]


class ExtentModule(TrainingModule):
    """The target, the loss, and what is measured."""

    registry = MODELS

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.network(batch["points"])

    def target(self, points: Tensor) -> Tensor:
        radii = torch.linalg.vector_norm(points, dim=-1)
        return radii.mean(dim=1) / radii.amax(dim=1)

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
        target = self.target(batch["points"])
        return (output - target).square().mean(), {"mae": (output, target)}

    def make_measures(self) -> Mapping[str, Metric]:
        return {"mae": MeanAbsoluteError()}

    def score(self, split: Literal["validation", "test"], answers: Tensor, items: Tensor) -> Sequence[float]:
        clouds = self.data.test_clouds if split == "test" else self.data.validation_clouds
        # Batches are centred, and no rotation changes the target.
        target = self.target(centre_clouds(torch.as_tensor(clouds.points)[items]))
        return [float((view - target).abs().mean()) for view in answers]


def report(tested: Mapping[str, ExtentModule]) -> Section:
    """Return the table of some models."""
    rows = [{"name": name, "mae": error} for name, module in tested.items() for error in module.scores]
    return Section(markdown_table(("model", "error"), [(row["name"], f"{row['mae']:.4f}") for row in rows]), rows)


TASK = Task(
    module=ExtentModule,
    data=ModelNetData,
    network="toy-extent",
    monitor="validation/mae",
    mode="min",
    panels={"loss": "loss", "mean absolute error": "mae"},
    epoch_line={"validation/mae": "error {:.4f}"},
    report=report,
)
