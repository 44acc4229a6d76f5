"""Whether torch computes, or records what is to be computed."""

import torch


def traced() -> bool:
    """Whether torch records the computation: under ``torch.compile``, ``torch.export`` or ``torch.jit.trace``."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
