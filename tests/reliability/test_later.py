"""Runs that an earlier version saved within an epoch go on under this one, and end as they did then.

``python -m tests.reliability.test_later FOLDER`` makes the fixtures anew; those that are there have to go on for ever.
"""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from csgnn_dgl.models.base import read_checkpoint
from csgnn_dgl.training import fit
from tests.reliability.harness import Training
from tests.tiny_training import Stop, figures, quick_figures
from tests.tolerances import TRAINED

__all__ = ["figures", "quick_figures"]

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.slow
@pytest.mark.parametrize("program", ["modelnet", "dos"])
def test_a_run_of_an_earlier_version_goes_on(program, tmp_path):
    training = Training(tmp_path, program)  # for its data
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(FIXTURES / f"{program}.yaml", run / "config.yaml")
    for name in ("last", "best"):
        shutil.copy(FIXTURES / f"{program}.ckpt", run / "checkpoints" / f"{name}.ckpt")
    before = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert before["epoch"] == 1 and before["ModelNetData" if program == "modelnet" else "DOSData"]["batch"] == 2
    fit(resume=run, data={"source": str(training.folder / "data")})
    wanted = torch.load(FIXTURES / f"{program}-end.pt", weights_only=True)
    for name, value in read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"].items():
        torch.testing.assert_close(value, wanted[name], **TRAINED[torch.float32])


def make(folder: Path) -> None:
    """Make the fixtures, with this version."""
    FIXTURES.mkdir(exist_ok=True)
    folder = folder.resolve()
    for program in ("modelnet", "dos"):
        (folder / program).mkdir()
        os.chdir(folder / program)  # so that no path but "data" is kept
        training = Training(Path("."), program)
        options = {"runs": str(training.runs), "name": "run"}
        task = "classification" if program == "modelnet" else "dos"
        with suppress(RuntimeError):
            fit(training.config, task=task, callbacks=[Stop(1, 2)], **options)
        run = training.runs / "run"
        shutil.copy(run / "config.yaml", FIXTURES / f"{program}.yaml")
        shutil.copy(run / "checkpoints" / "last.ckpt", FIXTURES / f"{program}.ckpt")
        state = read_checkpoint(fit(resume=run).last)["state_dict"]
        torch.save(dict(state), FIXTURES / f"{program}-end.pt")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
