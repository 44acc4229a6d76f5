"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest
import torch

DATA = Path(os.environ.get("CSGNN_DATA", Path(__file__).parents[2] / "shared" / "data"))


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
