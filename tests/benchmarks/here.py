"""A stand-in for the processes that measure: everything happens here, which is fast."""

from typing import Any

import pytest

from benchmarks import harness


class Here:
    """Does what a `Worker` does, in this process."""

    def __init__(self, keep_blocks: bool = True) -> None:
        self.keep_blocks = keep_blocks

    def __call__(self, function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, in turns that take no longer than they must."""
    monkeypatch.setattr(harness, "Worker", Here)
    monkeypatch.setattr(harness, "LEAST", 0.0)
    monkeypatch.setattr(harness, "SHORTEST", 0.0)
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)
