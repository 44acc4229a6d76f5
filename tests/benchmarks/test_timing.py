import json

import pytest

from benchmarks.memory import peak, resident
from benchmarks.timing import Turn, Worker, ended, interleave, summary
from benchmarks.worker import run, serve
from csgnn_dgl.errors import InputError


class Played(Worker):
    """A worker that notes what it is asked."""

    def __init__(self):
        self.asked = []

    def run(self, name, action, least=0.0):
        self.asked.append(name)
        return {"one": 2.0, "two": 3.0} if action == "measure" else {"": float(len(self.asked))}


def test_turns_are_taken_in_rounds_that_begin_with_another_each_time():
    worker = Played()
    turns = [Turn(name, worker, name, "go") for name in "abc"]
    seconds = interleave(turns, 3, "title", lambda numbers, title: numbers)
    assert "".join(worker.asked) == "cab" + "abc" + "bca" + "cab"
    assert seconds == {"a": [4.0, 9.0, 11.0], "b": [5.0, 7.0, 12.0], "c": [6.0, 8.0, 10.0]}
    measured = interleave([Turn("roof", worker, "a", "measure")], 2, "title", lambda numbers, title: numbers)
    assert measured == {"roof/one": [2.0, 2.0], "roof/two": [3.0, 3.0]}


def test_an_action_is_repeated_until_its_time_is_over(monkeypatch):
    ticks = iter([0.0, 0.04, 0.08, 0.12])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    calls = []
    assert run(lambda: calls.append(1), least=0.1) == {"seconds": pytest.approx(0.04)}
    assert len(calls) == 3


def test_median_and_quartiles():
    assert summary([4.0, 1.0, 2.0, 3.0, 5.0]) == {
        "median": 3.0,
        "lower_quartile": 2.0,
        "upper_quartile": 4.0,
        "all": [4.0, 1.0, 2.0, 3.0, 5.0],
    }


def test_what_goes_wrong_in_a_worker_is_its_reply():
    replies: list[dict[str, str]] = []
    commands = [
        {"make": "mapping:make", "as": "m", "options": {"kind": "prism"}},
        {"run": "m", "action": "batched", "least": 0},
    ]
    serve(map(json.dumps, commands), replies.append)
    assert [reply["kind"] for reply in replies] == ["TypeError", "KeyError"]


def test_a_worker_is_another_process_that_tells_its_faults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Worker(threads=1) as worker:
        options = {"level": 1, "num_spheres": 2, "channels": 2, "num_points": 9, "batch": 2}
        assert worker.make("mapping:make", "shell", kind="shell", **options)["difference"] < 1e-4
        assert worker.run("shell", "batched")[""] > 0
        with pytest.raises(InputError, match="data"):
            worker.make("loading:make", "data", source=str(tmp_path / "nothing"), num_points=9, batch=1)
        with pytest.raises(RuntimeError, match="KeyError: 'tube'"):
            worker.make("mapping:make", "tube", kind="tube", **options)
        worker._process.kill()
        with pytest.raises(InputError, match="most likely for want of memory; lower --batch"):
            worker.run("shell", "batched")
    assert str(ended(-11, "{}")) == "the measuring process ended with code -11 at {}"


def test_memory_is_that_of_this_process():
    before, held = peak(), resident()
    assert 1e6 < held <= before
    block = bytearray(200 << 20)
    assert peak() >= held + len(block) - 1e6
