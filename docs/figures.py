"""Draw the picture of the README: ``python docs/figures.py`` writes it to docs/images."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

import csgnn_dgl
from csgnn_dgl.data import CloudDataset, builtin_shapes

IMAGES = Path(__file__).parent / "images"


def overview() -> None:
    """From a point cloud to the concentric heterograph to features on it."""
    clouds = builtin_shapes("test")
    airplanes = np.flatnonzero(clouds.labels == clouds.class_names.index("airplane"))
    points = CloudDataset(clouds)[int(airplanes[2])]["points"]
    features = csgnn_dgl.PrismMapping(level=3, num_spheres=4, channels=4)(points).sum(dim=(2, 3))

    figure = plt.figure(figsize=(12, 4.4))
    panels = [figure.add_subplot(1, 3, position, projection="3d") for position in (1, 2, 3)]
    csgnn_dgl.draw_heterograph(csgnn_dgl.concentric_heterograph(level=1, num_spheres=3), panels[1])
    csgnn_dgl.draw_features(torch.log1p(3 * features), panels[2])
    panels[0].scatter(*points[0].T, s=4, c=points[0, :, 2], cmap="viridis", linewidths=0)
    panels[0].set_axis_off()
    panels[0].set_box_aspect((1, 1, 1), zoom=2)
    panels[0].view_init(elev=22, azim=-50)
    panels[0].set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    panels[0].set_title("a point cloud (N, 3)", y=-0.04)
    panels[1].set_title("the heterograph of one level:\nintra and radial edges", y=-0.04)
    panels[2].set_title("its features on R spheres (R, V, B, C)", y=-0.04)
    figure.subplots_adjust(0, 0.08, 1, 1, wspace=0)
    figure.savefig(IMAGES / "overview.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    overview()
