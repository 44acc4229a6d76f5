"""What the reports of all tasks share: tables in Markdown, and sections with figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a report.

    Parameters
    ----------
    table
        What was measured, in Markdown.
    values
        The same as plain values.
    legend
        What the table shows, in Markdown.
    title
        Heading.
    figures
        Captions and figures, by the names of their files.
    arrays
        What all this was computed from: arrays by name, by the names of their ``.npz`` files.
    """

    table: str
    values: Any
    legend: str = ""
    title: str = "Test results"
    figures: Mapping[str, tuple[str, Figure]] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, NDArray[Any]]] = dataclasses.field(default_factory=dict)

    @property
    def text(self) -> str:
        """Table and legend."""
        return f"{self.table}\n\n{self.legend}" if self.legend else self.table


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return cells as a Markdown table whose columns also line up in a terminal."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, *rows)
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def table_of(items: Iterable[Any], columns: Mapping[str, str]) -> str:
    """Return items as a Markdown table: the titles of its columns, and formats as ``"{0.name}"``."""
    return markdown_table(list(columns), [[form.format(item) for form in columns.values()] for item in items])


def markdown_list(facts: Mapping[str, Any], indent: str = "") -> str:
    """Return nested facts as a nested list."""
    lines = []
    for key, value in facts.items():
        name = key.replace("_", " ")
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}- {name}:", markdown_list(value, f"{indent}  ")]
        else:
            lines.append(f"{indent}- {name}: {value}")
    return "\n".join(lines)
