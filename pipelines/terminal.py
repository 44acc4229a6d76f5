"""What the programs share in talking to people: errors, quiet libraries, progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import TQDMProgressBar
from tqdm import tqdm

from csgnn_dgl.errors import InputError, one_sentence
from csgnn_dgl.training.runs import epoch_is_whole

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


class EpochBar(TQDMProgressBar):
    """Lightning's progress bar, counting epochs from 1."""

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Begin the bar of the epoch."""
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")


class EpochLines(L.Callback):
    """Prints one line per epoch, which stays where a progress bar does not.

    Parameters
    ----------
    keys
        Format of each measured value by its name.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.keys = keys

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the measured values that `keys` maps to a format."""
        if not epoch_is_whole(trainer):
            say(f"epoch {trainer.current_epoch + 1} was cut short by the limit on time or steps and is not kept")
            return
        values: dict[str, Any] = {**trainer.callback_metrics}
        parts = [form.format(float(values[key])) for key, form in self.keys.items() if key in values]
        say(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: " + ", ".join(parts))
