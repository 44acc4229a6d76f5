"""Training, testing and comparing as plain functions, for scripts, notebooks and the programs in ``pipelines``."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.warnings import PossibleUserWarning

import csgnn_dgl
from csgnn_dgl.errors import InputError
from csgnn_dgl.models.base import Place, checkpoint_file, epochs_of, read_checkpoint
from csgnn_dgl.models.trust import reading, trusting
from csgnn_dgl.training.board import Board
from csgnn_dgl.training.config import (
    WRITTEN,
    Options,
    Stage,
    check_file,
    class_paths,
    config_of_checkpoint,
    instantiate,
    parse,
    parser_of,
    read_yaml,
    words_of,
)
from csgnn_dgl.training.data import EpochData
from csgnn_dgl.training.finite import FiniteGuard
from csgnn_dgl.training.module import TrainingModule
from csgnn_dgl.training.results import Results
from csgnn_dgl.training.runs import Run, RunFolder
from csgnn_dgl.training.stopping import Stopped
from csgnn_dgl.training.task import Task, find_task

Config = Place | Mapping[str, Any]
"""A YAML file, or nested options."""

LONGEST_NAME = 200
"""Characters that the name of a run may have; file systems take 255 bytes, with a number behind it."""

HINTS = (
    ("", PossibleUserWarning),
    (r".*isinstance\(treespec, LeafSpec\)", FutureWarning),
    ("Be aware that when using `ckpt_path`", UserWarning),
)
"""What Lightning warns of and nobody here can do anything about: how the messages begin, and their kinds."""


class Interrupted(KeyboardInterrupt):
    """A training that was stopped by the user or a signal; `run` can go on, if there is a checkpoint.

    Parameters
    ----------
    run
        The run, if it can.
    signal
        The signal, where the training has ended at the end of a step and all of it is kept.
    """

    def __init__(self, run: Run | None, signal: int | None = None) -> None:
        super().__init__()
        self.run, self.signal = run, signal


def fit(
    config: Config | Sequence[Config] = (),
    *,
    task: Task | str | None = None,
    resume: Run | Place | None = None,
    callbacks: Sequence[L.Callback] = (),
    **options: Any,
) -> Run:
    """Train a network.

    Nothing is printed; `callbacks` may tell of the progress. Global seeds are set.

    Parameters
    ----------
    config
        YAML file, nested options, or several of them; of an option that stands in several the last one counts. The
        options are those of ``python -m pipelines.modelnet fit --help``.
    task
        The task, or its name, where the config has no ``task``.
    resume
        Run to go on with, under its own config; it ends where an uninterrupted one does.
    callbacks
        Lightning callbacks.
    **options
        Options on top, such as ``trainer={"max_epochs": 3}``, ``name="mine"`` and ``runs="folder"``.

    Returns
    -------
    Run
        The run folder: checkpoints, history, and with ``test_at_end`` the results.

    Raises
    ------
    InputError
        If something that was given cannot be used.
    Interrupted
        If the user stopped the training.

    Examples
    --------
    >>> runs = [  # doctest: +SKIP
    ...     fit("configs/dos/quick.yaml", model={"learning_rate": rate}, name=f"rate-{rate}")
    ...     for rate in (1e-3, 4e-3)
    ... ]
    >>> print(compare(runs))  # doctest: +SKIP
    """
    configs = [config] if isinstance(config, (str, os.PathLike, Mapping)) else list(config)
    given = [item for item in [*configs, options] if isinstance(item, Mapping)]
    if resume is not None:
        run = resumable(resume, configs)
        configs, options = [run.config_file], {**options, "resume": str(run.path)}
        if task is None:
            whole = run.whole()
            with reading(whole):
                task = find_task(read_checkpoint(whole)["csgnn"]["task"])
    with trusting(*class_paths(given)):
        for item in [options, *reversed(configs)]:
            if isinstance(item, Mapping):
                task = task or item.get("task")
                continue
            content = read_yaml(item)
            check_file(item, content, WRITTEN if resume is not None else {key for each in given for key in each})
            if task is None and "task" in content:
                with reading(item):
                    task = find_task(str(content["task"]))
        if task is None:
            raise InputError("the config names no task; give task, such as 'classification' or 'dos'")
        chosen = find_task(task) if isinstance(task, str) else task
        words = words_of([*configs, options])
        return Experiment(chosen, "fit", parse(parser_of(chosen, "fit"), words), callbacks).fit()


def evaluate(
    run: Run | Place,
    *,
    task: Task | str | None = None,
    split: str = "test",
    callbacks: Sequence[L.Callback] = (),
    **options: Any,
) -> Results:
    """Test a trained network.

    Parameters
    ----------
    run
        Run or run folder (its best checkpoint), or a checkpoint.
    task
        The task, or its name, where it is none of this package.
    split
        "test", whose results are written to the run folder or the option `output`; or "validation".
    callbacks
        Lightning callbacks.
    **options
        Options on top, such as ``data={"votes": 5}``.

    Returns
    -------
    Results
        Values, tables and figures of the test.

    Raises
    ------
    InputError
        If something that was given cannot be used.
    """
    if split not in ("test", "validation"):
        raise InputError(f"split is {split!r}; give 'test' or 'validation'")
    return _of_run(run, task, "test" if split == "test" else "validate", callbacks, options).evaluate()


def compare(
    runs: Iterable[Run | Place], *, task: Task | str | None = None, output: Place | None = None, **options: Any
) -> Results:
    """Test several trained networks on the same data and put them into one table.

    Parameters
    ----------
    runs, task, options
        As in `evaluate`.
    output
        Folder for the results, if they are to be written.

    Returns
    -------
    Results
        Of all runs, side by side.

    Raises
    ------
    InputError
        If something that was given cannot be used, or the runs do not fit each other.
    """
    tested: dict[str, Experiment] = {}
    for run in runs:
        name = run_name(run)
        if name in tested:
            raise InputError(f"{name} is there twice; give each run once")
        experiment = _of_run(run, task, "test", (), options)
        twins = (item.data for item in tested.values() if item.options.data == experiment.options.data)
        experiment.data = next(twins, experiment.data)  # read once
        experiment.run()
        tested[name] = experiment
    results = results_of(tested)
    if output is not None:
        results.write(output)
    return results


def run_name(place: Run | Place) -> str:
    """Name a run in a table: its folder, or the name of its checkpoint file."""
    if isinstance(place, Run):
        return place.name
    path = Path(place)
    alone = path.suffix == ".ckpt" and path.parent.name != "checkpoints"
    return path.stem if alone else Run.at(path).name


def resumable(place: Run | Place, configs: Sequence[Any] = ()) -> Run:
    """Return the run at a place after making sure that it can be continued."""
    run = Run.at(place)
    if configs:
        raise InputError(f"--resume {run.path} goes on under the run's own config; leave --config out")
    if not isinstance(place, Run) and Path(place).suffix == ".ckpt" and Path(place).name != run.last.name:
        raise InputError(
            f"--resume {place}: a run goes on from its last checkpoint only, and this is another one; give {run.path}"
        )
    for path in (run.config_file, run.last):
        if not (path.is_file() or (path == run.last and run.previous.is_file())):
            raise InputError(f"{run.path} cannot be resumed: it has no {path.relative_to(run.path)}; name a run folder")
    run.whole()
    read_yaml(run.config_file)
    return run


class Experiment:
    """One training or test: data, module and trainer, built from options.

    Parameters
    ----------
    task
        The task.
    stage
        "fit", "validate" or "test".
    options
        What `csgnn_dgl.training.config.parse` returned.
    callbacks
        Lightning callbacks.
    progress
        Show Lightning's progress bar where the options do not say whether.

    Raises
    ------
    InputError
        If data, module or trainer refuse an option.
    """

    def __init__(
        self, task: Task, stage: Stage, options: Options, callbacks: Sequence[L.Callback] = (), progress: bool = False
    ) -> None:
        self.task, self.stage, self.options = task, stage, options
        self.folder: RunFolder | None = None
        self.results: Results | None = None
        if stage == "fit":
            text = parser_of(task, stage).dump(options, skip_unset=False)
            named = [Path(str(file)).stem for file in options.config or [] if file is not None]
            name = options.name or next(iter(named), "run")
            check_run_name(name)
            settings = task.monitor, task.mode, task.panels, text, options.resume
            self.folder = RunFolder(options.runs, name, *settings, options.checkpoint_minutes)
            self.guard = FiniteGuard(self.folder, options.skip_not_finite)
            board = Board(self.folder, options.board, text, task.show)
            callbacks = [self.guard, *callbacks, board, self.folder]
        try:
            with quiet():
                L.seed_everything(options.seed_everything, workers=True, verbose=False)
                built = instantiate(task, stage, options)
                self.module: TrainingModule = built.model
                self.data: EpochData = built.data
                self.trainer = _trainer(dict(built.trainer), stage, callbacks, progress)
        except InputError:
            raise
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise InputError(str(error)) from error

    def fit(self) -> Run:
        """Train; see `fit`."""
        assert self.folder is not None
        last = str(self.folder.run.last) if self.options.resume else None
        if self.options.test_at_end:
            self.data.read_test()
        try:
            self._carry_out("fit", last)
        except (KeyboardInterrupt, Stopped) as stop:
            raise Interrupted(self._kept(), stop.number if isinstance(stop, Stopped) else None) from stop
        except OSError as error:
            kept = self._kept()
            left = "nothing was kept" if kept is None else f"{kept.last} is whole, so go on later with --resume"
            raise InputError(
                f"{error.filename or self.options.runs}: {error.strerror or error}; the training has stopped and {left}"
            ) from error
        except (ValueError, RuntimeError, TypeError, LookupError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            if last and not self.folder.started:
                raise InputError(
                    f"{last} holds what no training of this version can go on with ({type(error).__name__}); begin a "
                    "new run, or use the version that wrote it"
                ) from error
            self.guard.explain(self.trainer, self.module)
            raise
        run = self.folder.run
        if not run.best.is_file():
            if self.folder.history:
                raise InputError(
                    f"{run.path} has no best checkpoint: no epoch had a finite validation loss, or it was removed; "
                    "lower model.learning_rate"
                )
            raise InputError(
                "the training ended before its first epoch was over and no model was kept; raise its limits"
            )
        if self.options.test_at_end:
            self.options.ckpt_path, self.options.output = str(run.best), str(run.path)
            self.stage = "test"
            self.results = self.evaluate()
        return run

    def _kept(self) -> Run | None:
        """Return the run, if there is a checkpoint to go on from."""
        begun = None if self.folder is None else self.folder.begun
        return begun if begun is not None and begun.last.is_file() else None

    def evaluate(self) -> Results:
        """Test, and write the results; see `evaluate`."""
        self.run()
        results = results_of({self.module.checkpoint_description()["model"]: self})
        if self.stage == "test":
            self.output = Path(self.options.output or Run.at(self.options.ckpt_path).free_folder())
            if self.trainer.is_global_zero:
                results.write(self.output)
        return results

    def run(self) -> None:
        """Put the test or validation data through the network of the checkpoint."""
        self._carry_out(self.stage, self.options.ckpt_path, verbose=False)

    def _carry_out(self, stage: Stage, checkpoint: str | None, **options: Any) -> None:
        """Let Lightning do its work quietly; Ctrl-C stays a KeyboardInterrupt, where Lightning would end Python."""
        handler = signal.getsignal(signal.SIGINT)
        carry_out = getattr(self.trainer, stage)
        try:
            with quiet():
                carry_out(self.module, datamodule=self.data, ckpt_path=checkpoint, weights_only=True, **options)
        except SystemExit as end:
            raise KeyboardInterrupt from end
        finally:
            if self.folder is not None:
                self.folder.signals.deactivate()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, handler)


def check_run_name(name: str) -> None:
    """Raise InputError unless a name is that of a folder right in the folder of the runs."""
    if name in ("", ".", "..") or len(name) > LONGEST_NAME or not name.isprintable() or {"/", "\\"} & set(name):
        shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
        raise InputError(f"--name is {shown!r}; give the name of one folder, without / (--runs says where it is made)")


def results_of(tested: Mapping[str, Experiment]) -> Results:
    """Put what networks are worth, whose tests were run, into one form; they go by the names of their models."""
    first = next(iter(tested.values()))
    models, more = {}, {}
    for name, experiment in tested.items():
        stored = read_checkpoint(experiment.options.ckpt_path)
        described = {key: value for key, value in stored["csgnn"].items() if key not in ("format", "task", "data")}
        models[name] = {"checkpoint": str(experiment.options.ckpt_path), **epochs_of(stored), **described}
    if len(tested) == 1:
        more = {key: measure(first.module) for key, measure in first.task.extras.items() if first.options.get(key)}
    data: Any = first.data
    facts = {f"{first.stage}_{key}": value for key, value in data.reading().items()}
    facts |= {"seed": data.seed, "version": csgnn_dgl.__version__}
    section = first.task.report({name: experiment.module for name, experiment in tested.items()})
    measures = {key: float(value) for key, value in first.trainer.callback_metrics.items()}
    return Results.of(first.task.name, models, facts, section, more, measures)


def _of_run(
    place: Run | Place, task: Task | str | None, stage: Stage, callbacks: Sequence[L.Callback], options: dict[str, Any]
) -> Experiment:
    path = checkpoint_file(place.best if isinstance(place, Run) else place)
    if task is None:
        with reading(path):
            task = find_task(read_checkpoint(path)["csgnn"]["task"])
    chosen = find_task(task) if isinstance(task, str) else task
    with trusting(*class_paths(options)):
        words = words_of([config_of_checkpoint(path, chosen), options])
        return Experiment(chosen, stage, parse(parser_of(chosen, stage), words), callbacks)


def _trainer(chosen: dict[str, Any], stage: Stage, callbacks: Sequence[L.Callback], progress: bool) -> L.Trainer:
    chosen["callbacks"] = [*(chosen.get("callbacks") or []), *callbacks]
    if chosen["enable_progress_bar"] is None:
        chosen["enable_progress_bar"] = progress
    if stage != "fit":
        chosen["enable_checkpointing"] = False
    if "TORCHELASTIC_RUN_ID" in os.environ and chosen["devices"] == "auto":  # started by torchrun
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        chosen |= {"devices": local, "num_nodes": int(os.environ.get("WORLD_SIZE", "1")) // local}
    return L.Trainer(**chosen)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence `HINTS` and Lightning's own lines."""
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            for message, kind in HINTS:
                warnings.filterwarnings("ignore", message, kind)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
