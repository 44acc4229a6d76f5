"""Several trained models of the DOS on the same test snapshots: the rows of Table 2."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import Tensor

from csgnn_dgl.data import Snapshots, check_elements
from csgnn_dgl.errors import InputError
from csgnn_dgl.tasks.dos.data import DOSData
from csgnn_dgl.tasks.dos.evaluation import MEAN_ROW, Prediction, mean_prediction, predict
from csgnn_dgl.tasks.dos.trained import TrainedDOS

READING = ("source", "grid", "offset", "valences")


def compare_models(
    models: Sequence[tuple[str, TrainedDOS]], source: str | None = None, progress: bool = False
) -> tuple[list[Prediction], Snapshots]:
    """Predict the test snapshots with each model, and with the training means.

    Models that were trained without a structure (``data.holdout``) predict that structure only. Those of the same kind
    and config make one row, in which each structure was predicted by the model that had not seen it.

    Parameters
    ----------
    models
        Names and models; all have the same source of data, and either all or none had a structure held out.
    source
        Another source of data than the models' own.
    progress
        Show a progress bar on stderr where reading takes long.

    Returns
    -------
    predictions
        One for each row, the training means last.
    snapshots
        The test snapshots, in the order of the predictions.

    Raises
    ------
    InputError
        If the models do not fit each other or the data.
    """
    first = models[0]
    for name, model in models[1:]:
        for key in READING:
            if (key != "source" or source is None) and model.data.get(key) != first[1].data.get(key):
                raise InputError(
                    f"{name} was trained with data.{key} = {model.data.get(key)!r} and {first[0]} with "
                    f"{first[1].data.get(key)!r}; compare runs on the same data"
                )
    rows = _rows(models)
    holdouts = sorted(str(key) for key in next(iter(rows.values())))
    for name, row in rows.items():
        if sorted(str(key) for key in row) != holdouts:
            raise InputError(
                f"{name} has runs with data.holdout {', '.join(str(key) for key in row)} and others have "
                f"{', '.join(holdouts)}; give each model the same"
            )
    parts: list[Snapshots] = []
    found: dict[str, list[Tensor]] = {name: [] for name in [*rows, MEAN_ROW]}
    sizes: dict[str, int | None] = {MEAN_ROW: None}
    for holdout in next(iter(rows.values())):
        data = _data(first[1], source, holdout, progress)
        parts.append(data.snapshots("test"))
        for name, row in rows.items():
            network = row[holdout].network
            check_elements(parts[-1], network.elements)
            prediction = predict(name, network, parts[-1])
            found[name].append(prediction.dos_per_atom)
            sizes[name] = prediction.num_parameters
        found[MEAN_ROW].append(mean_prediction(data.snapshots("train"), parts[-1]).dos_per_atom)
    predictions = [Prediction(name, torch.cat(dos), sizes[name]) for name, dos in found.items()]
    return predictions, Snapshots(tuple(item for part in parts for item in part))


def _rows(models: Sequence[tuple[str, TrainedDOS]]) -> dict[str, dict[str | None, TrainedDOS]]:
    """Sort the models into rows: the model of each structure held out, or the one model that had all."""
    rows: dict[str, dict[str | None, TrainedDOS]] = {}
    names: dict[str, str] = {}
    for name, model in models:
        holdout = model.data.get("holdout")
        if holdout is None:
            row = name
        else:
            kind = json.dumps([model.facts.get("model"), model.network.config], sort_keys=True)
            row = names.setdefault(kind, name)
        if holdout in rows.setdefault(row, {}):
            raise InputError(f"{name} is there twice; give each run once")
        rows[row][holdout] = model
    return rows


def _data(model: TrainedDOS, source: str | None, holdout: str | None, progress: bool) -> DOSData:
    stored = model.data
    return DOSData(
        source=stored["source"] if source is None else source,
        holdout=holdout,
        grid=model.grid,
        offset=stored["offset"],
        valences=stored["valences"],
        progress=progress,
    )
