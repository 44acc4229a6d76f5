"""The error that a person, not a programmer, is meant to read, and what all parts share around it."""

import re
from numbers import Integral


class InputError(ValueError):
    """Something a user handed in cannot be used.

    The message is one sentence that names the file or option, the value found there and the fix. The programs
    in ``pipelines`` print it as ``error: ...`` and end with exit code 2; from Python it is a ``ValueError``.
    """


def reason(error: Exception) -> str:
    """Return what an error says, in one line, or else its type; up to 200 characters unless the words are our own."""
    text = " ".join(str(error).split())
    return (text if isinstance(error, InputError) else text[:200]) or type(error).__name__


def check_counts(at_least: int = 1, /, **counts: object) -> None:
    """Raise ValueError, naming the argument, unless every one is an integer of at least 1, or `at_least`."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, Integral) or count < at_least:
            raise ValueError(f"{name} must be an integer of at least {at_least}, not {count!r}")


def one_sentence(message: str) -> str:
    """Fold a message of several lines into one."""
    return re.sub(r"\s+", " ", message).strip()
