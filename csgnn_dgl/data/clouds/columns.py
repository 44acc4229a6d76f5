"""Which columns of a table hold x, y and z, by their names."""

import re
from collections.abc import Sequence

from csgnn_dgl.errors import InputError

# Words that may stand beside an axis in the name of a coordinate, and change nothing.
AROUND = {
    *(
        "field",
        "point",
        "points",
        "pos",
        "position",
        "positions",
        "coord",
        "coords",
        "coordinate",
        "coordinates",
        "xyz",
    ),
    *("p", "loc", "location", "vertex", "scalar", "data", "cartesian", "global", "local", "world"),
    *("m", "dm", "cm", "mm", "um", "nm", "km", "ft", "in", "inch", "meter", "meters", "metre", "metres"),
}
JOINED = ("p", "pos", "coord", "coordinate", "point", "position", "loc")
GROUPS = ("point", "points", "pos", "position", "positions", "coord", "coords", "coordinates", "xyz", "vertices")


def coordinate_columns(names: Sequence[str], place: str) -> tuple[int, int, int]:
    """Find the columns of x, y and z by their names, in any case, with or without a unit.

    A plain ``x`` comes first, then an axis among words such as ``field.x`` or ``X [m]``, joined ones as ``px`` or
    ``x_coord``, and numbered ones as ``Points:0``. Normals, colours and the like are no coordinates.

    Raises
    ------
    InputError
        If there are none, or several of an axis; it begins with `place`.
    """
    words = [_words(name) for name in names]
    for kind in (_plain, _among_words, _joined, _numbered):
        axes = [kind(own) for own in words]
        counts = [axes.count(axis) for axis in range(3)]
        if all(counts):
            if max(counts) > 1:
                axis = counts.index(max(counts))
                twice = ", ".join(repr(name) for name, own in zip(names, axes, strict=True) if own == axis)
                raise InputError(f"{place}: several columns could be {'xyz'[axis]} ({twice}); leave one of them.")
            return axes.index(0), axes.index(1), axes.index(2)
    shown = ", ".join(repr(name) for name in names[:20])
    raise InputError(f"{place}: no columns x, y and z in the header ({shown}); name the coordinates x, y, z.")


def _words(name: str) -> list[str]:
    bare = re.sub(r"\[[^\]0-9]*\]|\([^)0-9]*\)", " ", name.lower())  # units
    return re.findall(r"[a-z]+|\d+", bare)


def _plain(words: list[str]) -> int:
    return "xyz".find(words[0]) if len(words) == 1 and words[0] in ("x", "y", "z") else -1


def _among_words(words: list[str]) -> int:
    axes = [word for word in words if word in ("x", "y", "z")]
    others = [word for word in words if word not in ("x", "y", "z")]
    return "xyz".index(axes[0]) if len(axes) == 1 and all(word in AROUND for word in others) else -1


def _joined(words: list[str]) -> int:
    for axis in "xyz":
        if len(words) == 1 and any(words[0] in (f"{word}{axis}", f"{axis}{word}") for word in JOINED):
            return "xyz".index(axis)
    return -1


def _numbered(words: list[str]) -> int:
    return int(words[1]) if len(words) == 2 and words[0] in GROUPS and words[1] in ("0", "1", "2") else -1
