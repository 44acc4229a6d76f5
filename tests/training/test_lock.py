"""One training at a time in a run folder."""

import os
import signal
import time

import pytest

from csgnn_dgl.errors import InputError
from csgnn_dgl.training.lock import FolderLock
from tests.tiny_training import Stop


def test_the_holder_of_a_lock_is_named(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    with pytest.raises(InputError, match=rf"is being trained in by process {os.getpid()} on .* since \d{{4}}-.*; wait"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    assert (tmp_path / ".lock").read_text() == ""


def test_the_lock_of_a_killed_process_is_free_though_its_workers_live(tmp_path):
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        FolderLock(tmp_path).acquire()
        worker = os.fork()
        os.write(theirs, f"{worker or 0}\n".encode()) if worker else time.sleep(60)
        time.sleep(60)
    worker = int(os.read(ours, 20))
    with pytest.raises(InputError, match=f"process {child} on"):
        FolderLock(tmp_path).acquire()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.kill(worker, 0)  # it lives
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()
    lock.release()
    os.kill(worker, signal.SIGKILL)


def test_a_run_is_trained_by_one_process_at_a_time(build):
    trainer, model, data, folder = build(callbacks=[Stop(1, 0)])
    with pytest.raises(RuntimeError, match="killed"):
        trainer.fit(model, datamodule=data)
    lock = FolderLock(folder.run.path)  # free again after the error
    lock.acquire()
    trainer, model, data, _ = build(resume=folder.run)
    with pytest.raises(InputError, match="is being trained in by process"):
        trainer.fit(model, datamodule=data, ckpt_path=str(folder.run.last), weights_only=True)
    lock.release()
