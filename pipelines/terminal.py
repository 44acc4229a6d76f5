"""What the programs share in talking to people: errors, quiet libraries, progress."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Callable

from tqdm import tqdm

from csgnn_dgl.errors import InputError, one_sentence
from csgnn_dgl.notes import LOGGER

USER_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


def on_first_process() -> bool:
    """Whether this is the process that may print, also under torchrun."""
    return os.environ.get("RANK", "0") == "0" and os.environ.get("LOCAL_RANK", "0") == "0"


def visible(text: str) -> str:
    """Write out what would steer a terminal, or turn the direction of writing, in names that files bring along."""
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def say(text: str) -> None:
    """Print on the first process only, above any progress bar."""
    if on_first_process():
        tqdm.write(visible(text))
        sys.stdout.flush()


def complain(text: str) -> None:
    """Print ``error: ...`` on stderr, in one line that any terminal can show."""
    message = one_sentence(text).encode("utf-8", "backslashreplace").decode("utf-8")
    print(f"error: {visible(message)}", file=sys.stderr)


class Notes(logging.Handler):
    """Prints the notes of the package as ``note: ...`` on stderr, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        if on_first_process():
            tqdm.write(f"note: {visible(record.getMessage())}", file=sys.stderr)


def guarded(program: Callable[[], int]) -> int:
    """Run a program; turn errors that the user can mend into ``error: ...`` on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names in letters that the terminal lacks
    notes = Notes()
    if not any(isinstance(handler, Notes) for handler in LOGGER.handlers):  # one program may call another
        LOGGER.addHandler(notes)
    try:
        return program()
    except InputError as error:
        complain(str(error))
        return USER_ERROR
    except BrokenPipeError:  # nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        complain(f"{place}{error.strerror or error}")
        return USER_ERROR
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as end:
        if end.code == 1:  # how Lightning ends validation and testing on Ctrl-C
            print("stopped", file=sys.stderr)
            return INTERRUPTED
        raise
    finally:
        LOGGER.removeHandler(notes)
