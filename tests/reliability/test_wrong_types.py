"""Checkpoints whose checksum fits and whose content is of another type than it should be."""

import shutil
from pathlib import Path

import pytest

from csgnn_dgl.errors import InputError
from csgnn_dgl.models.base import read_checkpoint, write_checkpoint
from csgnn_dgl.training import fit
from tests.reliability.harness import Training

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize(("key", "value"), [("loops", 5), ("callbacks", [1]), ("DOSData", {"epoch": "x"})])
def test_a_state_of_another_type_is_not_gone_on_with(key, value, tmp_path):
    training = Training(tmp_path, "dos")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(FIXTURES / "dos.yaml", run / "config.yaml")
    checkpoint = read_checkpoint(FIXTURES / "dos.ckpt")
    write_checkpoint(run / "checkpoints" / "last.ckpt", {**checkpoint, key: value})
    with pytest.raises(InputError, match="last.ckpt holds what no training of this version can go on with"):
        fit(resume=run, data={"source": str(training.folder / "data")})
