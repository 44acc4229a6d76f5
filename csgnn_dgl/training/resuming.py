"""What may differ between the beginning of a training and its continuation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from csgnn_dgl.errors import InputError
from csgnn_dgl.models.base import Place
from csgnn_dgl.notes import note
from csgnn_dgl.training.config import load_yaml

FREE = (
    "config", "name", "runs", "resume", "test_at_end", "skip_not_finite", "checkpoint_minutes", "board", "trust",
    "data.num_workers", "data.progress", "data.votes",
    "trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.min_epochs", "trainer.min_steps",
    "trainer.enable_", "trainer.logger", "trainer.callbacks", "trainer.log_every_n_steps", "trainer.profiler",
    "trainer.default_root_dir", "trainer.num_sanity_val_steps", "trainer.detect_anomaly", "trainer.plugins",
)  # fmt: skip
"""How the names of options begin that change no bit of what is trained."""

NAMED = ("data.source", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy")
"""Options that have to change where a run moves, and may change the last bits: told, not refused."""


def check_options(run: Place, begun: str, given: str) -> None:
    """Make sure that a training goes on under the options that it began with.

    Parameters
    ----------
    run
        The run folder, for messages.
    begun, given
        Configs as YAML: of the beginning, and of now. Options that only one of them has are of another version.

    Raises
    ------
    InputError
        If one differs that would change what is trained: all of them are named with both values.
    """
    before, now = (flat(load_yaml(text, run) or {}) for text in (begun, given))
    changed = [key for key in before if key in now and before[key] != now[key] and not key.startswith(FREE)]
    refused = [key for key in changed if not key.startswith(NAMED)]
    if refused:
        differing = "; ".join(f"{key} = {now[key]!r} here and {before[key]!r} in the run" for key in refused)
        raise InputError(
            f"{run} can only go on as it was begun ({differing}): leave these options out, or begin a new run"
        )
    for key in changed:
        note(run, f"goes on with {key} = {now[key]!r}, where it was {before[key]!r}")


def flat(options: Any, path: str = "") -> dict[str, Any]:
    """Return nested options by their names with dots."""
    if not isinstance(options, Mapping) or not options:
        return {path: options}
    return {
        name: value
        for key, item in options.items()
        for name, value in flat(item, f"{path}.{key}" if path else str(key)).items()
    }
