"""What surrounds the layers: mapping beside a loop over the points, loading, and whole steps from clouds."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.contenders import compiled
from benchmarks.harness import Built
from benchmarks.sizes import Size, new_model
from csgnn_dgl.geometry import icosphere
from csgnn_dgl.mapping import MAPPINGS, PointMapping
from csgnn_dgl.mapping.tables import faces_around_vertices
from csgnn_dgl.models import CSGNN

LARGEST_DIFFERENCE = 1e-4
BATCHES = 10
"""Batches that are fetched in a row."""


class PointLoop:
    """A mapping as one would write it at first: point by point, in NumPy.

    The triangle of a point is the one around its nearest vertex in which it lies deepest. Ties are not shared.

    Parameters
    ----------
    mapping
        Whose cells and kernel widths to use.
    """

    def __init__(self, mapping: PointMapping) -> None:
        sphere = icosphere(mapping.level)
        self.shape = (mapping.num_spheres, mapping.num_vertices, mapping.channels)
        self.vertices, self.faces = sphere.vertices, sphere.faces
        self.fans = [fan[fan >= 0] for fan in faces_around_vertices(sphere)]
        a, b, c = self.vertices[self.faces].swapaxes(0, 1)
        self.normals = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
        self.spheres = [spheres[spheres >= 0] for spheres in mapping.cell_spheres.numpy().T]
        self.gamma = mapping.cell_gamma.numpy()

    def __call__(self, cloud: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map one cloud (N, 3) within the unit ball to features (R, V, C)."""
        num_spheres, num_vertices, channels = self.shape
        features = np.zeros((num_spheres * channels, num_vertices))
        for point in cloud:
            norm = math.sqrt(point @ point)
            fan = self.fans[(self.vertices @ point).argmax()]
            corners = self.faces[fan[(self.normals[fan] @ point).min(axis=1).argmax()]]
            cell = min(int(norm * len(self.gamma)), len(self.gamma) - 1)
            spheres = self.spheres[cell][:, None]
            offsets = point - (spheres[..., None] + 1) / len(features) * self.vertices[corners]
            features[spheres, corners] += np.exp(-self.gamma[cell] * (offsets * offsets).sum(axis=2))
        return features.reshape(num_spheres, channels, num_vertices).swapaxes(1, 2)


def draw_clouds(batch: int, num_points: int) -> Tensor:
    """Draw clouds (B, N, 3) whose largest norm is 1."""
    torch.manual_seed(0)
    clouds = torch.randn(batch, num_points, 3)
    return clouds / clouds.norm(dim=-1).amax(dim=-1)[:, None, None]


def build_mapping(
    kind: str, level: int, num_spheres: int, channels: int, num_points: int, batch: int, device: str = "cpu"
) -> Built:
    """Build a mapping and its loop, and compare them on one cloud."""
    mapping = MAPPINGS[kind](level, num_spheres, channels)
    clouds = draw_clouds(batch, num_points)
    loop, first = PointLoop(mapping), clouds[0].double().numpy()
    expected = torch.from_numpy(loop(first))
    mapping, clouds = mapping.to(device), clouds.to(device)
    difference = float((mapping(clouds[:1])[:, :, 0].cpu() - expected).norm() / expected.norm())
    if not difference <= LARGEST_DIFFERENCE:
        raise RuntimeError(f"mapping {kind} and its loop differ by {difference:.2g} of the norm; nothing was timed")
    return Built({"batched": lambda: mapping(clouds), "looped": lambda: loop(first)})


def build_loading(source: str, num_points: int, batch: int) -> Built:
    """Build the data module; it prepares batches in the process itself, which is the slowest way."""
    from csgnn_dgl.tasks.classification import ModelNetData  # the rest of this module needs no Lightning

    data = ModelNetData(source=source, num_points=num_points, batch_size=batch)
    data.setup("fit")
    loader: Any = data.train_dataloader()
    if len(loader) < BATCHES:
        loader = list(loader) * BATCHES
    return Built({"fetch": lambda: sum(1 for _ in itertools.islice(loader, BATCHES))})


def build_steps(
    size: Size,
    device: str = "cpu",
    bf16: bool = False,
    recompute: bool = False,
    parts: int = 1,
    compile_mode: str | None = None,
    num_points: int = 1024,
) -> Built:
    """Build whole steps of the classifier from clouds in the memory of the host.

    Parameters
    ----------
    size
        The model and batch.
    device
        Where mapping, model and optimiser run.
    bf16, recompute, compile_mode
        Whether under bfloat16 autocast, whether levels are computed a second time, and the mode of ``torch.compile``.
    parts
        How many micro-batches a training step accumulates.
    """
    torch.manual_seed(0)
    form = "auto" if compile_mode is None else "fast"
    model = new_model(size, recompute=recompute, num_points=num_points, form=form).to(device)
    assert isinstance(model, CSGNN)
    network = model.forward_grid if compile_mode is None else compiled(model.forward_grid, compile_mode)
    optimiser = torch.optim.Adam(model.parameters())
    points = draw_clouds(size.batch, num_points)
    labels = torch.arange(size.batch) % size.num_classes

    def predict(some: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            with torch.no_grad():
                features = model.mapping(some.to(device))
            return network(features).float()

    def training() -> None:
        model.train()
        optimiser.zero_grad()
        for some, wanted in zip(points.chunk(parts), labels.to(device).chunk(parts), strict=True):
            (nn.functional.cross_entropy(predict(some), wanted) / parts).backward()
        optimiser.step()

    def inference() -> None:
        model.eval()
        with torch.inference_mode():
            predict(points)

    if compile_mode is not None:  # what cannot be compiled is noticed here
        training()
        inference()
    return Built({"training": training, "inference": inference})


MEMORY_MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "recompute": {"recompute": True},
    "accumulate 4": {"parts": 4},
    "accumulate 4, recompute": {"parts": 4, "recompute": True},
    "bf16": {"bf16": True},
    "bf16, recompute": {"bf16": True, "recompute": True},
}
"""Ways to train on a batch that need less memory: options of `build_steps`."""
