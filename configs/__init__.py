"""The configurations that come with the package: one YAML file per experiment."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def find(name: str) -> Path:
    """Find a configuration file.

    Parameters
    ----------
    name
        A path from the working folder; else the name of a file that comes with the package, such as
        ``modelnet/quick.yaml`` or ``configs/modelnet/quick.yaml``, with or without its suffix.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileNotFoundError
        If there is none; the message lists those that come with the package.
    """
    given = Path(name)
    inside = Path(*given.parts[1:]) if given.parts[:1] == ("configs",) else given
    for path in (given, FOLDER / inside, FOLDER / f"{inside}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(str(path.relative_to(FOLDER)) for path in sorted(FOLDER.glob("*/*.yaml")))
    raise FileNotFoundError(f"{name}: there is no such config file; give its path or one of {known}")
