"""Several tested models of the DOS on the same snapshots: the rows of Table 2."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch

from csgnn_dgl.data import Snapshots
from csgnn_dgl.errors import InputError
from csgnn_dgl.tasks.dos.evaluation import EITHER_ROW, Prediction
from csgnn_dgl.tasks.dos.module import DOSModule


def side_by_side(tested: Mapping[str, DOSModule]) -> tuple[list[Prediction], Snapshots]:
    """Put the predictions of tested modules together, by the names of their models, and those of the training means.

    Models that were trained without a structure (``data.holdout``) predict that structure only. Those of the same kind
    and config make one row, in which each structure was predicted by the model that had not seen it. All have the same
    data, and either all or none had a structure held out.

    Returns
    -------
    predictions, snapshots
        One prediction for each row, the training means last if there are any; and the snapshots, in the order of the
        predictions.

    Raises
    ------
    InputError
        If the modules do not fit each other.
    """
    (first, reading), *others = ((name, module.data.reading()) for name, module in tested.items())
    for name, other in others:
        for key, value in reading.items():
            if key != "holdout" and other[key] != value:
                raise InputError(
                    f"{name} was trained with data.{key} = {other[key]!r} and {first} with {value!r}; compare runs on "
                    "the same data"
                )
    rows = _rows(tested)
    order = list(next(iter(rows.values())))
    for name, row in rows.items():
        if row.keys() != set(order):
            raise InputError(
                f"{name} has runs with data.holdout {', '.join(map(str, row))} and others have "
                f"{', '.join(map(str, order))}; give each model the same"
            )
    predictions = [_joined(name, [row[holdout].predictions[0] for holdout in order]) for name, row in rows.items()]
    parts = [next(iter(rows.values()))[holdout] for holdout in order]
    means = [mean for module in parts for mean in module.predictions[1:]]
    if means:  # of all parts or of none, since their data are the same
        names = {mean.name for mean in means}
        predictions.append(_joined(names.pop() if len(names) == 1 else EITHER_ROW, means))
    return predictions, Snapshots(tuple(item for module in parts for item in module.snapshots))


def _joined(name: str, parts: list[Prediction]) -> Prediction:
    return Prediction(name, torch.cat([part.dos_per_atom for part in parts]), parts[0].num_parameters)


def _rows(tested: Mapping[str, DOSModule]) -> dict[str, dict[str | None, DOSModule]]:
    """Sort the modules into rows: that of each structure held out, or the one that had all."""
    rows: dict[str, dict[str | None, DOSModule]] = {}
    names: dict[str, str] = {}
    for name, module in tested.items():
        holdout = module.data.holdout
        kind = name if holdout is None else json.dumps([type(module.network).__name__, module.network.config])
        row = names.setdefault(kind, name)
        if holdout in rows.setdefault(row, {}):
            raise InputError(f"{name} is there twice; give each run once")
        rows[row][holdout] = module
    return rows
