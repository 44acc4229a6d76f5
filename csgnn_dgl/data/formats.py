"""Finding the readers of file formats: a format is one module in a folder ``formats``."""

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any


def collect_readers(package: str, folders: Iterable[str]) -> dict[str, Any]:
    """Return the readers by file suffix, from the table ``READERS`` of every module of a package, `folders`."""
    modules = [import_module(f"{package}.{module.name}") for module in iter_modules(folders)]
    return {suffix: reader for module in modules for suffix, reader in module.READERS.items()}
