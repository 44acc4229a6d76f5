"""Results of tests: one form for all tasks, written and read here."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.models.base import plain
from csgnn_dgl.training.lettering import save_figure
from csgnn_dgl.training.report import Section, markdown_list

VERSION = 1
"""Version of the form of ``results.json``."""

FILE = "results.json"


@dataclasses.dataclass(frozen=True)
class Results:
    """What a test found. ``results.json`` holds these fields, and the number of its own form as ``version``.

    Parameters
    ----------
    task
        Import path of the task.
    models
        How each of the tested models came about, by its name: ``model`` (kind), ``config`` of the network,
        ``checkpoint``, ``epochs_trained``, ``training``.
    facts
        How the test came about: ``test_source``, ``seed``, ``version`` of this package, ...
    rows
        What was measured, one row for each line of the first table; what is in it, the task says.
    details
        What was measured beyond the rows, by name.
    report
        The tables and their legends, in Markdown.
    sections
        The same with figures and arrays; empty where the results were read from a file.
    """

    task: str
    models: dict[str, dict[str, Any]]
    facts: dict[str, Any]
    rows: list[dict[str, Any]]
    details: dict[str, Any]
    report: str
    sections: Sequence[Section] = ()

    def __str__(self) -> str:
        """Return the tables and their legends."""
        return self.report

    @classmethod
    def of(
        cls,
        task: str,
        models: dict[str, Any],
        facts: dict[str, Any],
        section: Section,
        more: dict[str, Section],
        measures: dict[str, float],
    ) -> Results:
        """Put the sections of a report together: the one that has the rows, and more of them by name."""
        texts = [section.text, *(f"## {other.title}\n\n{other.text}" for other in more.values())]
        return cls(
            task=task,
            models=plain(models),
            facts=plain(facts),
            rows=plain(section.values),
            details=plain({**{name: other.values for name, other in more.items()}, **measures}),
            report="\n\n".join(texts),
            sections=(section, *more.values()),
        )

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write figures, arrays, ``results.md`` and last ``results.json`` into a folder, made if missing.

        Returns
        -------
        Path
            The file that was written last: where it is, all of them are whole.
        """
        place = Path(folder)
        lines = [f"# {self.sections[0].title}" if self.sections else "# Test results"]
        for number, section in enumerate(self.sections):
            if number:
                lines += ["", f"## {section.title}"]
            lines += ["", section.text]
            if not number:
                lines += ["", markdown_list({**self.models, **self.facts})]
            for name, (caption, figure) in section.figures.items():
                lines += ["", f"![{caption}]({name})"]
                with atomic_write(place / name) as file:
                    save_figure(figure, file)
            for name, arrays in section.arrays.items():
                with atomic_write(place / name) as file:
                    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        with atomic_write(place / "results.md") as file:
            file.write_text("\n".join([*lines, ""]), encoding="utf-8")
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["sections"]
        with atomic_write(place / FILE) as file:
            file.write_text(json.dumps({"version": VERSION, **values}, indent=1), encoding="utf-8")
        return place / FILE

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Results:
        """Read what `write` wrote.

        Raises
        ------
        InputError
            If there is no such file, or it is of another form.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            version = content.pop("version")
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{path} holds no results ({type(error).__name__}); run the test again") from error
        if version != VERSION:
            raise InputError(f"{path} has version {version!r} and this one reads {VERSION}; run the test again")
        return cls(**content)
