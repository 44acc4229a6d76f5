"""Classifiers side by side: what is trained and tested, and the table that comes of it."""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import csgnn_dgl
from csgnn_dgl.data import CloudDataset
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.models.base import plain
from csgnn_dgl.models.trust import trusting
from csgnn_dgl.tasks.classification.comparison_figure import comparison_figure
from csgnn_dgl.tasks.classification.data import ModelNetData
from csgnn_dgl.tasks.classification.evaluation import mcnemar_p, wilson_interval
from csgnn_dgl.tasks.classification.report import PREDICTIONS
from csgnn_dgl.tasks.classification.task import TASK
from csgnn_dgl.training.config import config_of_checkpoint
from csgnn_dgl.training.lettering import save_figure
from csgnn_dgl.training.report import markdown_table
from csgnn_dgl.training.results import Results
from csgnn_dgl.training.runs import Run
from csgnn_dgl.training.sweep import Entry, Sweep
from csgnn_dgl.training.workers import Job, Tell, carry_out_jobs

TESTED = {"z": ("z", "SO3"), "SO3": ("SO3",)}
"""Under which rotations a model is tested that was trained under one."""

COLUMNS = tuple(f"{trained}/{tested}" for trained, every in TESTED.items() for tested in every)
"""Names of the accuracies: rotation in training / rotation in testing."""

PAIRED = ("z/SO3", "SO3/SO3")
"""The accuracies for which each row is compared with the first one."""

COST = "cost.json"
"""File of the number of parameters and the time of inference in a run folder."""

BATCH, WARM_UP, TIMED = 32, 2, 10
"""Clouds of a batch whose inference is timed, batches that are not timed, and batches that are."""

LEGEND = (
    "x/y: accuracy (%) after training under random rotations x and testing under y: z about the vertical axis, SO3 any."
    " In parentheses the 95 % Wilson interval over the test shapes; ± the standard deviation over the seeds. p: exact "
    "McNemar test against the first row, on the same rotated shapes, with the first seed. Same answer: share of "
    "randomly rotated copies of test shapes (10 of each of at most 200) that get the answer of the unrotated shape, "
    "after training under z and under SO3. Minutes: processor time of one training, validation included; clouds/s: "
    "training clouds for each second of it. ms/cloud: inference of one cloud in batches of 32 on one core."
)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A row of the table.

    Parameters
    ----------
    name
        Its name.
    config
        Options ``model`` and whatever else is its own, as for `csgnn_dgl.training.fit`.
    run
        A finished run folder that is tested instead.
    test
        Further options of its tests, as for `csgnn_dgl.training.evaluate`.
    """

    name: str
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    run: str | None = None
    test: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def entries_of(
    candidates: Iterable[Candidate],
    data: Mapping[str, Any],
    seeds: Sequence[int] = (0,),
    rotations: Sequence[str] = tuple(TESTED),
    trainer: Mapping[str, Any] | None = None,
) -> list[Entry]:
    """Return what is trained and tested: each candidate under each rotation with each seed.

    Trainings that are the same in all options are done once.

    Parameters
    ----------
    candidates
        The rows.
    data
        Options of `ModelNetData`, the same for all.
    seeds
        Seeds.
    rotations
        Rotations that are trained under.
    trainer
        Options of the trainer, the same for all.
    """
    common = {"task": TASK.name, "trainer": {"accelerator": "cpu", "devices": 1, **(trainer or {})}}
    entries: list[Entry] = []
    for candidate in candidates:
        test = merged({"consistency": True}, candidate.test)
        if candidate.run is not None:
            entries.append(_entry_of_run(candidate, data, seeds[0], common, test))
            continue
        for rotation in rotations:
            turned = {"train_rotation": rotation, "test_rotations": list(TESTED[rotation])}
            for seed in seeds:
                config = merged(common, {"data": {**data, **turned}, "seed_everything": seed}, candidate.config)
                name = f"{candidate.name}-{rotation}-{seed}"
                twin = next((entry.name for entry in entries if entry.config == config), None)
                entries.append(Entry(name, candidate.name, common if twin else config, twin, test))
    return entries


def _entry_of_run(
    candidate: Candidate, data: Mapping[str, Any], seed: int, common: Mapping[str, Any], test: Mapping[str, Any]
) -> Entry:
    run = Run(Path(candidate.run or "").resolve())
    rotation = run.config.get("data", {}).get("train_rotation")
    if rotation not in TESTED:
        raise InputError(f"{run.path} was trained under the rotation {rotation!r}; give runs trained under z or SO3")
    if not run.best.is_file():
        raise InputError(f"{run.path} has no checkpoints/best.ckpt; give a run that was trained")
    tested = {"data": {**data, "test_rotations": list(TESTED[rotation])}, "seed_everything": seed}
    return Entry(f"{candidate.name}-{rotation}-{seed}", candidate.name, common, str(run.path), merged(test, tested))


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested options on top of each other; of those that stand in several layers the last one counts."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return result


def headline(results: Results) -> str:
    """Say what a test found in a few words."""
    return ", ".join(f"{row['rotation']} {100 * row['accuracy']:.1f} %" for row in results.rows)


def measure_costs(sweep: Sweep, say: Callable[[str], None]) -> None:
    """Time the inference of one run of each row, one after the other, and keep it beside the run's results."""
    rows: dict[str, Entry] = {}
    for entry in sweep.entries:
        if sweep.finished(entry):
            rows.setdefault(entry.row, entry)
    missing = [entry for entry in rows.values() if not (sweep.run(entry).path / COST).is_file()]
    if missing:
        say(f"timing the inference of {len(missing)} model(s)")
    work = []
    for entry in missing:
        arguments = (str(sweep.trained(entry).path), dict(entry.test.get("data", {})))
        work.append(Job(entry.row, measure_cost, arguments, sweep.folder / "logs" / f"{entry.row}.log"))
    with trusting(*sweep.trust), closing(carry_out_jobs(work)) as every:
        for news in every:
            if news.kind == "failed":
                say(f"the inference of {news.name} could not be timed: {news.value}")
            elif news.kind == "done":
                with atomic_write(sweep.run(rows[news.name]).path / COST) as file:
                    file.write_text(json.dumps(news.value, indent=1), encoding="utf-8")


def measure_cost(run: str, data: Mapping[str, Any], tell: Tell) -> dict[str, float]:
    """Count the parameters of a trained model and time its inference on test shapes, on the processor."""
    path = Run(Path(run)).best
    config = config_of_checkpoint(path, TASK)
    network = CLASSIFIERS.load(path)
    clouds = ModelNetData(**{**config.get("data", {}), **data}).test_clouds
    chosen = np.arange(BATCH * (WARM_UP + TIMED)) % len(clouds)
    points = CloudDataset(clouds.subset(chosen)).__getitems__(range(len(chosen)))["points"]
    seconds = []
    with torch.no_grad():
        for batch in points.split(BATCH):
            start = time.process_time()
            network(batch)
            seconds.append(time.process_time() - start)
    return {
        "parameters": sum(own.numel() for own in network.parameters()),
        "milliseconds_per_cloud": 1000 * statistics.median(seconds[WARM_UP:]) / BATCH,
    }


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """One accuracy of a row.

    Parameters
    ----------
    seeds
        The accuracy with each seed.
    num_shapes
        Test shapes.
    mean, deviation
        Over the seeds; no deviation of one.
    interval
        95 % Wilson interval of the mean over the shapes.
    p
        Of McNemar's exact test against the first row; None in the first row and where it was not asked for.
    """

    seeds: dict[int, float]
    num_shapes: int
    mean: float
    deviation: float | None
    interval: tuple[float, float]
    p: float | None

    def __str__(self) -> str:
        spread = "" if self.deviation is None else f" ± {100 * self.deviation:.1f}"
        low, high = (100 * end for end in self.interval)
        return f"{100 * self.mean:.1f}{spread} ({low:.1f}–{high:.1f})"


@dataclasses.dataclass(frozen=True)
class Row:
    """What is known of one candidate; None or missing where it is not.

    Parameters
    ----------
    name
        Its name.
    accuracies
        By the names in `COLUMNS`.
    consistency
        Share of rotated copies with the same answer, by the rotation of training; means over the seeds.
    parameters, milliseconds_per_cloud
        Number of weights, and time of inference.
    epochs, minutes, clouds_per_second
        Of the trainings: the most epochs, mean minutes of the processor, mean training clouds per second of it.
    """

    name: str
    accuracies: dict[str, Accuracy]
    consistency: dict[str, float]
    parameters: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    clouds_per_second: float | None = None
    milliseconds_per_cloud: float | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The table of a sweep.

    Parameters
    ----------
    rows
        Its rows, those without any result included.
    protocol
        How it came about.
    """

    rows: list[Row]
    protocol: dict[str, Any]

    def __str__(self) -> str:
        """Return tables, legend and protocol in Markdown."""
        shown = [name for name in COLUMNS if any(name in row.accuracies for row in self.rows)]
        first: list[list[str]] = []
        for row in self.rows:
            cells = [row.name]
            for name in shown:
                found = row.accuracies.get(name)
                cells.append(str(found or "–"))
                if name in PAIRED:
                    cells.append("–" if found is None or found.p is None else f"{found.p:.2g}")
            first.append(cells)
        head = ["model", *(word for name in shown for word in ((name, "p") if name in PAIRED else (name,)))]
        second = [
            [
                row.name,
                *(_cell(row.consistency.get(name), "{:.1f} %", 100) for name in TESTED),
                _cell(row.parameters, "{:,}"),
                _cell(row.epochs, "{}"),
                _cell(row.minutes, "{:.1f}"),
                _cell(row.clouds_per_second, "{:.0f}"),
                _cell(row.milliseconds_per_cloud, "{:.3g}"),
            ]
            for row in self.rows
        ]
        titles = ["model", *(f"same answer, {name}" for name in TESTED)]
        titles += ["parameters", "epochs", "minutes", "clouds/s", "ms/cloud"]
        facts = "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in self.protocol.items())
        return "\n\n".join([markdown_table(head, first), markdown_table(titles, second), LEGEND, f"Protocol: {facts}."])

    def write(self, folder: Path) -> None:
        """Write ``comparison.json``, ``comparison.md`` and ``comparison.png`` into a folder."""
        with atomic_write(folder / "comparison.png") as file:
            save_figure(comparison_figure(self.rows, COLUMNS, tuple(TESTED)), file, dpi=130)
        with atomic_write(folder / "comparison.md") as file:
            text = f"# Comparison\n\n{self}\n\n![Accuracy and consistency of each model](comparison.png)\n"
            file.write_text(text, encoding="utf-8")
        with atomic_write(folder / "comparison.json") as file:
            file.write_text(json.dumps(plain(dataclasses.asdict(self)), indent=1), encoding="utf-8")

    @classmethod
    def of(cls, sweep: Sweep) -> Comparison:
        """Make the table of what is finished in a sweep from the files in its run folders, without the models."""
        by_row: dict[str, list[Entry]] = {}
        for entry in sweep.entries:
            by_row.setdefault(entry.row, []).append(entry)
        tested = {
            row: [_Tested(sweep, entry) for entry in entries if sweep.finished(entry)]
            for row, entries in by_row.items()
        }
        first = next(iter(tested.values()))
        rows = [_row(name, own, [] if own is first else first) for name, own in tested.items()]
        return cls(rows, _protocol(sweep, [item for own in tested.values() for item in own]))


class _Tested:
    """What the files of a finished entry say."""

    def __init__(self, sweep: Sweep, entry: Entry) -> None:
        folder, trained = sweep.run(entry), sweep.trained(entry)
        results = folder.results
        assert results is not None
        (model,) = results.models.values()
        self.rotation: str = model["training"]["train_rotation"]
        self.seed: int = results.facts["seed"]
        self.consistency: float = results.details["consistency"]["share"]
        kept = np.load(folder.path / PREDICTIONS)
        self.votes = int(kept["votes"].max())
        self.right: dict[str, NDArray[np.bool_]] = {}
        for rotation, votes, predicted in zip(kept["rotation"], kept["votes"], kept["predicted"], strict=True):
            if votes == self.votes:
                self.right[f"{self.rotation}/{rotation}"] = predicted == kept["labels"]
        self.history = trained.history
        self.batch_size: int = trained.config["data"]["batch_size"]
        cost = folder.path / COST
        self.cost: dict[str, Any] = json.loads(cost.read_text(encoding="utf-8")) if cost.is_file() else {}

    @property
    def minutes(self) -> float | None:
        seconds = self.history[-1].get("cpu_seconds")
        return seconds / 60 if seconds else None

    @property
    def clouds_per_second(self) -> float | None:
        last = self.history[-1]
        return last["steps"] * self.batch_size / last["cpu_seconds"] if last.get("cpu_seconds") else None


def _row(name: str, own: Sequence[_Tested], first: Sequence[_Tested]) -> Row:
    accuracies = {}
    for column in COLUMNS:
        right = {item.seed: item.right[column] for item in own if column in item.right}
        if right:
            others = {item.seed: item.right[column] for item in first if column in item.right}
            accuracies[column] = _accuracy(right, others if column in PAIRED else {})
    rotations = {item.rotation for item in own}
    shares = {key: [item.consistency for item in own if item.rotation == key] for key in TESTED if key in rotations}
    cost = next((item.cost for item in own if item.cost), {})
    votes = max((item.votes for item in own), default=1)
    return Row(
        name=name,
        accuracies=accuracies,
        consistency={key: statistics.fmean(values) for key, values in shares.items()},
        parameters=cost.get("parameters"),
        epochs=max((len(item.history) for item in own), default=None),
        minutes=_mean(item.minutes for item in own),
        clouds_per_second=_mean(item.clouds_per_second for item in own),
        milliseconds_per_cloud=votes * cost["milliseconds_per_cloud"] if cost else None,
    )


def _accuracy(right: Mapping[int, NDArray[np.bool_]], first: Mapping[int, NDArray[np.bool_]]) -> Accuracy:
    values = {seed: float(own.mean()) for seed, own in sorted(right.items())}
    count = len(next(iter(right.values())))
    mean = statistics.fmean(values.values())
    shared = next((seed for seed in values if seed in first), None)
    return Accuracy(
        seeds=values,
        num_shapes=count,
        mean=mean,
        deviation=statistics.stdev(values.values()) if len(values) > 1 else None,
        interval=wilson_interval(round(mean * count), count),
        p=None if shared is None else mcnemar_p(first[shared], right[shared]),
    )


def _protocol(sweep: Sweep, tested: Sequence[_Tested]) -> dict[str, Any]:
    data = sweep.facts["data"]
    shapes = {item.right[column].size for item in tested for column in item.right}
    clouds = {int(item.history[0]["steps"] * item.batch_size) for item in tested if "steps" in item.history[0]}
    budget = sweep.budget
    assert budget is not None
    length = f"{budget.epochs} epoch(s)" if budget.epochs else f"{budget.minutes:g} minutes of one core"
    return {
        "data": data["source"],
        **({"training_shapes_from": data["train_shapes"]} if data.get("train_shapes") else {}),
        "training_clouds_per_epoch": ", ".join(map(str, sorted(clouds))) or "–",
        "test_shapes": ", ".join(map(str, sorted(shapes))) or "–",
        "points": data["num_points"],
        "batch": data["batch_size"],
        "budget_of_each_training": length,
        "seeds": ", ".join(map(str, sweep.facts["seeds"])),
        "schedule": sweep.facts["schedule"],
        "validation": data["validation"],
        "processor": ", ".join(sweep.plan["processors"]),
        "version": csgnn_dgl.__version__,
        "equal_cost": "trainings end when the budget is spent, not when they have converged",
    }


def _cell(value: Any, form: str, factor: int = 1) -> str:
    return "–" if value is None else form.format(factor * value)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
