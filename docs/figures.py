"""Draw the picture of the README: ``python docs/figures.py`` writes it to docs/images."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

import csgnn_dgl
from csgnn_dgl import viz
from csgnn_dgl.data import CloudDataset, builtin_shapes

IMAGES = Path(__file__).parent / "images"


def overview() -> None:
    """From a point cloud to the concentric heterograph to features on it."""
    clouds = builtin_shapes("test")
    chairs = np.flatnonzero(clouds.labels == clouds.class_names.index("chair"))
    points = CloudDataset(clouds)[int(chairs[0])]["points"]
    features = csgnn_dgl.PrismMapping(level=4, num_spheres=16, channels=1)(points).sum(dim=(2, 3))

    figure = plt.figure(figsize=(13, 4.7))
    panels = [figure.add_subplot(1, 3, position, projection="3d") for position in (1, 2, 3)]
    viz.draw_cloud(points[0], panels[0], size=22)
    viz.draw_heterograph(csgnn_dgl.concentric_heterograph(level=1, num_spheres=3), panels[1])
    viz.draw_features(torch.log1p(features), panels[2], on="vertices")
    titles = "a point cloud (N, 3)", "the heterograph of one level", "the cloud's features on 16 spheres (R, V)"
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, y=-0.06, fontsize=13)
    figure.subplots_adjust(0, 0.08, 1, 1, wspace=0)
    figure.savefig(IMAGES / "overview.png", dpi=95)
    plt.close(figure)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    overview()
