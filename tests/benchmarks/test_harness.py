import os
import signal

import pytest
import torch

from benchmarks import harness
from benchmarks.harness import (
    Built,
    Entry,
    Session,
    Worker,
    Workers,
    ended,
    held,
    measure,
    measure_memory,
    missing_text,
    run,
    summary,
)
from csgnn_dgl.errors import InputError
from tests.benchmarks.here import here as here
from tests.tolerances import EXACT, approx


class Noting:
    """Stands for both processes, and notes what it is asked."""

    def __init__(self):
        self.asked = []

    def __getitem__(self, keep_blocks):
        return self

    def __call__(self, function, *arguments):
        if function is run:
            self.asked.append("".join(arguments[:2]))
            return float(len(self.asked))
        return function(*arguments)


def build_numbers(value=1.0, fail=None, modes="x"):
    """What the entries of these tests are."""
    if fail is not None:
        raise fail("\n  cannot be built\n because")
    return Built(dict.fromkeys(modes, lambda: None), {"values": torch.tensor([value])})


def entry(name, optional=False, **options):
    return Entry(name, build_numbers, options, optional=optional)


def test_turns_are_taken_in_rounds_that_begin_with_another_each_time():
    here = Noting()
    found = measure([entry("a"), entry("b", modes="xy")], 2, Session(), "title", workers=here)  # type: ignore[arg-type]
    assert here.asked == [*("by", "ax", "bx"), *("ax", "bx", "by"), *("bx", "by", "ax")]
    assert found.times["a"]["x"]["all"] == [4.0, 9.0]
    assert found.times["b"]["y"]["all"] == [6.0, 8.0]
    assert found.missing == {}


def test_what_is_computed_is_compared_before_anything_is_timed():
    here, seen = Noting(), {}

    def verify(outputs):
        seen.update(outputs)
        raise RuntimeError("they differ")

    with pytest.raises(RuntimeError, match="they differ"):
        measure([entry("a"), entry("b", value=2.0)], 1, Session(), "title", verify, here)  # type: ignore[arg-type]
    assert {name: of_name["values"].item() for name, of_name in seen.items()} == {"a": 1.0, "b": 2.0}
    assert here.asked == []


def test_what_may_fail_to_be_built_is_left_out_in_one_line():
    def go(*entries):
        return measure(entries, 1, Session(), "title", workers=Noting())  # type: ignore[arg-type]

    found = go(entry("a"), entry("b", fail=RuntimeError, optional=True))
    assert list(found.times) == ["a"]
    assert missing_text(found.missing) == "b: not available: cannot be built"
    with pytest.raises(RuntimeError, match="cannot be built"):
        go(entry("a"), entry("b", fail=RuntimeError))
    with pytest.raises(InputError, match="b: not available"):
        go(entry("b", fail=RuntimeError, optional=True))


def test_an_action_is_repeated_until_its_time_is_over(monkeypatch):
    ticks = iter([0.0, 0.04, 0.12])
    calls = []
    monkeypatch.setattr(harness, "timer", lambda: next(ticks))
    monkeypatch.setitem(harness._BUILT, "a", Built({"x": lambda: calls.append(1)}))
    assert run("a", "x") == approx(0.04, **EXACT)
    assert len(calls) == 3
    ticks = iter([0.0, 0.5, 0.5])
    assert run("a", "x", short=True) == 0.5
    assert len(calls) == 5


def test_median_and_quartiles():
    assert summary([4.0, 1.0, 2.0, 3.0, 5.0]) == {
        "median": 3.0,
        "lower_quartile": 2.0,
        "upper_quartile": 4.0,
        "all": [4.0, 1.0, 2.0, 3.0, 5.0],
    }


@pytest.mark.slow
def test_a_worker_is_another_process_that_tells_its_faults():
    with Workers() as workers:
        worker = workers[True]
        assert workers[True] is worker
        assert worker(os.getpid) != os.getpid()
        with pytest.raises(InputError, match="cannot be built"):
            worker(harness.build, entry("a", fail=InputError))
        with pytest.raises(InputError, match="invalid literal for int"):
            worker(int, "a")
        with pytest.raises(RuntimeError, match="KeyError: 'tube'"):
            worker(run, "tube", "x")
        os.kill(worker(os.getpid), signal.SIGKILL)
        with pytest.raises(InputError, match="at getpid, most likely for want of memory; lower --batch"):
            worker(os.getpid)
    assert str(ended(-11, "run")) == "the measuring process ended with code -11 at run"


def hold(size):
    """Return what a process holds, with its peak, before and after it takes a block."""
    before = held("cpu", peak=False), held("cpu")
    block = bytearray(size)
    return before, (held("cpu", peak=False), held("cpu")), len(block)


@pytest.mark.slow
def test_memory_is_that_of_the_process():
    with Worker() as worker:  # alone in its process: nothing else gives memory back meanwhile
        worker(hold, 1 << 20)
        (now, peak), (full, full_peak), size = worker(hold, 400 << 20)
        (after, _), _, _ = worker(hold, 1 << 20)
    assert 1e6 < now <= peak
    assert 0.9 * size < full - now < 1.1 * size
    assert full_peak >= max(peak, full) - 1e6
    assert after < full - 0.9 * size


def refuse():
    """Stand for a mode that is not to be measured."""
    raise AssertionError("only the first mode is asked for")


def build_block(size):
    """Build an entry that holds so much."""
    blocks = [bytearray(size)]
    return Built({"training": lambda: len(blocks), "y": refuse})


@pytest.mark.slow
def test_memory_is_that_of_an_entry_and_its_first_mode():
    found = measure_memory(Entry("a", build_block, {"size": 400 << 20}), 2)
    assert found["added"] == found["peak"] - found["before"] >= 360 << 20
    assert found["seconds"] >= 0
