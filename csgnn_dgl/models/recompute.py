"""Less memory for more time: parts of a model that are computed a second time when their gradients are due."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from csgnn_dgl.nn.norm import without_observing


def recomputed(function: Callable[..., Any], module: nn.Module, *arguments: Any) -> Any:
    """Return ``function(*arguments)``, keeping for the gradient nothing but the arguments.

    `function` is computed again when the gradient is due, so nothing in it may be random. It uses the parameters of
    `module`; the running averages of its norms move the first time only.
    """
    return checkpoint(
        function, *arguments, use_reentrant=False, preserve_rng_state=False, context_fn=partial(_contexts, module)
    )


def _contexts(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds the first computation, and the second."""
    return nullcontext(), without_observing(module)
