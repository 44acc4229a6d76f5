"""Completing a command line: default command, config files found, what a checkpoint or a resumed run brings along."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

import configs
from csgnn_dgl.errors import InputError
from csgnn_dgl.models.base import Registry, checkpoint_file, import_path, read_checkpoint
from csgnn_dgl.training.runs import latest_run
from pipelines.terminal import one_sentence

LATEST = ""
"""What ``--resume`` without a run folder means."""


class Finder(argparse.ArgumentParser):
    """Finds the options that bring others along, and leaves the rest alone."""

    def __init__(self, command: str) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.add_argument("--config", "-c", action="append", default=[])
        if command == "fit":
            self.add_argument("--resume", nargs="?", const=LATEST)
        else:
            self.add_argument("--ckpt_path")

    def error(self, message: str) -> NoReturn:
        """Raise the complaint."""
        raise InputError(f"{message}; --help lists the options")


def prepare(arguments: Sequence[str], *, default: Sequence[str], registry: Registry[Any], runs: str) -> list[str]:
    """Complete a command line.

    Parameters
    ----------
    arguments
        What the user typed.
    default
        What is meant by nothing at all; options without a subcommand are added to it.
    registry
        The models of the program.
    runs
        Folder of the run folders.

    Returns
    -------
    list of str
        Arguments for `RunCLI`: the subcommand, its configs, then all other options, which thus override the configs.
    """
    words = list(arguments) or list(default)
    if words[0] in ("-h", "--help"):
        return words
    if words[0].startswith("-"):
        resuming = any(word.split("=")[0] == "--resume" for word in words)
        words = ["fit", *words] if resuming else [*default, *words]
    command = words[0]
    chosen, others = Finder(command).parse_known_args(words[1:])
    files = [find_config(name) for name in chosen.config]
    if command == "fit" and chosen.resume is not None:
        folder = resumable(chosen.resume, runs)
        if files:
            raise InputError(f"--resume {folder} goes on under the run's own config; leave --config out")
        files = [str(folder / "config.yaml")]
        others += ["--resume", str(folder)]
    elif command != "fit" and chosen.ckpt_path is not None:
        path = checkpoint_file(chosen.ckpt_path)
        files.insert(0, json.dumps(config_of_checkpoint(path, registry)))
        others += ["--ckpt_path", str(path)]
    return [command, *(word for file in files for word in ("--config", file)), *others]


def config_files(words: Sequence[str]) -> list[Path]:
    """List the config files in a completed command line."""
    return [Path(value) for option, value in itertools.pairwise(words) if option == "--config" and value[0] != "{"]


def keys_of(content: Any) -> set[str]:
    """Collect the keys at all depths of nested mappings."""
    if not isinstance(content, dict):
        return set()
    return {str(key) for key in content}.union(*(keys_of(value) for value in content.values()))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a config.

    Raises
    ------
    InputError
        If it is no YAML or holds no options.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {one_sentence(str(error))}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no config: it holds no options; see the files in configs")
    return content


def find_config(name: str) -> str:
    """Find a config by its path, or among those that come with the package, and make sure that it can be read."""
    try:
        found = configs.find(name)
    except FileNotFoundError as error:
        raise InputError(str(error)) from error
    read_yaml(found)
    return str(found)


def resumable(place: str, runs: str) -> Path:
    """Return the run folder at a place (the folder, a checkpoint in it, or `LATEST`) after making sure of its files."""
    folder = latest_run(Path(runs)) if place == LATEST else Path(place)
    if folder.suffix == ".ckpt":
        folder = folder.parent.parent
    config, last = folder / "config.yaml", folder / "checkpoints" / "last.ckpt"
    for path in (config, last):
        if not path.is_file():
            raise InputError(f"{folder} cannot be resumed: it has no {path.relative_to(folder)}; name a run folder")
    read_checkpoint(last)
    read_yaml(config)
    return folder


def config_of_checkpoint(path: Path, registry: Registry[Any]) -> dict[str, Any]:
    """Return the options that a checkpoint brings along: its network, and the data of the run folder around it.

    Raises
    ------
    InputError
        If the checkpoint holds a model of another program.
    """
    description = read_checkpoint(path)["csgnn"]
    if description["task"] != registry.task:
        raise InputError(f"{path} holds no model of this program; it knows {', '.join(registry)}")
    kind, stored = registry.find(description["model"]), description["config"]
    config: dict[str, Any] = {"model": {"network": {"class_path": import_path(kind), "init_args": stored}}}
    beside = path.parent.parent / "config.yaml"
    if beside.is_file():
        run = read_yaml(beside)
        config |= {"data": run.get("data", {}), "seed_everything": run.get("seed_everything", 0)}
    elif "data" in description:
        config["data"] = description["data"]
    elif "num_points" in stored:
        config["data"] = {"num_points": stored["num_points"]}
    return config
