"""The one place where dgl is imported, and made to load beside today's torch.

dgl 1.1.3 (Python 3.10 and 3.11) loads as it is. dgl 2.1.0 (Python 3.12) also imports `dgl.graphbolt`, a
sampler whose binary exists only for torch up to 2.2.1 and whose Python half needs a part of torchdata that is
gone. Outside `dgl.distributed` nothing in dgl uses it, so a stand-in takes its place, but only after the
plain import has failed.
"""

import importlib
import os
import sys
import warnings
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

_GRAPHBOLT = "dgl.graphbolt"


class _GraphboltStandIn(ModuleType):
    """An empty `dgl.graphbolt` that says, when something is asked of it, why it is empty."""

    def __init__(self) -> None:
        super().__init__(_GRAPHBOLT, "Stand-in: the real dgl.graphbolt does not load beside this torch.")
        self.__spec__ = ModuleSpec(_GRAPHBOLT, loader=None)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{_GRAPHBOLT}.{name} is missing: graphbolt does not load beside this torch")


def load_dgl() -> ModuleType | None:
    """Import dgl if it is installed, so that a plain ``import dgl`` works from then on.

    Returns
    -------
    module or None
        None if dgl is not installed, or is but does not load (then with a `RuntimeWarning` that says why).
    """
    try:
        return require_dgl()
    except ModuleNotFoundError:
        return None
    except ImportError as error:
        warnings.warn(str(error), RuntimeWarning, stacklevel=2)
        return None


def require_dgl() -> ModuleType:
    """Return the module dgl.

    Raises
    ------
    ModuleNotFoundError
        If dgl is not installed.
    ImportError
        If dgl is installed but does not load. Both messages are one sentence that names the fix.
    """
    loaded = sys.modules.get("dgl")
    if loaded is not None:
        return loaded
    # Where this is not set, dgl prints a notice and writes a file into the home folder.
    os.environ.setdefault("DGLBACKEND", "pytorch")
    try:
        return _import_dgl()
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "dgl":
            raise ModuleNotFoundError(_absent(), name="dgl") from None
    sys.modules[_GRAPHBOLT] = _GraphboltStandIn()
    try:
        return _import_dgl()
    except Exception as error:
        del sys.modules[_GRAPHBOLT]
        raise ImportError(_broken(error), name="dgl") from error


def _import_dgl() -> ModuleType:
    """Import dgl, going on where an earlier import stopped if there was one.

    Python drops the modules that failed and keeps the submodules that were complete. They must stay, as the
    compiled part of dgl starts only once per process. But a parent that is made anew does not know them, so
    they are bound again, except where it has something else under that name (`dgl.batch` is a function).
    """
    with warnings.catch_warnings():
        # Python reports invalid escapes in dgl's docstrings where it compiles dgl at its first import.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        module = importlib.import_module("dgl")
    for name in [name for name in sys.modules if name.startswith("dgl.")]:
        parent, _, child = name.rpartition(".")
        if parent in sys.modules:
            vars(sys.modules[parent]).setdefault(child, sys.modules[name])
    return module


def _release() -> str:
    """Return the version of dgl that serves the running Python."""
    return "1.1.3" if sys.version_info < (3, 12) else "2.1.0"


def _absent() -> str:
    if sys.version_info >= (3, 13):
        return "dgl is needed for this and has no build for this Python: use Python 3.10, 3.11 or 3.12"
    return f"dgl is needed for this and is not installed: run `pip install dgl=={_release()}`"


def _broken(error: Exception) -> str:
    versions = " beside ".join(f"{name} {_version(name)}" for name in ("dgl", "torch"))
    if isinstance(error, ModuleNotFoundError) and error.name:
        fix = f"pip install {error.name.partition('.')[0]}"
    else:
        fix = f"pip install --force-reinstall dgl=={_release()}"
    return f"{versions} does not load ({type(error).__name__}: {error}): run `{fix}`"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(unknown)"
