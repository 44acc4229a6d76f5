"""The command line that all tasks share: subcommands, config files, resuming, and what is told of a run."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as L
from lightning.pytorch.callbacks import TQDMProgressBar

import configs
from csgnn_dgl.errors import InputError
from csgnn_dgl.models.base import import_path
from csgnn_dgl.models.trust import EVERYTHING, PACKAGE, trusting
from csgnn_dgl.training import Run, Task
from csgnn_dgl.training.config import (
    STAGES,
    WRITTEN,
    Parser,
    check_file,
    class_paths_of,
    config_of_checkpoint,
    parse,
    parser_of,
    read_yaml,
    words_of,
)
from csgnn_dgl.training.experiment import Experiment, Interrupted, resumable
from csgnn_dgl.training.results import Results
from csgnn_dgl.training.runs import epoch_is_whole
from pipelines.terminal import INTERRUPTED, say

TRUST = "--trust"
"""Option that lets files name any class."""

LATEST = ""
"""What ``--resume`` without a run folder means."""


class Finder(argparse.ArgumentParser):
    """Finds the options that bring others along, and leaves the rest alone."""

    def __init__(self, command: str) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.add_argument("--config", "-c", action="append", default=[])
        self.add_argument("--model")
        self.add_argument("--model.network", dest="network")
        if command == "fit":
            self.add_argument("--resume", nargs="?", const=LATEST)
        else:
            self.add_argument("--ckpt_path")

    def error(self, message: str) -> NoReturn:
        """Raise the complaint."""
        raise InputError(f"{message}; --help lists the options")


def run(
    task: Task,
    arguments: Sequence[str],
    *,
    program: str,
    description: str,
    default: Sequence[str],
    runs: str,
    loss: str,
    others: Mapping[str, tuple[str, Callable[[Sequence[str]], int]]],
) -> int:
    """Parse a command line and carry it out.

    Parameters
    ----------
    task
        What is trained for.
    arguments
        What the user typed.
    program, description
        How the program is called, and what it does.
    default
        What is meant by nothing at all; options without a subcommand are added to it.
    runs
        Folder of the run folders, if the options name no other.
    loss
        Format of the validation loss.
    others
        What further subcommands do, and the programs that carry them out.
    """
    words = list(arguments) or list(default)
    if words[0] in others:
        return others[words[0]][1](words[1:])
    trust = [EVERYTHING] if TRUST in words else []
    words = [word for word in words if word != TRUST] or list(default)
    with trusting(*trust, *class_paths_of(words)):
        return train_or_test(task, words, program, description, default, runs, loss, others)


def train_or_test(
    task: Task,
    words: list[str],
    program: str,
    description: str,
    default: Sequence[str],
    runs: str,
    loss: str,
    others: Mapping[str, tuple[str, Callable[[Sequence[str]], int]]],
) -> int:
    """Carry out a command line that is that of no other program; the arguments are those of `run`."""
    if words[0].startswith("-") and words[0] not in ("-h", "--help"):
        words = [*(["fit"] if any(word.split("=")[0] == "--resume" for word in words) else default), *words]
    parser = Parser(prog=program, description=description)
    chooser = parser.add_subcommands()
    defaults = {"data.progress": sys.stderr.isatty(), **({"runs": runs} if words[0] == "fit" else {})}
    for stage, text in STAGES.items():
        options = parser_of(task, stage, defaults) if stage == words[0] else Parser(description=text)
        chooser.add_subcommand(stage, options, help=text)
    for name, (text, _) in others.items():
        chooser.add_subcommand(name, Parser(description=text), help=text)
    parsed = parse(parser, complete(words, task, runs))
    stage = parsed.subcommand
    chosen = parsed[stage]
    if stage == "test" and not chosen.output and is_alone(checkpoint := Path(chosen.ckpt_path)):
        chosen.output = str(Run(Path(runs) / checkpoint.stem).free_folder())
    bar = chosen.trainer.enable_progress_bar
    bar = sys.stdout.isatty() if bar is None else bar
    callbacks = [*([EpochBar()] if bar else []), *([EpochLines(task.epoch_line)] if stage == "fit" else [])]
    experiment = Experiment(task, stage, chosen, callbacks, progress=bar)
    if stage == "fit":
        return fit(experiment, program)
    results = experiment.evaluate()
    if stage == "validate":
        say(f"\n{results.sections[0].table}\n")
        say(f"validation loss: {loss.format(results.details['validation/loss'])}")
    else:
        tell(results, experiment.output)
    return 0


def is_alone(checkpoint: Path) -> bool:
    """Tell whether a checkpoint is in no run folder, such as those that come with the package; no results go there."""
    return checkpoint.suffix == ".ckpt" and checkpoint.parent.name != "checkpoints"


def fit(experiment: Experiment, program: str) -> int:
    """Train, and say where the run is and what to do with it."""
    try:
        made = experiment.fit()
    except Interrupted as stop:
        if stop.run is None:
            say("stopped before the first epoch was over; nothing to go on with was kept")
        else:
            again = f"{program} fit --resume {stop.run.path}{trust_for(experiment)}"
            if stop.signal is None:
                say(f"stopped; the last whole epoch is kept, go on with: {again}")
            else:
                say(f"stopped by {signal.Signals(stop.signal).name}; all steps are kept, go on with: {again}")
        return INTERRUPTED if stop.signal is None else 128 + stop.signal
    say(f"run folder: {made.path}")
    if experiment.results is not None:
        tell(experiment.results, made.path)
    else:
        say(f"test it with: {program} test --ckpt_path {made.best}{trust_for(experiment)}")
    return 0


def trust_for(experiment: Experiment) -> str:
    """Return the option that a later command needs to build the network of a run."""
    own = type(experiment.module.network).__module__.partition(".")[0] == PACKAGE
    return "" if own else f" {TRUST}"


def tell(results: Results, folder: Path) -> None:
    """Print the results of a test."""
    validation = [
        model["training"]["validation"] for model in results.models.values() if "validation" in model["training"]
    ]
    say(f"\n{results}\n")
    say("; ".join([*(f"validated on {protocol}" for protocol in validation), f"results in {folder}"]))


def complete(words: Sequence[str], task: Task, runs: str) -> list[str]:
    """Put the configs that are named, or that a run or checkpoint brings along, before all other options."""
    command = words[0]
    if command not in STAGES:
        return list(words)
    chosen, others = Finder(command).parse_known_args(words[1:])
    files: list[Any] = [find_config(name) for name in chosen.config]
    given = {word.partition("=")[0].lstrip("-") for word in words if word.startswith("--")}
    for file in files:
        check_file(file, read_yaml(file), given)
    registry = task.module.registry
    model = None if chosen.model is None else import_path(registry.find(chosen.model))
    if command == "fit" and chosen.resume is not None:
        place = resumable(Run.latest(runs) if chosen.resume == LATEST else chosen.resume, files)
        files = [place.config_file]
        check_file(files[0], place.config, WRITTEN)
        others += ["--resume", str(place.path)]
    elif command != "fit" and chosen.ckpt_path is not None:
        files.insert(0, config_of_checkpoint(chosen.ckpt_path, task))
    elif (
        model is not None and not files and (own := configs.FOLDER / Path(runs).name / f"{chosen.model}.yaml").is_file()
    ):
        files, model = [own], None
    network = import_path(registry[chosen.network]) if chosen.network in registry else chosen.network or model
    return [command, *words_of(files), *(["--model.network", network] if network else []), *others]


def find_config(name: str) -> Path:
    """Find a config by its path, or among those that come with the package."""
    try:
        found = configs.find(name)
    except FileNotFoundError as error:
        raise InputError(str(error)) from error
    return found


class EpochBar(TQDMProgressBar):
    """Lightning's progress bar, counting epochs from 1."""

    def on_train_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        """Begin with the bar of an epoch that is gone on with: nobody tells again that it begins."""
        super().on_train_start(trainer, *arguments)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if data.resumes_within_epoch():
            self.on_train_epoch_start(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Begin the bar of the epoch."""
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")


class EpochLines(L.Callback):
    """Prints one line per epoch, which stays where a progress bar does not.

    Parameters
    ----------
    keys
        Format of each measured value by its name.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.keys = keys

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the measured values that `keys` maps to a format."""
        if not epoch_is_whole(trainer):
            say(f"epoch {trainer.current_epoch + 1} was cut short by the limit on time or steps and is not kept")
            return
        values: dict[str, Any] = {**trainer.callback_metrics}
        parts = [form.format(float(values[key])) for key, form in self.keys.items() if key in values]
        say(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: " + ", ".join(parts))
