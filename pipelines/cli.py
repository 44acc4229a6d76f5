"""The command line that all experiments share: subcommands, config files, run folder, resuming."""

from __future__ import annotations

import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from csgnn_dgl.errors import InputError
from csgnn_dgl.training import RunFolder
from pipelines.arguments import config_files, keys_of, read_yaml
from pipelines.terminal import INTERRUPTED, EpochBar, EpochLines, one_sentence, say

SUBCOMMANDS = {
    "fit": "Train a model in a new run folder, or go on with a run (--resume).",
    "validate": "Measure a checkpoint on the validation data.",
    "test": "Test a checkpoint on the test data.",
}
TRAINER_DEFAULTS = {
    "logger": False,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "log_every_n_steps": 10,
}


class Parser(LightningArgumentParser):
    """A parser whose complaints are one sentence and an `InputError`."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the complaint."""
        raise InputError(one_sentence(message)) from ex


class RunCLI(LightningCLI, ABC):
    """Lightning's command line with this package's run folder, checkpoints and exit codes.

    Parameters
    ----------
    module, data
        The Lightning module and data module of the experiment.
    defaults
        Values of options, by their full names, where they differ from those of the classes.
    runs
        Folder of the run folders, if the options name no other.
    name
        Name of a new run, if the options name no other.
    description
        What the program does, for ``--help``.
    links
        Pairs (source, target) of options: the target takes the value of the source when a training is set up.
    instantiated_links
        The same for values that are known once the data module has been built.
    others
        What further subcommands do, by their names, for ``--help``; the program itself carries them out.
    epoch_line
        Format of each measured value that is printed after an epoch, by its name.
    arguments
        The command line, complete: `pipelines.arguments.prepare` has been through it.
    monitor, mode
        Logged quantity that picks the best checkpoint, and "max" or "min": whether more or less of it is better.
    """

    def __init__(
        self,
        module: type[L.LightningModule],
        data: type[L.LightningDataModule],
        *,
        defaults: Mapping[str, Any],
        runs: str,
        name: str,
        description: str,
        links: Sequence[tuple[str, str]] = (),
        instantiated_links: Sequence[tuple[str, str]] = (),
        others: Mapping[str, str] | None = None,
        epoch_line: dict[str, str],
        arguments: Sequence[str],
        monitor: str = "validation/accuracy",
        mode: str = "max",
    ) -> None:
        self.monitor, self.mode = monitor, mode
        self.defaults, self.runs, self.name = dict(defaults), runs, name
        self.links, self.instantiated_links = links, instantiated_links
        self.others = dict(others or {})
        self.epoch_line = epoch_line
        self.building = ""
        super().__init__(
            module,
            data,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=0,
            parser_class=Parser,
            parser_kwargs={"prog": f"python -m pipelines.{Path(runs).name}", "description": description},
            args=list(arguments),
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the subcommands and which arguments of the trainer's methods are no options."""
        skipped = {"model", "dataloaders", "train_dataloaders", "val_dataloaders", "datamodule"}
        skipped |= {"ckpt_path", "weights_only", "verbose"}
        return dict.fromkeys(SUBCOMMANDS, skipped)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        self.building = subcommand
        skip = {*self.subcommands()[subcommand]}
        parser = self.init_parser(**kwargs)
        self._add_arguments(parser)
        self._subcommand_method_arguments[subcommand] = parser.add_method_arguments(klass, subcommand, skip=skip)
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of the subcommand, and the links between options."""
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "model.seed", compute_fn=int)
        parser.set_defaults(self.defaults)
        if self.building == "fit":
            parser.add_argument("--name", type=str, default=self.name, help="Name of the run folder.")
            parser.add_argument("--runs", type=str, default=self.runs, help="Folder that holds the run folders.")
            parser.add_argument(
                "--resume",
                type=str | None,
                default=None,
                help="Run folder to go on with, under its own config; the latest one if none is named.",
            )
            parser.add_argument("--test_at_end", type=bool, default=False, help="Test the best checkpoint at the end.")
            for source, target in self.links:
                parser.link_arguments(source, target)
            for source, target in self.instantiated_links:
                parser.link_arguments(source, target, apply_on="instantiate")
        else:
            parser.add_argument(
                "--ckpt_path", type=str, required=True, help="Checkpoint, or run folder (its best checkpoint)."
            )
        if self.building == "test":
            parser.add_argument(
                "--output",
                type=str | None,
                default=None,
                help="Folder for the results; by default the run folder, or test-2, ... in it where results exist.",
            )

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        self._subcommand_parsers: dict[str, LightningArgumentParser] = {}
        chooser = parser.add_subcommands()
        for name, text in SUBCOMMANDS.items():
            options = {**kwargs.get(name, {}), "description": text}
            self._subcommand_parsers[name] = self._prepare_subcommand_parser(L.Trainer, name, **options)
            chooser.add_subcommand(name, self._subcommand_parsers[name], help=text)
        for name, text in self.others.items():
            chooser.add_subcommand(name, Parser(description=text), help=text)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the options; a complaint about one that stands in a config file names the file."""
        try:
            self.config = parser.parse_args(args)
        except InputError as error:
            message = str(error)
            quoted = {text.split(".")[-1] for text in re.findall(r"['\"]([\w.-]+)['\"]", message)}
            files = [path for path in config_files(args) if quoted & keys_of(read_yaml(path))]
            place = f" (see {', '.join(map(str, files))})" if files else ""
            raise InputError(f"{message.rstrip('.')}{place}; --help lists the options") from error

    def _parse_ckpt_path(self) -> None:
        """Leave the checkpoint's hyperparameters alone: `prepare` has put its network into the options."""

    @property
    def options(self) -> Any:
        """The options of the chosen subcommand."""
        return self.config[self.subcommand]

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; what they refuse is the user's to mend."""
        try:
            super().instantiate_classes()
        except InputError:
            raise
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise InputError(str(error)) from error

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with the run folder and the progress that fits the terminal."""
        chosen = self._get(self.config_init, "trainer")
        callbacks: list[L.Callback] = list(chosen.get("callbacks") or [])
        bar = chosen.get("enable_progress_bar")
        if bar is None:
            bar = kwargs["enable_progress_bar"] = sys.stdout.isatty()
        if bar:
            callbacks.append(EpochBar())
        self.run_folder: RunFolder | None = None
        if self.subcommand == "fit":
            text = self._parser("fit").dump(self.options, skip_unset=False)
            self.run_folder = RunFolder(
                self.options.runs, self.options.name, text, self.options.resume, self.monitor, self.mode
            )
            callbacks += [self.run_folder, EpochLines(self.epoch_line)]
        else:
            kwargs["enable_checkpointing"] = False
        if "TORCHELASTIC_RUN_ID" in os.environ and chosen.get("devices") == "auto":  # started by torchrun
            local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            kwargs |= {"devices": local, "num_nodes": int(os.environ.get("WORLD_SIZE", "1")) // local}
        return super().instantiate_trainer(callbacks=callbacks, **kwargs)

    def fit(self, model: L.LightningModule, datamodule: L.LightningDataModule) -> None:
        """Train; on Ctrl-C say how to go on."""
        assert self.run_folder is not None
        resumed = str(self.run_folder.last) if self.options.resume else None
        try:
            self.trainer.fit(model, datamodule=datamodule, ckpt_path=resumed, weights_only=True)
        except SystemExit as end:
            self._say_how_to_resume()
            raise SystemExit(INTERRUPTED) from end
        say(f"run folder: {self.run_folder.path}")

    def _say_how_to_resume(self) -> None:
        folder = self.run_folder
        if folder is not None and folder.folder is not None and folder.last.is_file():
            program = self.parser.prog
            say(f"stopped; the last whole epoch is kept, go on with: {program} fit --resume {folder.path}")
        else:
            say("stopped before the first epoch was over; nothing to go on with was kept")

    def test(self, model: L.LightningModule, datamodule: L.LightningDataModule) -> None:
        """Test the checkpoint of the options."""
        self.trainer.test(model, datamodule=datamodule, **self._checkpoint())

    def validate(self, model: L.LightningModule, datamodule: L.LightningDataModule) -> None:
        """Validate the checkpoint of the options."""
        self.trainer.validate(model, datamodule=datamodule, **self._checkpoint())

    def after_fit(self) -> None:
        """Test the best checkpoint, or say how to."""
        assert self.run_folder is not None
        best = self.run_folder.best_checkpoint
        if not best.is_file():
            raise InputError(
                "the training ended before its first epoch was over and no model was kept; raise its limits"
            )
        if not self.options.test_at_end:
            say(f"test it with: {self.parser.prog} test --ckpt_path {best}")
            return
        self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=str(best), verbose=False, weights_only=True)
        self._report(best, self.run_folder.path)

    def after_test(self) -> None:
        """Print and keep the results."""
        checkpoint = Path(self.options.ckpt_path)
        self._report(checkpoint, Path(self.options.output) if self.options.output else free_folder(checkpoint))

    def _report(self, checkpoint: Path, folder: Path) -> None:
        if self.trainer.is_global_zero:
            self.report(checkpoint, folder)

    @abstractmethod
    def report(self, checkpoint: Path, folder: Path) -> None:
        """Print the results of a test and write them to a folder; on the first process only."""

    def _checkpoint(self) -> dict[str, Any]:
        return {"ckpt_path": self.options.ckpt_path, "verbose": False, "weights_only": True}


def free_folder(checkpoint: Path) -> Path:
    """Return the run folder of a checkpoint, or a numbered folder in it where results exist already."""
    home = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    folder, number = home, 1
    while (folder / "results.json").exists():
        number += 1
        folder = home / f"test-{number}"
    return folder


def default_name(arguments: Sequence[str]) -> str:
    """Name a run after its config file."""
    files = config_files(arguments)
    return files[0].stem if files else "run"
