"""Trained classifiers as programs that need neither this package nor dgl: torch.export and ONNX."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from csgnn_dgl.data import BUILTIN_CLASSES
from csgnn_dgl.data.clouds.shapes import make_shape
from csgnn_dgl.errors import InputError, reason
from csgnn_dgl.files import atomic_write
from csgnn_dgl.mapping.unit_ball import centre_clouds
from csgnn_dgl.tasks.classification.trained import TrainedClassifier

NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""What ONNX is written and checked with: the extra ``export``."""

LARGEST_DIFFERENCE = 1e-3
"""Most that a probability of an exported program may differ from ours."""

CHECK = """
import json, sys
sys.modules["dgl"] = sys.modules["csgnn_dgl"] = None  # importing them fails
import numpy, onnxruntime, torch
program, network, given = sys.argv[1:]
points, wanted = (numpy.load(given)[name] for name in ("points", "wanted"))
module = torch.export.load(program).module()
session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
found = {"torch": [], "onnx": []}
for part in (points[:1], points[1:]):
    found["torch"].append(module(torch.from_numpy(part)).detach().numpy())
    found["onnx"].append(session.run(None, {"points": part})[0])
print(json.dumps({name: float(abs(numpy.concatenate(parts) - wanted).max()) for name, parts in found.items()}))
"""
"""Runs both programs in a Python that has neither dgl nor this package, in batches of two sizes."""


class Program(nn.Module):
    """From raw points (B, N, 3) float32 to calibrated probabilities (B, classes).

    Parameters
    ----------
    model
        The classifier.
    """

    def __init__(self, model: TrainedClassifier) -> None:
        super().__init__()
        self.network, self.temperature = model.network, model.temperature or 1.0

    def forward(self, points: Tensor) -> Tensor:
        """Centre the clouds, classify them and return probabilities."""
        return (self.network(centre_clouds(points).float()) / self.temperature).softmax(dim=1)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    program, onnx, description
        The files: a program of ``torch.export``, ONNX, and what goes in and comes out, as JSON.
    differences
        The largest difference of a probability from ours, by "torch" and "onnx".
    """

    program: Path
    onnx: Path
    description: Path
    differences: dict[str, float]


def export_classifier(model: TrainedClassifier, folder: Path, name: str) -> Exported:
    """Write ``NAME.pt2``, ``NAME.onnx`` and ``NAME.json``, and check that both programs answer as the model does.

    The check runs on built-in shapes, in a Python where neither dgl nor this package can be imported. Both programs
    take points (B, N, 3) float32 of any unit, for any B and the N of the model, and give probabilities (B, classes).

    Parameters
    ----------
    model
        The classifier, on the CPU.
    folder, name
        Where to write, and what the files are called.

    Raises
    ------
    InputError
        If something is missing that ONNX needs, the model cannot be exported, or an answer differs.
    """
    if missing := [package for package in NEEDED if importlib.util.find_spec(package) is None]:
        raise InputError(f"export needs {', '.join(missing)}; install them with pip install 'csgnn_dgl[export]'")
    if not getattr(model.network, "one_graph", True):
        raise InputError(f"{type(model.network).__name__} cannot be exported: torch cannot make one graph of it")
    first, second, third = paths = [folder / f"{name}{suffix}" for suffix in (".pt2", ".onnx", ".json")]
    if found := [path for path in paths if path.exists()]:
        raise InputError(f"{found[0]} is there already; name another folder with --output, or remove it first")
    labels = BUILTIN_CLASSES[:3]
    points = torch.from_numpy(np.stack([make_shape(label, "test", 0, model.num_points) for label in labels]))
    whole = Program(model).eval()
    with torch.no_grad():
        wanted = whole(points)
    shapes = ({0: torch.export.Dim("batch", min=1, max=4096)},)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporters, about themselves
        written = [Path(place) / path.name for path in paths]
        try:
            program = torch.export.export(whole, (points[:2],), dynamic_shapes=shapes)
            torch.export.save(program, written[0])
            _write_onnx(program, points[:2], written[1])
        except Exception as error:  # torch has many kinds
            raise InputError(f"{type(model.network).__name__} cannot be exported ({reason(error)})") from error
        differences = _checked(written[0], written[1], points, wanted)
        written[2].write_text(_description(model, wanted.shape[1], differences), encoding="utf-8")
        for source, target in zip(written, paths, strict=True):
            with atomic_write(target) as file:
                file.write_bytes(source.read_bytes())
    return Exported(first, second, third, differences)


def _write_onnx(program: torch.export.ExportedProgram, points: Tensor, path: Path) -> None:
    names: dict[str, Any] = {"input_names": ["points"], "output_names": ["probabilities"], "external_data": False}
    torch.onnx.export(program, (points,), path, dynamo=True, verbose=False, **names)


def _checked(program: Path, onnx: Path, points: Tensor, wanted: Tensor) -> dict[str, float]:
    given = program.with_name("given.npz")
    np.savez(given, points=points.numpy(), wanted=wanted.numpy())
    command = [sys.executable, "-c", CHECK, str(program), str(onnx), str(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise InputError(f"the exported programs do not run without dgl and this package ({last})")
    differences: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    for name, difference in differences.items():
        if not difference <= LARGEST_DIFFERENCE:
            raise InputError(
                f"the exported program of {name} differs by {difference:.2g} in a probability, more than "
                f"{LARGEST_DIFFERENCE:g}; nothing was written"
            )
    return differences


def _description(model: TrainedClassifier, count: int, differences: dict[str, float]) -> str:
    content = {
        "input": {"name": "points", "shape": ["batch", model.num_points, 3], "dtype": "float32"},
        "output": {"name": "probabilities", "shape": ["batch", count], "dtype": "float32"},
        "class_names": list(model.names(count)),
        "temperature": model.temperature,
        "largest_difference": differences,
    }
    return json.dumps(content, indent=1)
