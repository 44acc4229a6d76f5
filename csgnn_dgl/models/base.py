"""The contract of all models: a config taken from the constructor, names, and checkpoints that give a model back."""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import itertools
import os
import pkgutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import torch
from torch import nn

from csgnn_dgl.bounds import bounded_tensors, check_announced, check_counts, check_entries, check_regular
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.models.places import weights_file
from csgnn_dgl.models.trust import check_import, reading, registered
from csgnn_dgl.seal import is_sealed, write_sealed

if TYPE_CHECKING:
    from typing_extensions import Self

FORMAT = 4
"""Number of the format of checkpoints that this version writes."""

PREFIX = "network."
"""What the names of the model's weights begin with in a checkpoint's ``state_dict``."""

Symmetry = Literal["none", "icosahedral", "SO3"]
"""Rotations of its input that change nothing in what a model says: none, the 60 of the icosahedron, or all."""

Place = str | os.PathLike[str]
"""A checkpoint file, or a run folder, which stands for its best checkpoint."""

Kind = TypeVar("Kind", bound=nn.Module)


class Model(nn.Module):
    """A module that knows how it was made.

    The arguments of the constructor are taken down as the model is made, defaults included. A subclass declares what
    it adds and hands the rest on: ``def __init__(self, hidden: int = 16, **shared: Any)`` with
    ``super().__init__(**shared)``. What a constructor resolves (None, say, to a number) it may put into `config`.

    Attributes
    ----------
    config
        Plain-valued arguments that make the same model.
    registry
        Where models with the same call stand.
    symmetry
        Rotations of its input under which the model promises the same answer.
    tiny
        Arguments of a model that is quick to try.
    """

    config: dict[str, Any]
    registry: ClassVar[Registry[Any]]
    symmetry: Symmetry = "none"
    tiny: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" not in vars(cls):
            return
        constructor = vars(cls)["__init__"]

        @functools.wraps(constructor)
        def capturing(self: Model, *arguments: Any, **named: Any) -> None:
            if type(self).__init__ is capturing:  # not the one of a base class, which a subclass calls
                self.config = arguments_of(type(self), *arguments, **named)
            constructor(self, *arguments, **named)

        cls.__init__ = capturing  # type: ignore[method-assign, assignment]

    @classmethod
    def from_checkpoint(cls, place: Place, map_location: str | torch.device = "cpu") -> Self:
        """Load a trained model, in evaluation mode.

        Parameters
        ----------
        place
            A checkpoint that this package wrote, or a run folder (its best checkpoint). Nothing in it is unpickled but
            tensors and plain values, and nothing is imported: import the module of a model from elsewhere before.
        map_location
            Device of the weights.

        Returns
        -------
        Model
            With ``class_names`` set to the names of the classes, where the checkpoint has them.

        Raises
        ------
        InputError
            If the file is missing, unreadable, or the checkpoint of something else.
        """
        model = cls.registry.load(place, map_location)
        if not isinstance(model, cls):
            raise InputError(f"{checkpoint_file(place)} holds a {type(model).__name__}; give one of a {cls.__name__}")
        return model

    @classmethod
    def from_pretrained(cls, name: Place, sha256: str | None = None, map_location: str | torch.device = "cpu") -> Self:
        """Load weights that come with the package, or those of a release, in evaluation mode.

        Parameters
        ----------
        name
            One of :func:`csgnn_dgl.pretrained`, a file, or an address, which is fetched once and kept in the cache.
        sha256
            Checksum that the file has to have; an address is not used without one.
        map_location
            Device of the weights.

        Raises
        ------
        InputError
            If there is nothing of that name or checksum, or it holds something else.

        Examples
        --------
        >>> CSGNN.from_pretrained("builtin-small").class_names[:2]
        ('airplane', 'bed')
        """
        return cls.from_checkpoint(weights_file(name, sha256), map_location)


class Registry(Mapping[str, type[Kind]]):
    """Models that are called in the same way, by their short names.

    The modules of a package are imported when a name is first asked for, and register their models with
    :meth:`register`. A class from elsewhere goes by its class path, as ``mine.PointNet``.

    Parameters
    ----------
    task
        What the models are for, as it stands in checkpoints.
    noun
        What messages call one of them.
    package
        The package whose modules hold them.
    """

    def __init__(self, task: str, noun: str, package: str) -> None:
        self.task, self.noun, self.package = task, noun, package
        self._kinds: dict[str, type[Kind]] = {}
        self._complete = False

    def register(self, name: str) -> Callable[[type[Kind]], type[Kind]]:
        """Return a decorator that gives a class a short name.

        Raises
        ------
        ValueError
            If another class has the name.
        """

        def decorate(kind: type[Kind]) -> type[Kind]:
            known = self._kinds.setdefault(name, kind)
            if import_path(known) != import_path(kind):
                raise ValueError(f"{import_path(known)} is called {name!r}; give {import_path(kind)} another name")
            self._kinds[name] = kind  # its module may have been loaded again
            registered(kind)
            return kind

        return decorate

    def _all(self) -> dict[str, type[Kind]]:
        if not self._complete:
            for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            self._complete = True
        return self._kinds

    def __getitem__(self, name: str) -> type[Kind]:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))

    def __len__(self) -> int:
        return len(self._all())

    def find(self, name: str) -> type[Kind]:
        """Return the class of a short name or class path.

        Raises
        ------
        InputError
            If there is none.
        """
        if name in self:
            return self[name]
        kind, reason = None, ""
        check_import(name)
        try:
            kind = pkgutil.resolve_name(name) if "." in name else None
        except (ImportError, AttributeError, ValueError) as error:
            reason = f" ({error})"
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            known = ", ".join(self)
            raise InputError(
                f"{name!r} is no {self.noun}{reason}; give one of {known}, or a class path as mine.PointNet"
            )
        return kind  # type: ignore[return-value]

    def name_of(self, kind: type[nn.Module]) -> str:
        """Return the short name of a class, or its class path."""
        return next((name for name, known in self._all().items() if known is kind), import_path(kind))

    def build(self, kind: str | type[nn.Module], /, **config: Any) -> Any:
        """Make a model from its name or class and arguments; one from elsewhere gets its ``config`` here."""
        made = self.find(kind) if isinstance(kind, str) else kind
        model = made(**config)
        if not hasattr(model, "config"):
            model.__dict__["config"] = arguments_of(made, **config)
        return model

    def describe(self, model: nn.Module, **facts: Any) -> dict[str, Any]:
        """Return what a reader needs to make a model again, and other facts, as plain values.

        It goes to ``checkpoint["csgnn"]``.

        Raises
        ------
        InputError
            As `config_of`.
        """
        described = plain({"config": config_of(model), **facts})
        return {"format": FORMAT, "task": self.task, "model": self.name_of(type(model)), **described}

    def write(self, path: Place, model: nn.Module, **facts: Any) -> None:
        """Write the checkpoint of a model, with `facts` in its description."""
        weights = {f"{PREFIX}{name}": value for name, value in model.state_dict().items()}
        write_checkpoint(path, {"csgnn": self.describe(model, **facts), "state_dict": weights})

    def load(self, place: Place, map_location: str | torch.device = "cpu") -> Kind:
        """Load a trained model; see :meth:`Model.from_checkpoint`."""
        return self.restore(read_checkpoint(place), place, map_location)

    def restore(self, checkpoint: Mapping[str, Any], place: Place, map_location: str | torch.device = "cpu") -> Kind:
        """Make the model of a checkpoint that `read_checkpoint` returned; `place` is for messages.

        Raises
        ------
        InputError
            If the checkpoint is of something else.
        """
        file, description = checkpoint_file(place), checkpoint["csgnn"]
        if description["task"] != self.task:
            raise InputError(f"{file} holds no {self.noun}; give a checkpoint that holds one")
        name, weights = description["model"], checkpoint["state_dict"].items()
        try:
            with reading(file), bounded_tensors(file):
                model = self.build(name, **description["config"])
            model.load_state_dict({key.removeprefix(PREFIX): value for key, value in weights if key.startswith(PREFIX)})
        except InputError as error:
            if str(error).startswith((f"{file} ", f"{file}:")):
                raise
            if name in self:
                raise InputError(f"{file}: {error}") from error
            raise InputError(f"{file} holds no {self.noun} that can be made here: {error}") from error
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{file} does not fit the model {name!r} of this version ({type(error).__name__}); use the version "
                "that wrote it"
            ) from error
        model.__dict__["class_names"] = tuple(description.get("class_names", ()))
        return model.to(map_location).eval()


def arguments_of(kind: type[nn.Module], /, *arguments: Any, **named: Any) -> dict[str, Any]:
    """Return the arguments of a constructor by name, defaults included, as plain values.

    Raises
    ------
    TypeError
        If the constructor takes arguments that have no name.
    """
    parameters: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__[: kind.__mro__.index(nn.Module)]:
        if "__init__" not in vars(base):
            continue
        _, *own = inspect.signature(vars(base)["__init__"]).parameters.values()
        for parameter in own:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise TypeError(f"{base.__qualname__} takes {parameter}, which has no name in a config; give it one")
            if parameter.kind is not parameter.VAR_KEYWORD:
                parameters.setdefault(parameter.name, parameter)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in own):
            break
    defaults = {name: item.default for name, item in parameters.items() if item.default is not item.empty}
    return plain({**defaults, **dict(zip(parameters, arguments, strict=False)), **named})


def config_of(model: nn.Module) -> Mapping[str, Any]:
    """Return the arguments that a model was made with.

    Raises
    ------
    InputError
        If it does not know them.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, Mapping):
        raise InputError(
            f"{type(model).__name__} keeps no config, so that no checkpoint could give it back; derive it from "
            "csgnn_dgl.models.Model, or make it with the registry's build"
        )
    return config


def import_path(thing: Any) -> str:
    """Return the path that a class or function is imported by.

    Raises
    ------
    InputError
        If there is none.
    """
    name = getattr(thing, "__qualname__", "<")
    if "<" in name:
        raise InputError(f"{thing!r} cannot be imported by a name; define it at the top of a module")
    return f"{thing.__module__}.{name}"


def plain(value: Any) -> Any:
    """Turn nested mappings and sequences into dicts and lists of str, int, float, bool and None.

    Such values are all that ``torch.load(weights_only=True)`` and JSON need to know. Classes and functions become the
    paths that they are imported by.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "item"):
        return value.item()
    return import_path(value) if callable(value) else str(value)


def checkpoint_file(place: Place) -> Path:
    """Return the checkpoint at a place: the file itself, or the best one of a run folder."""
    path = Path(place)
    return path / "checkpoints" / "best.ckpt" if path.is_dir() else path


def write_checkpoint(path: Place, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint of tensors and plain values, whole and with a checksum."""
    content = io.BytesIO()
    torch.save(dict(checkpoint), content)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        write_sealed(content.getbuffer(), file)


def read_checkpoint(place: Place) -> dict[str, Any]:
    """Read a checkpoint on the CPU without unpickling anything but tensors and plain values.

    Parameters
    ----------
    place
        The file, or a run folder (its best checkpoint).

    Returns
    -------
    dict
        In the present format: the model's weights under ``"state_dict"``, others among them, and its description under
        ``"csgnn"``: ``format``, ``task``, ``model`` (short name or class path), ``config``, and further facts.

    Raises
    ------
    InputError
        If there is no such file, if it is no checkpoint, or not one of this package, or if a weight is not finite.
    """
    file = checkpoint_file(place)
    if not file.is_file():
        raise InputError(f"{file}: there is no such checkpoint; give the path of a .ckpt file or of a run folder")
    try:
        is_sealed(file)
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}; give another one") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); give another one") from error
    try:
        size = _check_container(file)
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{file} cannot be read as a checkpoint ({type(error).__name__}); it is damaged or of another program, "
            "give another one"
        ) from error
    upgrade(checkpoint, file)
    own = [value for value in checkpoint["state_dict"].values() if torch.is_tensor(value)]
    check_announced(file, float(sum(value.numel() * value.element_size() for value in own)), size)
    if name := first_not_finite(checkpoint["state_dict"].items()):
        raise InputError(
            f"{file} has weights that are not finite ({name}): its training failed; give another checkpoint"
        )
    return checkpoint


def _check_container(file: Path) -> int:
    """Return the size of a checkpoint, after making sure that nothing in it is packed, as torch packs nothing."""
    size = check_regular(file)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as container:
            members = container.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise InputError(f"{file} is packed, which no checkpoint is; give another one")
        check_announced(file, float(sum(member.file_size for member in members)), size)
    return size


def first_not_finite(tensors: Iterable[tuple[str, Any]]) -> str:
    """Return the name of the first tensor that has a NaN or an infinity, or nothing."""
    return next((name for name, value in tensors if torch.is_tensor(value) and not value.isfinite().all()), "")


def epochs_of(checkpoint: Mapping[str, Any]) -> dict[str, int]:
    """Return how many epochs the model of a checkpoint was trained for, where Lightning wrote it."""
    return {"epochs_trained": int(checkpoint["epoch"]) + 1} if "epoch" in checkpoint else {}


def upgrade(checkpoint: Any, file: Place) -> None:
    """Bring a checkpoint to the present format, in place.

    Raises
    ------
    InputError
        If it holds no model of this package, or is of a newer format.
    """
    description = checkpoint.get("csgnn") if isinstance(checkpoint, dict) else None
    foreign = f"{file} holds no csgnn_dgl model; give a checkpoint written by this package's fit"
    if not isinstance(description, dict) or not isinstance(description.get("config"), dict):
        raise InputError(foreign)
    if not isinstance(checkpoint.get("state_dict"), dict):
        raise InputError(foreign)
    check_entries(file, description)
    check_counts(file, description["config"])
    for key, kind in DESCRIPTION.items():
        if not isinstance(description.get(key, kind()), kind):
            raise InputError(f"{file} is damaged: its {key} is a {type(description[key]).__name__}; give another one")
    if not all(isinstance(key, str) for part in (checkpoint["state_dict"], description["config"]) for key in part):
        raise InputError(f"{file} is damaged: it has names that are no text; give another one")
    while (number := description.get("format")) != FORMAT:
        if not isinstance(number, int) or number not in UPGRADES:
            raise InputError(
                f"{file} has format {number!r} and this version reads {FORMAT}; use the version that wrote it"
            )
        UPGRADES[number](checkpoint)
    if not {"task", "model"} <= description.keys():
        raise InputError(foreign)


DESCRIPTION: dict[str, type] = {"task": str, "model": str, "class_names": list, "data": dict, "training": dict}
"""What the facts in ``checkpoint["csgnn"]`` are."""


def _from_2(checkpoint: dict[str, Any]) -> None:
    """Say what a model is for, where only those of the DOS had a name; CSGNN and CSGNN-DOS have an encoder now."""
    description = checkpoint["csgnn"]
    task, model = ("dos", description["model"]) if "model" in description else ("classification", "csgnn")
    description.update(format=3, task=task, model=model)
    if model == "csgnn":
        old, new = f"{PREFIX}blocks.", f"{PREFIX}encoder.blocks."
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {
            new + name.removeprefix(old) if name.startswith(old) else name: value for name, value in weights.items()
        }


POSED = ("csgnn", "dgcnn", "kpconv", "pointnet", "prin", "riconv", "rigcn", "sfcnn", "shellnet", "sphnet")
"""The classifiers that have an option `pose` since format 4."""


def _from_3(checkpoint: dict[str, Any]) -> None:
    """Say that classifiers had no pose."""
    description = checkpoint["csgnn"]
    description["format"] = 4
    if description["task"] == "classification" and description["model"] in POSED:
        description["config"] = {"pose": "none", **description["config"]}


UPGRADES: dict[int, Callable[[dict[str, Any]], None]] = {2: _from_2, 3: _from_3}
"""What brings a checkpoint of each older format to the next one, in place."""


MAY_DIFFER = {"form", "dropout", "smoothing", "recompute", "chunk"}
"""Keys of a config that change no weight and no prediction."""


MOST = 10
"""Classes that a message names."""


def check_fits(
    path: Place,
    checkpoint: Mapping[str, Any],
    config: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    model: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Make sure that a checkpoint belongs to a network of this config and to these classes.

    Parameters
    ----------
    path
        Where the checkpoint came from, for the message.
    checkpoint
        What `read_checkpoint` returned.
    config
        The network's own ``config``.
    class_names
        Classes of the data in the order of their labels; None skips the comparison.
    model
        The network's name in its registry; None skips the comparison.
    defaults
        What entries of the config are that the version which wrote the checkpoint did not have.

    Raises
    ------
    InputError
        If an entry of the config or the classes differ: all of them are named with both values.
    """
    description = checkpoint["csgnn"]
    names = description.get("class_names")
    if class_names is not None and names is not None and list(names) != list(class_names):
        raise InputError(
            f"{path} was trained on other classes than those of the data ({_difference(names, class_names)}); give "
            f"the data it was trained for with --data.source"
        )
    stored, wanted = {**(defaults or {}), **description["config"]}, plain(config)
    stored = {key: value for key, value in stored.items() if key in wanted or key in description["config"]}
    if model not in (None, description.get("model")):
        stored, wanted = {**stored, "model": description.get("model")}, {**wanted, "model": model}
    differing = [
        f"{key} = {stored.get(key)!r} in the file and {wanted.get(key)!r} here"
        for key in sorted({*stored, *wanted} - MAY_DIFFER)
        if stored.get(key) != wanted.get(key)
    ]
    if differing:
        raise InputError(
            f"{path} is a checkpoint of another architecture ({'; '.join(differing)}); "
            "leave model.network out of the options, or give the checkpoint's own config"
        )


def _difference(stored: Sequence[str], given: Sequence[str]) -> str:
    """Say which classes of a checkpoint and of the data have no counterpart, or where their order differs."""
    parts = [
        f"only in the {where}: {_listed(own, others)}"
        for where, own, others in (("checkpoint", stored, given), ("data", given, stored))
        if set(own) - set(others)
    ]
    if parts:
        return f"{len(stored)} classes in the checkpoint and {len(given)} in the data; {'; '.join(parts)}"
    pairs = enumerate(itertools.zip_longest(stored, given))
    number, pair = next(item for item in pairs if item[1][0] != item[1][1])
    return f"the same in another order: class {number} is {pair[0]!r} in the checkpoint and {pair[1]!r} in the data"


def _listed(own: Sequence[str], others: Sequence[str]) -> str:
    """List the names that the others lack, up to `MOST` of them."""
    lacking = [repr(name) for name in own if name not in set(others)]
    more = f" and {len(lacking) - MOST} more" if len(lacking) > MOST else ""
    return ", ".join(lacking[:MOST]) + more
