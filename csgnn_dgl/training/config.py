"""Configs: YAML files and mappings become options, which are checked against the classes of a task."""

from __future__ import annotations

import inspect
import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

import jsonargparse
import lightning.pytorch as L
import yaml
from jsonargparse import get_loader, set_loader
from jsonargparse._common import parsing_settings  # set_parsing_settings has no way back
from torch import nn

from csgnn_dgl.bounds import OPTIONS, bounded_tensors, check_counts, check_entries, read_bytes
from csgnn_dgl.data.text import check_name
from csgnn_dgl.errors import InputError, one_sentence
from csgnn_dgl.models.base import Place, checkpoint_file, import_path, plain, read_checkpoint
from csgnn_dgl.models.trust import EVERYTHING, PACKAGE, check_import, imported, nameable, names_of, reading, trusted
from csgnn_dgl.training.task import Task

Options = jsonargparse.Namespace
Stage = Literal["fit", "validate", "test"]
STAGES: dict[Stage, str] = {
    "fit": "Train a model in a new run folder, or go on with a run (--resume).",
    "validate": "Measure a checkpoint on the validation data.",
    "test": "Test a checkpoint on the test data.",
}
HARMLESS = tuple(
    f"lightning.pytorch.callbacks.{name}"
    for name in (
        "DeviceStatsMonitor",
        "EarlyStopping",
        "GradientAccumulationScheduler",
        "LearningRateMonitor",
        "ModelSummary",
        "StochasticWeightAveraging",
        "Timer",
        "TQDMProgressBar",
    )
)
"""Classes of Lightning's that a config may name as well: they write no files and call nothing that is named."""

CONFIG_HELP = (
    "Path of a YAML file with options. Neither it nor a run or checkpoint may name classes from outside of this "
    "package or write outside of the working folder, unless they are given here as well, or --trust."
)

CLASS_KEYS = {"class_path", "network", "callbacks", "logger", "strategy", "plugins", "profiler", "accelerator"}
"""Options whose value may be the import path of a class; so may those be that begin with ``make_``."""

WRITTEN = ("output", "trainer.default_root_dir")
"""Options that say where files are written, of which some may be there already; a run gets a folder of its own."""

TRAINER_DEFAULTS = {
    "logger": False,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "log_every_n_steps": 10,
}


class Parser(jsonargparse.ArgumentParser):
    """A parser whose complaints are one sentence and an `InputError`, and whose files have bounds."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, parser_mode=options.pop("parser_mode", MODE), **options)

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Options:  # type: ignore[override]
        """Refuse words that are not text: no config or result could hold them."""
        for word in args or ():
            check_name(word)
        return super().parse_args(args, *rest, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the complaint."""
        raise InputError(one_sentence(message)) from ex

    def format_help(self, *arguments: Any) -> str:
        """Leave out the classes of torch, every one of which could be a network."""
        return re.sub(r",\s+known\s+subclasses:\s+torch\.nn[^()]*", "", super().format_help(*arguments))


def parser_of(task: Task, stage: Stage, defaults: Mapping[str, Any] | None = None) -> Parser:
    """Return the parser of all options of a stage."""
    parser = Parser(description=STAGES[stage])
    parser.add_argument("--config", "-c", action="config", help=CONFIG_HELP)
    parser.add_argument("--task", choices=[task.name], default=task.name, help="What is trained for.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Seed of everything random.")
    parser.add_class_arguments(L.Trainer, "trainer", instantiate=False, fail_untyped=False, sub_configs=True)
    parser.add_class_arguments(task.module, "model", fail_untyped=False, sub_configs=True)
    parser.add_class_arguments(task.data, "data", fail_untyped=False, sub_configs=True)
    parser.link_arguments("seed_everything", "data.seed")
    parser.link_arguments("seed_everything", "model.seed")
    registry = task.module.registry
    parser.set_defaults({f"trainer.{key}": value for key, value in TRAINER_DEFAULTS.items()})
    if stage == "fit":
        parser.add_argument("--name", type=str | None, default=None, help="Name of the run folder; that of the config.")
        parser.add_argument("--runs", type=str, default="runs", help="Folder that holds the run folders.")
        resume = "Run folder to go on with, under its own config; the latest one if none is named."
        parser.add_argument("--resume", type=str | None, default=None, help=resume)
        skip = "Leave out steps whose loss or gradients are not finite and count their batches, instead of stopping."
        minutes = "Minutes after which a checkpoint is written within an epoch; 0: after every step."
        parser.add_argument("--checkpoint_minutes", type=float, default=10.0, help=minutes)
        board = "What TensorBoard gets beside the measures: norms and hyperparameters; full: pictures too."
        parser.add_argument("--board", type=Literal["none", "scalars", "full"], default="full", help=board)
        parser.add_argument("--skip_not_finite", type=bool, default=False, help=skip)
        parser.add_argument("--test_at_end", type=bool, default=False, help="Test the best checkpoint at the end.")
        for name in task.links:
            given = name in inspect.signature(task.data).parameters
            apply_on: Any = "parse" if given else "instantiate"
            parser.link_arguments(f"data.{name}", f"model.network.init_args.{name}", apply_on=apply_on)
    else:
        tested = "Checkpoint, or run folder (its best checkpoint)."
        parser.add_argument("--ckpt_path", type=str, required=True, help=tested)
    if stage == "test":
        output = (
            "Folder for the results; by default the run folder, or test-2, ... in it where results exist; of a "
            "checkpoint in no run folder, a run folder of its name."
        )
        parser.add_argument("--output", type=str | None, default=None, help=output)
        for name, measure in task.extras.items():
            text = (inspect.getdoc(measure) or name).splitlines()[0]
            parser.add_argument(f"--{name}", type=bool, default=False, help=f"Also: {text[0].lower()}{text[1:]}")
    parser.set_defaults({"model.network": {"class_path": import_path(registry[task.network])}, **(defaults or {})})
    return parser


def parse(parser: Parser, words: Sequence[str]) -> Options:
    """Parse options; a complaint about one that stands in a config file names the file.

    Raises
    ------
    InputError
        If an option is unknown, or has a value that it cannot have.
    """
    try:
        allowed: set[str] = set()
        for option, value in itertools.pairwise(words):
            if option == "--config":
                allowed |= _allowed_in(
                    *((json.loads(value), "the config") if value[0] == "{" else (read_yaml(value), value))
                )
        with _named_classes_only(allowed):
            return parser.parse_args(list(words))
    except InputError as error:
        message = str(error)
        if "import path denylist" in message:
            message = "a class outside of this package is named; give --trust if you trust the file that names it"
        quoted = {text.split(".")[-1] for text in re.findall(r"['\"]([\w.-]+)['\"]", message)}
        named = [Path(value) for option, value in itertools.pairwise(words) if option == "--config" and value[0] != "{"]
        files = [path for path in named if quoted & keys_of(read_yaml(path))]
        place = f" (see {', '.join(map(str, files))})" if files else ""
        raise InputError(f"{message.rstrip('.')}{place}; --help lists the options") from error


def instantiate(task: Task, stage: Stage, options: Options) -> Options:
    """Build module and data of options; a network gets to know what it was made with."""

    def make(kind: type[nn.Module], **arguments: Any) -> nn.Module:
        known = issubclass(kind, L.LightningModule)
        return kind(**arguments) if known else task.module.registry.build(kind, **arguments)

    named = options.as_dict()
    check_counts("the options", {key: named.get(key) for key in ("model", "data")})
    allowed = _allowed_in(named, "the config")
    with _named_classes_only(allowed), reading("the config"), bounded_tensors("the options"):
        return parser_of(task, stage).instantiate(options, instantiators=[(make, nn.Module, True)])


def class_paths(content: Any, key: str = "") -> set[str]:
    """Collect the import paths that stand in options where classes are named."""
    if isinstance(content, Mapping):
        return set().union(*(class_paths(value, str(name)) for name, value in content.items()))
    if isinstance(content, (list, tuple)):
        return set().union(*(class_paths(value, key) for value in content))
    names = key in CLASS_KEYS or key.startswith("make_")
    return {content} if names and isinstance(content, str) and IMPORT_PATH.fullmatch(content) else set()


def class_paths_of(words: Iterable[str]) -> set[str]:
    """Collect the import paths of classes that somebody typed on a command line; what stands in files is none of it."""
    found: set[str] = set()
    key = ""
    for word in words:
        option, equals, value = word.partition("=")
        if option.startswith("--"):
            key = option.rstrip("+").rpartition(".")[2].lstrip("-")
            key = "network" if key == "model" else key
            if not equals:
                continue
            word = value
        if word[:1] in ("{", "["):
            try:
                found |= class_paths(load_yaml(word, "the options"), key)
            except yaml.YAMLError:
                continue  # the parser says what is wrong with it
        else:
            found |= class_paths(word, key)
    return found


def check_file(path: Place, content: Mapping[str, Any], given: Collection[str] = ()) -> None:
    """Make sure that what a file of options asks for is nothing but a training: it may come from anywhere.

    Parameters
    ----------
    path
        The file, for the message.
    content
        The options in it.
    given
        Options that are given elsewhere, so that those of the file do not count.

    Raises
    ------
    InputError
        If it names a class that is neither this package's nor trusted, or writes outside of the working folder.
    """
    with reading(path):
        for name in sorted(class_paths(content) - set(HARMLESS)):
            check_import(name)
    if EVERYTHING in trusted():
        return
    if content.get("resume") is not None:
        raise InputError(f"{path} says resume = {content['resume']!r}; give --resume on the command line")
    trainer = content.get("trainer")
    found = {
        **content,
        "trainer.default_root_dir": trainer.get("default_root_dir") if isinstance(trainer, dict) else None,
    }
    for key in WRITTEN:
        place = found.get(key)
        outside = isinstance(place, str) and not Path(place).absolute().resolve().is_relative_to(Path.cwd().resolve())
        if outside and key not in given:
            raise InputError(
                f"{path} says {key} = {place!r}, which is outside of the working folder; give --{key} on the command "
                "line, or --trust"
            )


def _allowed_in(content: Any, place: Place) -> set[str]:
    """Return the import paths of the classes in options, after making sure that they may be named."""
    found: set[str] = set()
    with reading(place):
        for path in class_paths(content) - set(HARMLESS):
            check_import(path)
            found |= names_of(path)
    return found


@contextmanager
def _named_classes_only(paths: Iterable[str]) -> Iterator[None]:
    """Let jsonargparse import nothing but this package, these paths and what is trusted, wherever it reads a name."""
    if EVERYTHING in trusted():
        yield
        return
    kept = {key: parsing_settings[key] for key in ("import_path_verdicts", "import_paths_enforced")}
    allowed = [PACKAGE, *sorted({*paths, *nameable()}.union(*map(names_of, HARMLESS)))]
    try:
        jsonargparse.set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=allowed)
        yield
    finally:
        parsing_settings.update(kept)


IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def words_of(configs: Iterable[Place | Mapping[str, Any]]) -> list[str]:
    """Write configs as a command line; of options that stand in several the last one counts.

    Raises
    ------
    InputError
        If a name in one is not text.
    """
    configs = list(configs)
    for item in configs:
        check_name(json.dumps(plain(item), ensure_ascii=False))
    texts = [json.dumps(plain(item)) if isinstance(item, Mapping) else str(item) for item in configs]
    return [word for text in texts for word in ("--config", text)]


def keys_of(content: Any) -> set[str]:
    """Collect the keys at all depths of nested mappings."""
    if not isinstance(content, dict):
        return set()
    return {str(key) for key in content}.union(*(keys_of(value) for value in content.values()))


def read_yaml(path: Place) -> dict[str, Any]:
    """Read a config.

    Raises
    ------
    InputError
        If it is no YAML or holds no options.
    """
    try:
        content = load_yaml(read_bytes(Path(path), OPTIONS).decode("utf-8"), path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {one_sentence(str(error))}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no config: it holds no options; see the files in configs")
    return content


def load_yaml(text: str, place: Place) -> Any:
    """Read YAML of a text.

    Raises
    ------
    InputError
        If it is nested too deeply, refers to itself again and again, or has a value that is none of YAML's plain ones.
    yaml.YAMLError
        If it is no YAML.
    """
    try:
        content = yaml.safe_load(text)
    except RecursionError:
        raise InputError(f"{place}: its values are nested too deeply; write them flatter") from None
    except (ValueError, TypeError, OverflowError, AttributeError) as error:  # as of the date 2024-13-45
        raise InputError(f"{place} cannot be read as YAML: {one_sentence(str(error))}; quote what is a text") from None
    check_entries(place, content)
    for value in _values(content):
        if not isinstance(value, (str, int, float, type(None))):
            raise InputError(
                f"{place} has {value}, which YAML takes for a {type(value).__name__}, as no option can be; quote a text"
            )
    return content


def _values(content: Any) -> Iterator[Any]:
    """Go through all keys and values that hold no others."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from _values(value)
    elif isinstance(content, list):
        for value in content:
            yield from _values(value)
    else:
        yield content


def _loaded(text: str) -> Any:
    """Load what stands in a file or value of options, for `Parser`: bounded, and otherwise as jsonargparse does."""
    if len(text) > OPTIONS:
        raise InputError(f"a value of {len(text)} letters is no option; give a shorter one")
    if text[:1] in ("{", "[", "&", "*", "!", "?", "-") or "\n" in text:
        load_yaml(text, "the options")
    return get_loader("yaml")(text)


MODE = "csgnn_dgl"
"""Name of the loader `_loaded` among jsonargparse's."""

set_loader(MODE, _loaded, (yaml.YAMLError, InputError))


def run_config(checkpoint: Path) -> dict[str, Any]:
    """Return the config of the run folder around a checkpoint; empty if it is in none."""
    beside = checkpoint.parent.parent / "config.yaml"
    return read_yaml(beside) if beside.is_file() else {}


def config_of_checkpoint(place: Place, task: Task) -> dict[str, Any]:
    """Return the options that a checkpoint brings along: its network, and the data of the run folder around it.

    Raises
    ------
    InputError
        If the checkpoint is that of another task, or holds no model that is known here or may be named; see
        `csgnn_dgl.models.trust`.
    """
    path, registry = checkpoint_file(place), task.module.registry
    description = read_checkpoint(path)["csgnn"]
    if description["task"] != task.name:
        raise InputError(f"{path} holds no {registry.noun}; give a checkpoint that holds one")
    run, stored = run_config(path), description["config"]
    with reading(path):
        kind = registry.find(description["model"])
        for name in (name for name in stored if name.startswith("make_")):
            imported(stored[name])
    config: dict[str, Any] = {"model": {"network": {"class_path": import_path(kind), "init_args": stored}}}
    config["ckpt_path"] = str(path)
    if run:
        config |= {"data": run.get("data", {}), "seed_everything": run.get("seed_everything", 0)}
    elif "data" in description:
        config["data"] = description["data"]
    elif "num_points" in stored:
        config["data"] = {"num_points": stored["num_points"]}
    return config
