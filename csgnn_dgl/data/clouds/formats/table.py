"""Tables of points as text: XYZ, TXT, CSV, ASC and PTS."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.bounds import read_bytes
from csgnn_dgl.data.clouds.columns import coordinate_columns
from csgnn_dgl.data.clouds.endings import check_end
from csgnn_dgl.errors import InputError, reason
from csgnn_dgl.notes import note

COMMENT = re.compile(r"#|//|%|!")
DELIMITERS = (";", "\t", ",", None)
DECIMAL_COMMA = re.compile(r"[-+]?(\d*,?\d+|\d+,)(e[-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)


TRANSPOSED = 9
"""Rows up to which many more columns are taken for a line of each coordinate, normal and colour."""


class Line(NamedTuple):
    """A line of a file that is neither blank nor a comment, and its number in the file."""

    number: int
    text: str


def read_table(path: Path) -> NDArray[np.float64]:
    """Read the points (N, 3) of a text file, one per line.

    Numbers are separated by commas, semicolons, tabs or blanks; with all but the first they may have decimal commas.
    Lines that begin with ``#``, ``//``, ``%`` or ``!`` are comments. A header, which may be such a comment, says by
    name which columns are x, y and z (:func:`coordinate_columns`). Without one they are the first three, after one
    that counts the points, and under a header that only counts columns (``0,1,2``) too. A number alone on the first
    line counts the points. Missing values are NaN.
    Other columns are passed over, and named in a note.

    Raises
    ------
    InputError
        If the file is broken or holds something else, with the number of the line.
    """
    comment, lines, content = _lines(path)
    if not lines:
        raise InputError(f"{path}: the file has no points; remove it.")
    if lines[0].text.isdigit() and any(re.match(r"[A-Z][a-z]?\s+[-+.\d]", line.text) for line in lines[1:3]):
        raise InputError(f"{path}: it looks like a molecule, which `python -m pipelines.dos` reads; give points.")
    if re.fullmatch(r"sep=.", lines[0].text) and len(lines) > 1:  # as spreadsheets write it
        lines = lines[1:]
    stated = None
    if re.fullmatch(r"\d+", lines[0].text) and len(lines) > 1 and len(re.split(r"[\s,;]+", lines[1].text)) > 1:
        stated, lines = int(lines[0].text), lines[1:]
    lines = _without_title(path, lines, stated)
    header: list[str] | None = None
    delimiter, decimal = _separators(lines[0].text)
    if delimiter is _NONE:
        delimiter, decimal = _separators(lines[1].text) if len(lines) > 1 else (_first_mark(lines[0].text), False)
        if delimiter is _NONE:
            delimiter, decimal = _first_mark(lines[0].text), False
        cells = _cells(lines[0].text, delimiter)
        if len(cells) < 3 and all(_number(cell, False) for cell in cells):
            raise InputError(f"{path}: line {lines[0].number} has {len(cells)} columns; write x, y, z on each line.")
        if sum(_number(cell, False) and bool(cell) for cell in cells) > 1 and not _names_axes(cells):
            raise _broken(path, lines[0], delimiter, decimal)
        header, lines = cells, lines[1:]
    elif delimiter is not None and _counts_up(_cells(lines[0].text, delimiter)):
        header, lines = _cells(lines[0].text, delimiter), lines[1:]
    if not lines:
        raise InputError(f"{path}: the file has a header but no points; remove it.")
    rows, decimal = _numbers(path, lines, delimiter, decimal)
    check_end(path, content, tell=stated is None)
    if stated not in (None, len(rows)):
        raise InputError(
            f"{path}: line 1 counts {stated} points and {len(rows)} follow; copy or export the file again."
        )
    if header is None and comment is not None:
        words = _cells(comment, delimiter) if delimiter and delimiter in comment else comment.split()
        if len(words) == rows.shape[1]:
            header = words if _names_axes(words) else None
    if header is None and 3 <= len(rows) <= TRANSPOSED and rows.shape[1] > max(8, 2 * len(rows)):
        raise InputError(
            f"{path}: the table has shape {rows.shape}, as if each line were a coordinate; write its "
            f"transpose, one point on each line."
        )
    if delimiter == "," and header is None:
        _check_commas(path, lines)
    return _coordinates(path, rows, header, delimiter, decimal)


def _lines(path: Path) -> tuple[str | None, list[Line], bytes]:
    """Return the last comment before the first line that is none, those lines, and what they were read from."""
    try:
        content = read_bytes(path)
        if content.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\0" in content:
            text = content.decode("utf-16")
        else:
            try:
                text = content.decode("utf-8-sig")
            except UnicodeDecodeError:
                text = content.decode("latin-1")
        if "\0" in text:
            raise ValueError("it has zero bytes")
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the file cannot be read as text ({reason(error)}); save it again.") from None
    comment: str | None = None
    lines: list[Line] = []
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        begin = COMMENT.match(raw.lstrip())
        bare = "" if begin else re.split(r"#|//", raw, maxsplit=1)[0].strip(" ")
        if bare.strip():
            lines.append(Line(number, bare))
        elif begin and not lines:
            comment = raw.lstrip()[begin.end() :].strip(" #/%!") or comment
    return comment, lines, content


def _without_title(path: Path, lines: list[Line], stated: int | None) -> list[Line]:
    """Leave out a line of words that is no header: one more than is counted, or one above the names of the axes."""
    if len(lines) < 2 or _separators(lines[0].text)[0] is not _NONE or _header_of_axes(lines[0].text):
        return lines
    if stated == len(lines) - 1 or _header_of_axes(lines[1].text):
        note(path, f"line {lines[0].number} was passed over: {lines[0].text.strip()[:40]!r}")
        return lines[1:]
    return lines


def _header_of_axes(text: str) -> bool:
    """Whether a line of text names coordinates, whatever separates the names."""
    return any(_names_axes(_cells(text, mark)) for mark in (_first_mark(text), None))


_NONE = "no delimiter"


def _separators(text: str) -> tuple[str | None, bool]:
    """Return the delimiter of a line of numbers and whether they have decimal commas, or `_NONE`."""
    for decimal in (False, True):
        for delimiter in DELIMITERS:
            if delimiter not in (None, *text) or (decimal and delimiter == "," and '"' not in text):
                continue
            cells = _cells(text, delimiter)
            enough = len(cells) > 2 and (all(cells) or (delimiter != "\t" and sum(map(bool, cells)) > 1))
            if enough and all(_number(cell, decimal) for cell in cells):
                return delimiter, decimal
    return _NONE, False


def _first_mark(text: str) -> str | None:
    return next((mark for mark in DELIMITERS if mark is not None and mark in text), None)


def _cells(text: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return [cell.strip('"') for cell in re.findall(r'"[^"]*"|[^\s"]+', text)]
    parts = (
        next(csv.reader([text], delimiter=delimiter, skipinitialspace=True)) if '"' in text else text.split(delimiter)
    )
    cells = [cell.strip() for cell in parts]
    return cells[:-1] if len(cells) > 3 and not cells[-1] else cells  # a delimiter at the end


def _number(cell: str, decimal: bool) -> bool:
    if not cell:
        return True
    if decimal:  # a point beside decimal commas would be a mark between thousands
        return DECIMAL_COMMA.fullmatch(cell) is not None
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _names_axes(cells: list[str]) -> bool:
    """Whether a line names coordinates."""
    try:
        coordinate_columns(cells, "")
    except InputError:
        return False
    return True


def _counts_up(cells: list[str]) -> bool:
    """Whether a line of a delimited table counts its columns, perhaps after a nameless index, as pandas writes them."""
    counted = cells[1:] if not cells[0] else cells
    return len(counted) > 2 and counted == [str(place) for place in range(len(counted))]


def _broken(path: Path, line: Line, delimiter: str | None, decimal: bool) -> InputError:
    wrong = next((cell for cell in _cells(line.text, delimiter) if not _number(cell, decimal)), line.text.strip())
    hint = "write x, y, z on each line"
    if re.fullmatch(r"[-+]?\d{1,3}([,.]\d{3})+([,.]\d+)?", wrong):
        hint = "write numbers without marks between thousands"
    return InputError(f"{path}: line {line.number} has {wrong[:40]!r} where a number is wanted; {hint}.")


def _numbers(path: Path, lines: list[Line], delimiter: str | None, decimal: bool) -> tuple[NDArray[np.float64], bool]:
    """Return the numbers of all lines, (rows, columns), and whether they have decimal commas; no number is NaN."""
    table = [_cells(line.text, delimiter) for line in lines]
    width = len(table[0])
    for line, cells in zip(lines, table, strict=True):
        if len(cells) != width:
            raise InputError(
                f"{path}: line {line.number} has {len(cells)} columns and line {lines[0].number} has {width}; write "
                f"the same columns on each line."
            )
    # the first lines may have whole numbers only
    if not decimal and delimiter != "," and any("," in cell for cells in table for cell in cells):
        decimal = all(_number(cell, True) for cells in table for cell in cells)
    try:
        if not decimal:
            return np.array([[cell or "nan" for cell in cells] for cells in table], dtype=np.float64), False
        if all(_number(cell, True) for cells in table for cell in cells):
            shown = [[cell.replace(",", ".") or "nan" for cell in cells] for cells in table]
            return np.array(shown, dtype=np.float64), True
    except ValueError:
        pass
    wrong = next(line for line in lines if not all(_number(cell, decimal) for cell in _cells(line.text, delimiter)))
    raise _broken(path, wrong, delimiter, decimal)


def _check_commas(path: Path, lines: list[Line]) -> None:
    """Refuse commas that may separate both numbers and their decimals, as in ``0,5,1,25,0,07``.

    Where they do, every second number is made of digits alone, and some begin with 0, all have the same three or more
    digits, or one of those after the first, which are no coordinates but at most colours, has more than five.
    """
    table = [_cells(line.text, ",") for line in lines]
    if len(table[0]) < 6 or len(table[0]) % 2:
        return
    for place, cells in enumerate(table):
        if not all(re.fullmatch(r"[-+]?\d+", cell) for cell in cells) or not all(map(str.isdigit, cells[1::2])):
            return
        table[place] = cells[1::2]
    places = [
        place
        for place, decimals in enumerate(table)
        if any(re.fullmatch(r"0\d+", cell) for cell in decimals) or any(len(cell) > 5 for cell in decimals[1:])
    ]
    lengths = {len(cell) for decimals in table for cell in decimals}
    if not places and (len(lengths) > 1 or min(lengths) < 3 or len(lines) < 3):
        return
    line = lines[places[0] if places else 0]
    raise InputError(
        f"{path}: line {line.number} reads {line.text[:40]!r}, in which commas seem to separate both numbers "
        f"and their decimals; write decimal points, or separate by semicolons."
    )


def _coordinates(
    path: Path, rows: NDArray[np.float64], header: list[str] | None, delimiter: str | None, decimal: bool
) -> NDArray[np.float64]:
    columns: tuple[int, ...] = (0, 1, 2)
    names = header or [str(place + 1) for place in range(rows.shape[1])]
    if header is not None:
        if len(header) != rows.shape[1]:
            raise InputError(
                f"{path}: the header has {len(header)} columns ({', '.join(header)[:80]}) and the lines below it "
                f"{rows.shape[1]}; write a name for each column."
            )
        if _counts_up(header):
            columns = tuple(header.index(str(place)) for place in range(3))
        else:
            columns = coordinate_columns(header, str(path))
    elif rows.shape[1] > 3 and len(rows) > 2 and np.array_equal(rows[:, 0] - rows[0, 0], np.arange(len(rows))):
        columns = (1, 2, 3)
    others = [name or "(no name)" for place, name in enumerate(names) if place not in columns]
    if decimal:
        note(path, "numbers were read with decimal commas")
    if others and header is None:
        counted = " after one that counts the points," if columns[0] else ","
        width = rows.shape[1]
        note(path, f"no header: x, y, z are the first three of {width} columns{counted} the others were passed over")
    elif others:
        chosen = ", ".join(names[place] for place in columns)
        note(path, f"x, y, z are the columns {chosen}; passed over: {', '.join(others)}")
    return rows[:, columns]


READERS = dict.fromkeys((".xyz", ".txt", ".csv", ".asc", ".pts"), lambda path: (read_table(path), None))
