"""Signals that ask a training to end: they are noted, and the training ends at the end of a step."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

ASKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

IMPATIENT = 1.0
"""Seconds after which a second Ctrl-C ends the training at once."""


class Stopped(Exception):
    """A training has ended at a signal, with a checkpoint of its last step.

    Parameters
    ----------
    number
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class StopSignals:
    """Notes signals while it is active; what was in force before is so again afterwards.

    A handler does nothing but note: what several processes do together belongs between two steps, never here. Workers
    that are forked meanwhile let the signals pass, since those of a terminal reach all processes; a signal that was
    ignored before, as under nohup, stays so.

    Attributes
    ----------
    number
        The first signal that came, or 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._active = False
        self._since = 0.0
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    def activate(self) -> None:
        """Begin to note signals, or take them back from who has taken them since."""
        if threading.current_thread() is not threading.main_thread():
            return
        if not self._active:
            self.number, self._active, self._owner = 0, True, os.getpid()
            found = {number: signal.getsignal(number) for number in ASKED}
            self._before = {number: handler for number, handler in found.items() if handler != signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self._note)

    def deactivate(self) -> None:
        """Put back what was in force before."""
        if not self._active:
            return
        self._active = False
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return
        if not self._active:  # put back by somebody who had kept it
            signal.signal(number, self._before[number])
            os.kill(self._owner, number)
        elif not self.number:
            self.number, self._since = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._since > IMPATIENT:
            raise KeyboardInterrupt
