"""What the programs share in talking to people: errors, quiet libraries, progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from tqdm import tqdm

from csgnn_dgl.errors import InputError, one_sentence

USER_ERROR = 2
INTERRUPTED = 130


def on_first_process() -> bool:
    """Whether this is the process that may print, also under torchrun."""
    return os.environ.get("RANK", "0") == "0" and os.environ.get("LOCAL_RANK", "0") == "0"


def say(text: str) -> None:
    """Print on the first process only, above any progress bar."""
    if on_first_process():
        tqdm.write(text)
        sys.stdout.flush()


def guarded(program: Callable[[], int]) -> int:
    """Run a program; turn errors that the user can mend into ``error: ...`` on stderr and exit code 2."""
    try:
        return program()
    except InputError as error:
        print(f"error: {one_sentence(str(error))}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as end:
        if end.code == 1:  # how Lightning ends validation and testing on Ctrl-C
            print("stopped", file=sys.stderr)
            return INTERRUPTED
        raise
