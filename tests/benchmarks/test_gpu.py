import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, suite
from benchmarks.harness import ROOT
from benchmarks.surroundings import child_environment
from tests.benchmarks.here import here as here

WITHOUT_PACKAGES = """
import sys
for name in ("dgl", "jsonargparse", "lightning", "h5py", "trimesh", "sklearn"):
    sys.modules[name] = None  # as if it were not installed
"""


@pytest.mark.slow
def test_it_runs_without_dgl_and_jsonargparse(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PACKAGES)
    environment = {**child_environment(), "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    words = ["--device", "cpu", "--tiny", "--output", str(tmp_path), "--parts", "spheres"]
    command = [sys.executable, "-m", "benchmarks.gpu", *words]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["parts"]["spheres"]["status"] == "done"
    assert "## spheres" in (tmp_path / "summary.md").read_text()


def test_all_parts_run_on_the_cpu(tmp_path, capsys, monkeypatch, here):
    monkeypatch.setattr(gpu, "FROM_CLOUDS", ("auto",))
    parts = {
        **gpu.PARTS,
        "speed": gpu.timings(suite.speed, 1, contenders=("auto", "composition-torch")),
        "layers": gpu.timings(suite.layers, 1, contenders=("auto-bf16",)),
    }
    monkeypatch.setattr(gpu, "PARTS", parts)
    words = ["--device", "cpu", "--tiny", "--output", str(tmp_path), "--parts", *list(gpu.PARTS)[1:]]
    assert gpu.main(words) == 0, capsys.readouterr().out
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert {name: part["status"] for name, part in parts.items()} == dict.fromkeys(list(gpu.PARTS)[1:], "done")
    assert "s per epoch of 9,840" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(("code", "status"), [(0, "done"), (1, "failed")])
def test_the_tests_of_the_layers_are_run_and_a_part_that_fails_costs_no_other(tmp_path, monkeypatch, code, status):
    asked = []

    def play(command, **options):
        asked.append((command, options))
        return subprocess.CompletedProcess(command, code, "FAILED tests/nn/test_a.py\n3 passed in 1s\n", "")

    monkeypatch.setattr(subprocess, "run", play)
    monkeypatch.setattr(gpu, "PARTS", {"tests": gpu.tests, "next": lambda *given: {"well": True}})
    assert gpu.main(["--device", "cpu", "--tiny", "--output", str(tmp_path)]) == code
    (command, options) = asked[0]
    assert command[-1].endswith("tests/nn") or "tests/nn" in command
    assert 0 < options["timeout"] < 9 * 60
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["parts"]["tests"]["status"] == status
    assert document["parts"]["next"]["status"] == "done"


def test_a_part_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PARTS", {"long": lambda *given: time.sleep(60)})
    assert gpu.main(["--device", "cpu", "--tiny", "--minutes", "0.001", "--output", str(tmp_path)]) == 1
    assert json.loads((tmp_path / "results.json").read_text())["parts"]["long"]["note"] == "the time was over"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_program_says_so(tmp_path: Path, capsys):
    assert gpu.main(["--output", str(tmp_path)]) == 2
    assert "torch sees no CUDA GPU" in capsys.readouterr().err
