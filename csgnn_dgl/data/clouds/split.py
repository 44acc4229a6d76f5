"""Holding out a part of the training shapes for validation."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import train_test_split

from csgnn_dgl.errors import InputError


def stratified_split(
    labels: ArrayLike, fraction: float = 0.1, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split shapes into a training and a validation part with the same mix of classes.

    A class with a single shape stays in training. Where so few shapes are held out that not every class can
    have one, validation has no shape of some classes; training has one of every class always.

    Parameters
    ----------
    labels
        Class of each shape, (shapes,), whole numbers.
    fraction
        Part of the shapes to hold out, strictly between 0 and 1.
    seed
        The same seed gives the same split.

    Returns
    -------
    training, validation
        Sorted int64 indices into `labels`, without a common member, together all of them.

    Raises
    ------
    InputError
        If `fraction` is not between 0 and 1, or no class has two shapes.
    """
    labels = np.asarray(labels)
    if not 0.0 < fraction < 1.0:
        raise InputError(f"the validation fraction is {fraction}; give a number between 0 and 1.")
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    splittable = np.flatnonzero(counts[classes] > 1)
    if len(splittable) == 0:
        raise InputError(
            f"{len(labels)} training shapes with at most one per class cannot be split into training and "
            f"validation; give at least two shapes of some class."
        )
    num_classes = int((counts > 1).sum())
    # the stratified splitter wants as many shapes on each side as there are classes
    wanted = round(fraction * len(splittable))
    if num_classes <= wanted <= len(splittable) - num_classes:
        _, validation = train_test_split(splittable, test_size=wanted, random_state=seed, stratify=classes[splittable])
    else:
        validation = _spread(classes, splittable, max(1, wanted), seed)
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[validation] = True
    for label in np.setdiff1d(classes[validation], classes[~held_out]):  # large fractions can take a whole class
        held_out[np.flatnonzero(classes == label)[0]] = False
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _spread(classes: NDArray[np.int64], splittable: NDArray[np.int64], wanted: int, seed: int) -> NDArray[np.int64]:
    """Hold out up to `wanted` shapes, always from the class with the largest part still in training."""
    order = np.random.default_rng(seed).permutation(splittable)
    members = {int(label): list(order[classes[order] == label]) for label in np.unique(classes[order])}
    totals = {label: len(shapes) for label, shapes in members.items()}
    chosen: list[int] = []
    while len(chosen) < wanted:
        label = max(members, key=lambda c: (len(members[c]) > 1, len(members[c]) / totals[c], totals[c], -c))
        if len(members[label]) < 2:
            break
        chosen.append(members[label].pop())
    return np.array(chosen, dtype=np.int64)
