"""A stand-in for the processes that measure: everything happens here, which is fast."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

import pytest

from benchmarks import harness
from benchmarks.harness import Session


class Here:
    """Does what a `Worker` does, in this process."""

    def __init__(self, session: Session, keep_blocks: bool = True) -> None:
        self.keep_blocks = keep_blocks

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def __enter__(self) -> "Here":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, in turns that take no longer than they must."""
    monkeypatch.setattr(harness, "Worker", Here)
    run = harness.run
    monkeypatch.setattr(harness, "run", lambda name, mode, least=0.0, warm_up=False: run(name, mode, 0.0, warm_up))
