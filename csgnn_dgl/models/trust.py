"""What files may name: configs, runs and checkpoints can come from anywhere, and a class that is built is code."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from operator import attrgetter
from os import PathLike
from typing import Any

from torch import nn

from csgnn_dgl.errors import InputError

PACKAGE = "csgnn_dgl"

LIBRARIES = ("torch", "lightning", "torchmetrics", "dgl")
"""Packages that are always imported here, so that their being so says nothing about what the user wants."""

EVERYTHING = "*"

_REGISTERED: set[str] = set()
"""Import paths of the classes that stand in a registry."""

_TRUSTED: ContextVar[frozenset[str]] = ContextVar("trusted", default=frozenset())
_READING: ContextVar[str] = ContextVar("reading", default="")
"""The file that is being read, or nothing while code is at work, which may name what it likes."""


@contextmanager
def trusting(*paths: str) -> Iterator[None]:
    """Let files name these import paths besides the classes of this package.

    Without it they may name modules (``torch.nn.Module``) of this package, and others of yours that are registered or
    imported already; nothing else, and nothing is imported to find out what it is.

    Parameters
    ----------
    *paths
        Import paths such as ``mine.PointNet``; ``"*"`` for any, in files that you trust as you trust a program.
    """
    token = _TRUSTED.set(_TRUSTED.get().union(*map(names_of, paths)))
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def names_of(path: str) -> set[str]:
    """Return the import paths under which a class may go that stands at one of them; this imports it."""
    try:
        found = pkgutil.resolve_name(path) if "." in path else None
    except Exception:  # whatever a module does when it is imported; it is told where the class is needed
        return {path}
    return {path, *(_paths(found) if isinstance(found, type) else ())}


def _paths(kind: type) -> set[str]:
    """Return the paths that a class may have, where it is defined or further up in its package."""
    places = kind.__module__.split(".")
    return {".".join([*places[:count], kind.__qualname__]) for count in range(1, len(places) + 1)}


def registered(kind: type) -> None:
    """Take down that a class stands in a registry: files may name it."""
    _REGISTERED.update(_paths(kind))


def trusted() -> frozenset[str]:
    """Return what `trusting` allows at present."""
    return _TRUSTED.get()


def nameable() -> frozenset[str]:
    """Return what `trusting` allows at present, and the classes of registries."""
    return _TRUSTED.get() | _REGISTERED


@contextmanager
def reading(file: str | PathLike[str]) -> Iterator[None]:
    """Take names within for those of a file; see `trusting`."""
    token = _READING.set(str(file))
    try:
        yield
    finally:
        _READING.reset(token)


def check_import(path: str, kind: type = type) -> None:
    """Raise InputError where a file names an import path that it may not name.

    Parameters
    ----------
    path
        What it names.
    kind
        What it has to be: a class of modules, or an object of another type.
    """
    file = _READING.get()
    if not file or "." not in path or nameable() & {EVERYTHING, path}:
        return
    found = _present(path)
    own = path.partition(".")[0] == PACKAGE
    if kind is type:
        fine = isinstance(found, type) and issubclass(found, nn.Module)
        package = getattr(found, "__module__", "").partition(".")[0]
        fine = fine and (package == PACKAGE if own else package not in LIBRARIES)
    else:
        fine = isinstance(found, kind)
    if not fine:
        raise InputError(
            f"{file} names {path}, which is no class of this package; if you trust the file as you trust a program, "
            f"give --trust, or the class path on the command line (in Python import {path.rpartition('.')[0]} first)"
        )


def _present(path: str) -> Any:
    """Return what stands at an import path without importing anything but modules of this package; None for nothing."""
    if path.partition(".")[0] == PACKAGE:
        try:
            return pkgutil.resolve_name(path)
        except (ImportError, AttributeError, ValueError):
            return None
    place, _, name = path.rpartition(".")
    while place and place not in sys.modules:
        place, _, outer = place.rpartition(".")
        name = f"{outer}.{name}"
    try:
        return attrgetter(name)(sys.modules[place])
    except (KeyError, AttributeError):
        return None


def imported(thing: Any) -> Any:
    """Return what stands at an import path, and anything but a path as it is.

    Raises
    ------
    InputError
        If nothing stands there, or the file that is being read may not name it.
    """
    if not isinstance(thing, str):
        return thing
    check_import(thing)
    try:
        return pkgutil.resolve_name(thing)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{thing!r} cannot be imported ({error}); give a path as mine.PointNet") from error
