"""Fetching ModelNet40 on machines with internet."""

import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from csgnn_dgl.data.clouds.modelnet import read_modelnet40
from csgnn_dgl.download import FAILURES, fetch
from csgnn_dgl.errors import InputError, reason

ARCHIVE = "modelnet40_ply_hdf5_2048"
URLS = (
    f"https://shapenet.cs.stanford.edu/media/{ARCHIVE}.zip",
    f"https://huggingface.co/datasets/Msun/modelnet40/resolve/main/{ARCHIVE}.zip",
    f"https://github.com/ma-xu/pointMLP-pytorch/releases/download/Modenet40_dataset/{ARCHIVE}.zip",
)
"""The origin and two mirrors of the same archive (435 MB)."""

COUNTS = {"train": 9840, "test": 2468}
NUM_POINTS = 2048
NUM_CLASSES = 40
LARGEST_UNPACKED = 4 * 2**30
"""More bytes than this are not unpacked; the true archive has less than a third of it."""


_FAILURES = (
    *FAILURES,
    EOFError,
    RuntimeError,  # an archive with a password or an unknown compression
    zipfile.BadZipFile,
    zlib.error,
)
"""What a connection, a broken archive and a wrong data set raise; InputError is a ValueError."""


def download_modelnet40(
    folder: str | os.PathLike[str],
    urls: Sequence[str] = URLS,
    counts: Mapping[str, int] = COUNTS,
    progress: bool = True,
    timeout: float = 30.0,
) -> Path:
    """Fetch ``modelnet40_ply_hdf5_2048``, verify it and put it into `folder`.

    The addresses are tried one after the other. An archive is fetched and unpacked beside its destination
    under a temporary name, read completely, and only then renamed; whatever fails leaves nothing behind. If
    the data set is there already and complete, nothing is fetched.

    Parameters
    ----------
    folder
        Where to put the folder ``modelnet40_ply_hdf5_2048``; made if missing.
    urls
        Addresses of the archive.
    counts
        Number of shapes that each split has to have.
    progress
        Show a progress bar on stderr.
    timeout
        Seconds without an answer after which the next address is tried.

    Returns
    -------
    Path
        The folder of the data set, ready for :func:`csgnn_dgl.data.read_modelnet40`.

    Raises
    ------
    InputError
        If no address gave the data set, with the reason for each and what to do by hand; or if `folder`
        cannot be written to, or holds something else under that name.
    """
    target = Path(folder).expanduser() / ARCHIVE
    if target.exists():
        try:
            verify_modelnet40(target, counts)
        except InputError as error:
            raise InputError(f"{target} is there but not complete ({error}); remove it and download again.") from None
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(prefix=f".{ARCHIVE}-", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target.parent}: cannot write there ({error}); choose another folder.") from None
    failures = []
    try:
        for url in urls:
            try:
                fetch(url, workplace / "archive.zip", progress, timeout)
                unpacked = workplace / ARCHIVE
                _unpack(workplace / "archive.zip", unpacked)
                verify_modelnet40(unpacked, counts)
                unpacked.rename(target)
                return target
            except _FAILURES as error:
                failures.append(f"{url}: {reason(error)}")
                shutil.rmtree(workplace / ARCHIVE, ignore_errors=True)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    raise InputError(
        f"ModelNet40 could not be downloaded ({'; '.join(failures)}); on a machine with internet fetch "
        f"{urls[0]} with a browser, unpack it into {target.parent} and give {target} as the data source."
    )


def verify_modelnet40(folder: str | os.PathLike[str], counts: Mapping[str, int] = COUNTS) -> None:
    """Read both splits completely and check the number of shapes, points and classes.

    Raises
    ------
    InputError
        If a file cannot be read, a number differs, or a class has no shape in the training split.
    """
    for split, expected in counts.items():
        clouds = read_modelnet40(folder, split, num_points=None)
        found = (len(clouds), clouds.num_points, clouds.num_classes)
        if found != (expected, NUM_POINTS, NUM_CLASSES):
            raise InputError(
                f"{folder}: the {split} split has {found[0]} shapes of {found[1]} points in {found[2]} "
                f"classes, not {expected} of {NUM_POINTS} in {NUM_CLASSES}; fetch the archive again."
            )
        if split == "train" and len(np.unique(clouds.labels)) != NUM_CLASSES:
            raise InputError(f"{folder}: some class has no shape to train on; fetch the archive again.")


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the files that belong to the data set into `folder`, without the folders before their names.

    Only names that the data set has are taken. A link, an absolute name or a name with ``..`` gives the
    archive away as something else: then nothing is unpacked.
    """
    with zipfile.ZipFile(archive) as content:
        wanted = {}
        for member in content.infolist():
            name = PurePosixPath(member.filename.replace("\\", "/"))
            if name.is_absolute() or ".." in name.parts or ":" in member.filename:
                raise InputError(f"the archive has a member {member.filename!r} that points outside; it is not used.")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise InputError(f"the archive has a link {member.filename!r}; it is not used.")
            if not member.is_dir() and _belongs(name):
                wanted[name.name] = member
        if sum(member.file_size for member in wanted.values()) > LARGEST_UNPACKED:
            raise InputError("the archive is far too large for this data set; it is not used.")
        folder.mkdir()
        for file_name, member in wanted.items():
            with content.open(member) as source, (folder / file_name).open("wb") as target:
                shutil.copyfileobj(source, target, 2**20)


def _belongs(name: PurePosixPath) -> bool:
    """Tell whether a member of the archive is one of the files that the reader needs."""
    if "__MACOSX" in name.parts or name.name.startswith("."):
        return False
    if name.name in ("train_files.txt", "test_files.txt", "shape_names.txt"):
        return True
    return name.match("ply_data_train*.h5") or name.match("ply_data_test*.h5")
