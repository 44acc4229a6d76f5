"""The error that a person, not a programmer, is meant to read."""


class InputError(ValueError):
    """Something a user handed in cannot be used.

    The message is one sentence that names the file or option, the value found there and the fix. The programs
    in ``pipelines`` print it as ``error: ...`` and end with exit code 2; from Python it is a ``ValueError``.
    """
