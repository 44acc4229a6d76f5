"""Public names of a package that are imported when they are first used (PEP 562), so that importing it costs little."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    namespace: dict[str, Any], names_in: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    namespace
        The package's ``globals()``.
    names_in
        For each submodule the public names, between spaces, that are imported from it.
    """
    module_of = {name: module for module, names in names_in.items() for name in names.split()}
    package = namespace["__name__"]

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
        namespace[name] = value
        return value

    def names() -> list[str]:
        return sorted({*namespace, *module_of})

    return get, names
