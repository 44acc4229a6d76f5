"""One door to all data: a word or a path becomes clouds."""

import os
from collections.abc import Sequence
from pathlib import Path

from csgnn_dgl.data.clouds.folders import class_folders, read_folder
from csgnn_dgl.data.clouds.modelnet import hdf5_files, read_modelnet40
from csgnn_dgl.data.clouds.records import FEATURES, PointClouds
from csgnn_dgl.data.clouds.shapes import builtin_shapes
from csgnn_dgl.data.splits import CLOUD_SPLITS
from csgnn_dgl.data.text import check_name
from csgnn_dgl.errors import InputError


def load(
    source: str | os.PathLike[str],
    split: str,
    num_points: int = 1024,
    seed: int = 0,
    up_axis: str = "auto",
    progress: bool = False,
    features: Sequence[str] = (),
) -> PointClouds:
    """Load one split of a data set.

    Parameters
    ----------
    source
        ``"builtin"`` for the built-in shapes, ``"builtin-scanned"`` for scans of them, the folder of
        ``modelnet40_ply_hdf5_2048``, or a folder of classes with ``train`` and ``test`` folders of meshes or point
        files.
    split
        ``"train"`` or ``"test"``.
    num_points
        Points per cloud.
    seed
        Seed with which surfaces are sampled and the built-in shapes made. It belongs to the data set, not to
        a training: keep it the same for training and testing.
    up_axis
        The axis that points up in the files: ``"y"``, ``"z"``, or ``"auto"``, which is z for folders of
        classes and depends on the number of points for HDF5 files (see :func:`read_modelnet40`).
    progress
        Show a progress bar on stderr where reading takes long.
    features
        What the points have to carry, of :data:`csgnn_dgl.data.clouds.records.FEATURES`: the built-in shapes have
        normals, HDF5 files what they have data sets of.

    Returns
    -------
    PointClouds
        The clouds, z up.

    Raises
    ------
    InputError
        If there is no such source, it cannot be read, or its points do not carry the features.
    """
    for name in features:
        if name not in FEATURES or list(features).count(name) > 1:
            raise InputError(f"features are {list(features)}; name each of {', '.join(FEATURES)} at most once.")
    if up_axis not in ("auto", "y", "z"):
        raise InputError(f"up_axis is {up_axis!r}; give 'auto', 'y' or 'z'.")
    if str(source) == "builtin-scanned":
        return builtin_shapes(split, num_points, seed, progress=progress, normals=bool(features), scanned=True)
    if str(source) == "builtin":
        if others := [name for name in features if name != "normals"]:
            raise InputError(f"the built-in shapes have no {others[0]}; ask for normals, or for no features.")
        return builtin_shapes(split, num_points, seed, progress=progress, normals="normals" in features)
    folder = Path(source).expanduser()
    check_name(folder)
    if not folder.is_dir():
        found = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(
            f"data source {str(source)!r} {found}; give 'builtin', the folder of modelnet40_ply_hdf5_2048 (fetched "
            f"by `python -m pipelines.modelnet download .`), or a folder of classes (class/train/*, class/test/*)."
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"{folder}: there is no permission to read the folder; mend it.")
    listed = any((folder / f"{name}_files.txt").exists() for name in CLOUD_SPLITS)
    if not listed and class_folders(folder):
        if features:
            raise InputError(
                f"{folder}: {features[0]} are not read from folders of classes; give HDF5 files with a data set of "
                "them, or ask for no features."
            )
        return read_folder(folder, split, num_points, seed, "z" if up_axis == "auto" else up_axis, progress)
    if listed or hdf5_files(folder):
        return read_modelnet40(folder, split, up_axis, num_points, features)
    inside = folder / "modelnet40_ply_hdf5_2048"
    hint = (
        f"did you mean {str(inside)!r}?"
        if inside.is_dir()
        else "see docs/how-to/own-data.md on arranging your own data."
    )
    raise InputError(
        f"data source {str(source)!r} has neither train_files.txt nor class folders (class/train/*, "
        f"class/test/*); {hint}"
    )
