import pytest
import yaml

from pipelines.modelnet import main
from tests.tiny_training import figures, inline_jobs, quick_figures
from tests.toy_shapes import NETWORK, NUM_POINTS, write_shapes

__all__ = ["figures", "inline_jobs", "quick_figures"]


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory):
    """A config that trains in a second, on three kinds of ellipsoids."""
    folder = tmp_path_factory.mktemp("pipelines")
    source = write_shapes(folder / "data")
    content = {
        "model": {"network": {"class_path": "csgnn_dgl.models.CSGNN", "init_args": NETWORK}, "learning_rate": 1e-2},
        "data": {"source": str(source), "num_points": NUM_POINTS, "batch_size": 8, "votes": 2},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    }
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture(scope="session")
def trained(tiny_config, tmp_path_factory):
    """A finished run folder. Tests may read it."""
    folder = tmp_path_factory.mktemp("trained")
    assert main(["fit", "--config", str(tiny_config), "--runs", str(folder), "--name", "one"]) == 0
    return folder / "one"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def failing(work, capsys, request):
    """Run the program of a test's module, and return the one line that it ended with after making nothing."""

    def run(*arguments):
        before = sorted(work.rglob("*"))
        assert request.module.main(list(arguments)) == 2
        assert sorted(work.rglob("*")) == before
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1
        return shown.err

    return run
