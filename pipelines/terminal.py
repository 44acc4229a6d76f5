"""What the programs share in talking to people: errors, quiet libraries, progress."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import TQDMProgressBar
from tqdm import tqdm

from csgnn_dgl.errors import InputError
from csgnn_dgl.training.runs import epoch_is_whole

USER_ERROR = 2
INTERRUPTED = 130

_NOISE = (
    r".*does not have many workers which may be a bottleneck.*",
    r".*GPU available but not used.*",
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*Using `DistributedSampler` with the dataloaders.*",
    r".*it is recommended to use `self.log\(.*sync_dist=True\)`.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*LightningCLI's args parameter.*",
    r".*using `trainer.test\(\)` in distributed.*",
    r".*`self.trainer.ckpt_path`.*",
    r".*Be aware that when using `ckpt_path`, callbacks used to create the checkpoint.*",
    r".*The dataloader, .* does not have many workers.*",
)


def quieten() -> None:
    """Silence the hints of Lightning that a user of these programs can do nothing about."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "lightning_utilities"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for pattern in _NOISE:
        warnings.filterwarnings("ignore", message=pattern)


def on_first_process() -> bool:
    """Whether this is the process that may print, also under torchrun."""
    return os.environ.get("RANK", "0") == "0" and os.environ.get("LOCAL_RANK", "0") == "0"


def say(text: str) -> None:
    """Print on the first process only, above any progress bar."""
    if on_first_process():
        tqdm.write(text)
        sys.stdout.flush()


def one_sentence(message: str) -> str:
    """Fold a message of several lines into one."""
    return re.sub(r"\s+", " ", message).strip()


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

    def __init__(self, keys: dict[str, str]) -> None:
        self.keys = keys

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the measured values that `keys` maps to a format."""
        if not epoch_is_whole(trainer):
            say(f"epoch {trainer.current_epoch + 1} was cut short by the limit on time or steps and is not kept")
            return
        values: dict[str, Any] = {**trainer.callback_metrics}
        parts = [form.format(float(values[key])) for key, form in self.keys.items() if key in values]
        say(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: " + ", ".join(parts))
