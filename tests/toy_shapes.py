"""A data set that takes no time: ellipsoids of three kinds, as folders of point files."""

from pathlib import Path

import numpy as np

NUM_POINTS = 64
CLASSES = {"ball": (1.0, 1.0, 1.0), "rod": (1.0, 0.1, 0.1), "slab": (1.0, 1.0, 0.05)}
NETWORK = {"level": 0, "num_spheres": 2, "channels": 2, "base_width": 1}


def write_shapes(folder: Path, num_train: int = 14, num_test: int = 5) -> Path:
    """Write ``class/{train,test}/*.npy`` with `num_train` and `num_test` shapes per class."""
    rng = np.random.default_rng(0)
    for name, axes in CLASSES.items():
        for split, count in (("train", num_train), ("test", num_test)):
            place = folder / name / split
            place.mkdir(parents=True)
            for number in range(count):
                points = rng.normal(size=(NUM_POINTS, 3)) * np.array(axes)
                np.save(place / f"{name}_{number}.npy", points.astype(np.float32))
    return folder
