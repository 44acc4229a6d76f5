"""Exported classifiers: programs that run without dgl and this package."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from csgnn_dgl.data import CloudTransform
from csgnn_dgl.models import CSGNN
from csgnn_dgl.tasks.classification.trained import load_classifier
from pipelines.export import main
from tests.tolerances import COARSE
from tests.toy_shapes import NUM_POINTS


def test_what_onnx_needs_is_named_where_it_is_missing(failing, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    assert "export needs onnxscript; install them with pip install 'csgnn_dgl[export]'" in failing("builtin-small")


def test_other_models_and_files_that_are_there_are_refused(failing, work, monkeypatch):
    pytest.importorskip("onnxscript")
    with monkeypatch.context() as patch:
        patch.setattr(CSGNN, "one_graph", False)
        assert "CSGNN cannot be exported" in failing("builtin-small")
    (work / "exported").mkdir()
    (work / "exported" / "builtin-small.onnx").touch()
    assert "exported/builtin-small.onnx is there already" in failing("builtin-small")
    assert "dos.ckpt holds no classifier" in failing("dos")


@pytest.mark.slow
def test_both_programs_answer_as_the_model_does(trained, work, capsys):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert main([str(trained), "--output", "out"]) == 0
    assert "out/one.onnx: probabilities differ by " in capsys.readouterr().out
    description = json.loads((work / "out" / "one.json").read_text())
    assert description["class_names"] == ["ball", "rod", "slab"]
    assert description["input"]["shape"] == ["batch", NUM_POINTS, 3]
    points = 7 * torch.randn(4, NUM_POINTS, 3) + torch.tensor([3.0, 0.0, -1.0])
    model = load_classifier(trained)
    wanted = model.probabilities(model.answer(CloudTransform()(points))[0])
    session = runtime.InferenceSession(work / "out" / "one.onnx")
    (found,) = session.run(None, {"points": points.numpy()})
    np.testing.assert_allclose(found, wanted, **COARSE)
    program = torch.export.load(work / "out" / "one.pt2").module()
    np.testing.assert_allclose(program(points).detach(), wanted, **COARSE)
