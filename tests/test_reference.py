"""The API reference: it lists every public name, whose docstrings say what goes in and out, and their examples run."""

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import csgnn_dgl

PAGES = sorted((Path(__file__).parents[1] / "docs" / "api").glob("*.md"))


def public_names() -> dict[str, Any]:
    """Return what stands in the ``__all__`` of packages, by full name; each thing once, where it was found last."""
    packages = [
        "csgnn_dgl",
        *(item.name for item in pkgutil.walk_packages(csgnn_dgl.__path__, "csgnn_dgl.") if item.ispkg),
    ]
    found: dict[int, tuple[str, Any]] = {}
    for package in packages:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            found[id(value)] = (f"{package}.{name}", value)
    return dict(found.values())


def listed_names() -> Iterator[str]:
    """Yield the names that the pages of the reference list, with their modules."""
    for page in PAGES:
        module = ""
        for line in page.read_text("utf-8").splitlines():
            if found := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
                module = found[1]
            elif found := re.fullmatch(r"```\{py:data\} (\S+)", line):
                yield found[1]
            elif found := re.fullmatch(r"   ([A-Za-z_]\w*)", line):
                yield f"{module}.{found[1]}"


PUBLIC = public_names()
CALLABLE = {name: value for name, value in PUBLIC.items() if inspect.isclass(value) or inspect.isfunction(value)}
WITH_EXAMPLES = {name: value for name, value in CALLABLE.items() if ">>>" in (value.__doc__ or "")}


def documented_by(value: Any) -> Any:
    """Return the class whose docstring describes the constructor of a class, or the function itself."""
    if not inspect.isclass(value):
        return value
    return next((kind for kind in value.__mro__ if {"__init__", "__new__"} & vars(kind).keys()), value)


def section(docstring: str, *names: str) -> str:
    """Return the sections of a docstring that have one of the names."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", docstring, flags=re.MULTILINE)
    return "".join(text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name in names)


def test_the_reference_lists_every_public_name_once() -> None:
    listed = list(listed_names())
    assert len(listed) == len(set(listed))
    values = {id(getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])) for name in listed}
    missing = [name for name, value in PUBLIC.items() if id(value) not in values and name != "csgnn_dgl.__version__"]
    assert not missing, f"docs/api does not list {', '.join(missing)}"


@pytest.mark.parametrize("name", CALLABLE)
def test_docstrings_say_what_goes_in_and_out(name: str) -> None:
    value = CALLABLE[name]
    docstring = inspect.cleandoc(value.__doc__ or "")
    assert docstring, "there is no docstring"
    if inspect.isclass(value) and issubclass(value, Exception):
        return
    described = section(inspect.getdoc(documented_by(value)) or docstring, "Parameters", "Attributes")
    described += section(docstring, "Parameters", "Attributes")
    signature = inspect.signature(value)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for parameter in signature.parameters.values():
        if parameter.kind not in kinds:
            assert re.search(rf"^[\w, *]*\b{parameter.name}\b", described, re.MULTILINE), (
                f"{parameter.name} is not described"
            )
    if inspect.isfunction(value) and signature.return_annotation not in (None, "None"):
        assert section(docstring, "Returns", "Yields"), "what it returns is not described"


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_docstrings_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known = {name.rpartition(".")[2]: value for name, value in PUBLIC.items()} | {
        "csgnn_dgl": csgnn_dgl,
        "np": np,
        "torch": torch,
    }
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder(recurse=False).find(CALLABLE[name], name, globs=known):
        said: list[str] = []
        assert not runner.run(test, out=said.append).failed, "".join(said)
