"""Damaged and hostile files for every reader, made from what our own writers and common libraries write.

``python -m tests.reliability.fuzzing 100000`` reads so many in processes of their own. Each has to end with a result or
an `InputError` within `SECONDS` of the processor and `MEMORY` more bytes than the libraries take.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import lzma
import multiprocessing
import random
import re
import resource
import signal
import struct
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from csgnn_dgl.errors import InputError

SECONDS, MEMORY = 5, 2**30

PATIENCE, START = 120, 1200
"""Seconds on the clock without news from a process, after which it counts as hanging; the latter before its first."""

MARKS = rb"0 -1 1e30 1e-30 1e309 nan inf -inf 0x10 1_0 ,,, ;; # // ! * & && {{ [[ ]] }} \"\" '' <a> </a> &a *a"
NAMES = rb"../../x /etc/passwd /dev/zero class_path: init_args: !!python/object:os.system 2024-13-45 0o9 <<:"

WORDS = [
    *(str(2**power).encode() for power in (7, 8, 15, 16, 31, 32, 63, 64, 100)),
    *MARKS.split(b" "),
    *NAMES.split(b" "),
    *(b"\t\t", b" ", b"\r", b"\n\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[2J"),
    *(b"[" * 2000, b"<a>" * 2000, b"9" * 5000, b"o x\n" * 500, b"f 1 2 3 4 5 6 7 8 9\n"),
    b"Properties=species:S:1:pos:R:300000000",
    b'Lattice="1e300 0 0 0 1 0 0 0 1"',
    b"element vertex 4000000000",
    b"property list uint uint x",
    b"POINTS 4000000000",
]
"""What readers may stumble over."""


def seeds() -> dict[str, tuple[str, bytes]]:
    """Return file names and contents of whole files, by the name of the kind."""
    import ase.io
    import h5py
    import laspy
    import trimesh
    from ase.build import bulk, molecule

    from csgnn_dgl.models import CLASSIFIERS, CSGNN

    found: dict[str, tuple[str, bytes]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ball = trimesh.creation.icosphere(1)
        for kind, options in (
            ("off", {}),
            ("obj", {}),
            ("stl", {}),
            ("stl_ascii", {}),
            ("ply", {}),
            ("ply", {"encoding": "ascii"}),
        ):
            content = ball.export(file_type=kind, **options)
            content = content.encode() if isinstance(content, str) else content
            found["".join([kind, *options.values()])] = f"a.{kind.partition('_')[0]}", content
        points = np.random.default_rng(0).normal(size=(40, 3))
        rows = "".join(f"{x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in points)
        found["xyz"] = "a.xyz", rows.encode()
        found["csv"] = "a.csv", ("x,y,z,red\n" + rows.replace(" ", ",").replace("\n", ",1\n")).encode()
        for kind in ("ascii", "binary", "binary_compressed"):
            _write_pcd(folder / "a.pcd", points, kind)
            found[f"pcd {kind}"] = "a.pcd", (folder / "a.pcd").read_bytes()
        cloud = laspy.create(point_format=0, file_version="1.2")
        cloud.x, cloud.y, cloud.z = points.T
        for kind in ("las", "laz"):
            cloud.write(folder / f"a.{kind}")
            found[kind] = f"a.{kind}", (folder / f"a.{kind}").read_bytes()
        np.save(folder / "a.npy", points)
        found["npy"] = "a.npy", (folder / "a.npy").read_bytes()
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("data", data=np.tile(points.astype("f4"), (6, 1, 1)), compression="gzip")
            file["label"] = np.arange(6, dtype=np.uint8)[:, None]
        found["hdf5"] = "train.h5", (folder / "a.h5").read_bytes()
        atoms = bulk("C", "diamond", a=3.567, cubic=True)
        atoms.rattle(0.02, seed=0)
        atoms.info.update(num_electrons=32.0, temperature=300.0, dos=np.full(310, 32.0 / 31.0))
        for kind, file_name in (
            ("extxyz", "a.extxyz"),
            ("vasp", "POSCAR"),
            ("cif", "a.cif"),
            ("json", "a.json"),
            ("traj", "a.traj"),
        ):
            ase.io.write(folder / file_name, [atoms, molecule("CH4")] if kind == "extxyz" else atoms, format=kind)
            found[kind] = file_name, (folder / file_name).read_bytes()
        found["extxyz.gz"] = "a.extxyz.gz", gzip.compress(found["extxyz"][1])
        found["cif.xz"] = "a.cif.xz", lzma.compress(found["cif"][1])
        found["vasprun"] = "vasprun.xml", VASPRUN.encode()
        found["doscar"] = "DOSCAR", DOSCAR.encode()
        found["config"] = "a.yaml", CONFIG.encode()
        found["config of a run"] = "config.yaml", yaml.safe_dump(yaml.safe_load(CONFIG)).encode()
        model = CSGNN(**CSGNN.tiny)
        content_of = io.BytesIO()
        weights = {f"network.{key}": value for key, value in model.state_dict().items()}
        torch.save({"csgnn": CLASSIFIERS.describe(model, class_names=("a", "b")), "state_dict": weights}, content_of)
        found["checkpoint"] = "a.ckpt", content_of.getvalue()
        found["values of a checkpoint"] = (
            "values",
            json.dumps(CLASSIFIERS.describe(model, class_names=("a", "b"))).encode(),
        )
        found["list"] = "train_files.txt", b"a/train.h5\n"
        found["snapshots"] = "Train.csv", b"path,num_electrons,offset\na/300K/1,32,0.5\n"
    return found


def read(folder: Path, name: str, content: bytes) -> None:
    """Write one file into a folder and read it with whatever reads files of its name.

    Raises
    ------
    InputError
        If the reader refuses it.
    """
    path = folder / name
    path.write_bytes(content)
    READERS[name if name in READERS else path.suffix](path)


def _cloud(path: Path) -> None:
    from csgnn_dgl.data import read_cloud

    read_cloud(path, 64)


def _hdf5(path: Path) -> None:
    from csgnn_dgl.data import read_modelnet40

    read_modelnet40(path.parent, "train", "z", 32)


def _atoms(path: Path) -> None:
    from csgnn_dgl.data import read_structures

    read_structures(path)[0].environments()


def _doscar(path: Path) -> None:
    (path.parent / "POSCAR").write_text(POSCAR)
    _atoms(path)


def _checkpoint(path: Path) -> None:
    from csgnn_dgl.models import CLASSIFIERS

    CLASSIFIERS.load(path)


def _values(path: Path) -> None:
    """Read a checkpoint whose description is what a damaged text says, in a file that is none the worse for it."""
    from csgnn_dgl.models import CSGNN

    try:
        described = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    weights = {f"network.{key}": value for key, value in CSGNN(**CSGNN.tiny).state_dict().items()}
    torch.save({"csgnn": described, "state_dict": weights}, path.with_suffix(".ckpt"))
    _checkpoint(path.with_suffix(".ckpt"))


def _config(path: Path) -> None:
    from csgnn_dgl.tasks.classification.task import TASK
    from csgnn_dgl.training.config import check_file, parse, parser_of, read_yaml, words_of

    check_file(path, read_yaml(path))
    parse(parser_of(TASK, "fit"), words_of([path]))


def _list(path: Path) -> None:
    from csgnn_dgl.data import read_modelnet40

    read_modelnet40(path.parent, "train")


def _snapshots(path: Path) -> None:
    from csgnn_dgl.data import read_snapshot_folders

    read_snapshot_folders(path.parent, "train")


READERS: dict[str, Callable[[Path], None]] = {
    **dict.fromkeys((".off", ".obj", ".stl", ".ply", ".xyz", ".csv", ".pcd", ".las", ".laz", ".npy"), _cloud),
    "train.h5": _hdf5,
    **dict.fromkeys((".extxyz", ".cif", ".gz", ".xz", ".json", ".traj", "POSCAR", "vasprun.xml"), _atoms),
    "DOSCAR": _doscar,
    ".ckpt": _checkpoint,
    "values": _values,
    ".yaml": _config,
    "train_files.txt": _list,
    "Train.csv": _snapshots,
}


def damaged(whole: bytes, other: bytes, source: random.Random) -> bytes:
    """Return a file with up to four things changed."""
    content = bytearray(whole)
    for _ in range(source.choice((1, 1, 2, 4))):
        place = source.randrange(len(content) + 1)
        end = min(len(content), place + source.choice((1, 2, 4, 8, 64, 512)))
        numbers = [match.span() for match in re.finditer(rb"-?\d+(?:\.\d*)?", content[:20_000])]
        kind = source.choice(("bits", "cut", "word", "number", "number", "drop", "twice", "splice", "integer"))
        if kind == "bits" and content:
            content[place % len(content)] ^= 1 << source.randrange(8)
        elif kind == "cut":
            del content[place:]
        elif kind == "word":
            content[place : place + source.choice((0, 0, 4))] = source.choice(WORDS)
        elif kind == "number" and numbers:
            start, stop = source.choice(numbers)
            content[start:stop] = source.choice(WORDS[:22])
        elif kind == "drop":
            del content[place:end]
        elif kind == "twice":
            content[place:place] = content[place:end] * source.choice((1, 2, 100))
        elif kind == "splice":
            start = source.randrange(len(other) + 1)
            content[place:end] = other[start : start + source.choice((16, 256))]
        elif kind == "integer" and len(content) > 8:
            form, value = source.choice(
                (("<I", 2**32 - 1), ("<Q", 2**63), ("<I", 2**31), ("<i", -1), (">I", 2**31), ("<H", 0))
            )
            struct.pack_into(form, content, min(place, len(content) - 8), value)
    return bytes(content[: 2**20])


def one(name: str, corpus: dict[str, tuple[str, bytes]], number: int) -> tuple[str, bytes]:
    """Return the name and content of the damaged file of a kind and a number."""
    source = random.Random(number)
    file, whole = corpus[name]
    return file, damaged(whole, corpus[source.choice(sorted(corpus))][1], source)


SELDOM = {"config": 10, "config of a run": 10, "values of a checkpoint": 4}
"""Kinds whose reading takes long, and how many times more seldom they come."""


def work(numbers: range, queue: Any) -> None:
    """Read the files of these numbers, and send what became of each."""
    import logging

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", module="csgnn_dgl")  # as in all tests
    corpus = seeds()
    for name, (file, content) in corpus.items():  # so that all that is imported is
        with tempfile.TemporaryDirectory() as folder:
            try:
                read(Path(folder), file, content)
            except InputError as error:
                if file not in ("train_files.txt", "Train.csv"):
                    queue.put(("start", -1, name, f"a whole file is refused: {error}"))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for number in numbers:
        source = random.Random(f"kind {number}")
        name = source.choice([kind for kind in sorted(corpus) if source.random() < 1 / SELDOM.get(kind, 1)] or ["off"])
        file, content = one(name, corpus, number)
        queue.put(("begin", number, name, ""))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        start = time.process_time()
        outcome = "read"
        with tempfile.TemporaryDirectory() as folder:
            try:
                read(Path(folder), file, content)
            except InputError as error:
                outcome = "refused"
                if "\n" in str(error) or len(str(error)) > 3000:
                    outcome = f"a message of {len(str(error))} letters or several lines"
            except BaseException as error:
                outcome = f"{type(error).__name__}: {str(error)[:200]}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        queue.put(("end", number, name, outcome, time.process_time() - start))
    queue.put(("done", -1, "", ""))


def run(count: int, first: int = 0, keep: Path | None = None) -> tuple[Counter[str], dict[int, str], float]:
    """Read so many damaged files in a process of its own, and in another one whenever that dies.

    Returns
    -------
    outcomes, failures, slowest
        How many ended how; what went wrong, by number; the longest time that one took, in seconds of the processor.
    """
    context = multiprocessing.get_context("spawn")
    outcomes: Counter[str] = Counter()
    failures: dict[int, str] = {}
    slowest, number, last = 0.0, first, first + count
    corpus = seeds()

    def fail(place: int, name: str, why: str) -> None:
        failures[place] = f"{name}: {why}"
        print(place, failures[place], flush=True)
        if keep is not None and place >= 0:
            keep.mkdir(parents=True, exist_ok=True)
            file, content = one(name, corpus, place)
            (keep / f"{place}-{file}").write_bytes(content)

    while number < last:
        queue = context.SimpleQueue()
        reader: Any = queue._reader  # type: ignore[attr-defined]
        process = context.Process(target=work, args=(range(number, last), queue))
        process.start()
        begun = number, ""
        while True:
            waited = 0.0
            patience = PATIENCE if begun[1] else START
            while not reader.poll(1.0) and process.is_alive() and waited < patience:
                waited += 1.0
            if not reader.poll(0):
                process.kill()
                process.join()
                if not begun[1]:
                    raise RuntimeError(f"the process that reads did not start: {process.exitcode}")
                fail(*begun, f"the process ended with {process.exitcode} ({signal.SIGPROF.value}: too slow)")
                number = begun[0] + 1
                break
            news = queue.get()
            if news[0] == "begin":
                begun = news[1], news[2]
            elif news[0] == "end":
                _, number, name, outcome, seconds = news
                slowest = max(slowest, seconds)
                if outcome in ("read", "refused"):
                    outcomes[outcome] += 1
                else:
                    fail(number, name, outcome)
                number += 1
                if number % 1000 == 0:
                    told = f"{dict(outcomes)}, {len(failures)} failed; slowest {slowest:.2f} s"
                    print(f"{number - first} of {count}: {told}", flush=True)
            elif news[0] == "start":
                fail(-1, news[2], news[3])
            else:
                number = last
                process.join()
                break
    return outcomes, failures, slowest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="how many files are read")
    parser.add_argument("--first", type=int, default=0, help="number of the first (0)")
    parser.add_argument("--keep", type=Path, help="folder for the files that were not dealt with")
    options = parser.parse_args()
    outcomes, failures, slowest = run(options.count, options.first, options.keep)
    told = f"{outcomes['read']} read, {outcomes['refused']} refused, {len(failures)} failed"
    print(f"{options.count} files: {told}; slowest {slowest:.2f} s")
    return 1 if failures else 0


def _write_pcd(path: Path, points: np.ndarray, kind: str) -> None:
    from pypcd4.pypcd4 import Encoding, PointCloud

    PointCloud.from_xyz_points(points.astype(np.float32)).save(path, encoding=Encoding(kind))


POSCAR = "carbon\n1.0\n3.567 0 0\n0 3.567 0\n0 0 3.567\nC\n2\nDirect\n0 0 0\n0.25 0.25 0.25\n"
DOSCAR = (
    "   2   2   0   0\n  11.3  3.5e-10  3.5e-10  3.5e-10  5.0e-16\n  1.0e-4\n  CAR \n carbon\n"
    "     10.00000000    -30.00000000   41      5.00000000      1.00000000\n"
    + "".join(f"{energy:11.3f} {0.2:.4E} {0.2 * (energy + 30):.4E}\n" for energy in range(-30, 11))
)
CELL = "<varray name='basis'><v>3.567 0 0</v><v>0 3.567 0</v><v>0 0 3.567</v></varray>"
PLACES = "<varray name='positions'><v>0 0 0</v><v>0.25 0.25 0.25</v></varray>"
STRUCTURE = f"<structure><crystal>{CELL}</crystal>{PLACES}</structure>"
VASPRUN = (
    "<?xml version='1.0'?>\n<modeling><parameters><i name='NELECT'>8.0</i></parameters><atominfo><array name='atoms'>"
    f"<set>{'<rc><c>C </c><c>1</c></rc>' * 2}</set></array></atominfo>{STRUCTURE}<calculation>{STRUCTURE}"
    "<dos><i name='efermi'>5.0</i><total><array><set><set comment='spin 1'>"
    + "".join(f"<r> {energy:.4f} 0.2 {0.2 * (energy + 30):.4f} </r>\n" for energy in range(-30, 12))
    + "</set></set></array></total></dos></calculation></modeling>\n"
)
CONFIG = """\
task: classification
seed_everything: 3
name: some
model:
  network:
    class_path: csgnn_dgl.models.CSGNN
    init_args:
      level: 1
      num_spheres: 4
      channels: 2
  learning_rate: 0.01
  schedule: one_cycle
data:
  source: builtin
  num_points: 64
  batch_size: 8
  test_rotations: [z, SO3]
trainer:
  max_epochs: 2
  accelerator: cpu
"""


if __name__ == "__main__":
    raise SystemExit(main())
