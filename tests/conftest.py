"""Fixtures that all tests share."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: several processes share the cores

import pytest
import torch

DATA = Path(os.environ.get("CSGNN_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of the layers run elsewhere than on the first GPU, or the CPU where there is none."""
    parser.addoption("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device that layers are tested on."""
    return str(request.config.getoption("device"))


@pytest.fixture(scope="session")
def modelnet40_folder() -> Path:
    """The folder of real ModelNet40 clouds; tests that ask for it are skipped where it is missing."""
    folder = DATA / "modelnet40"
    if not (folder / "train_files.txt").is_file():
        pytest.skip(f"no ModelNet40 files in {folder}; set CSGNN_DATA to the folder that has modelnet40/")
    return folder


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Make what a test draws from torch's global generator the same at every run."""
    torch.manual_seed(0)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Both precisions that every operator is tested in."""
    return request.param
