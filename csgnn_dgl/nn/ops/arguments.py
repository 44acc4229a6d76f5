"""What each kernel is given: the structures of ``cpp/arguments.h``, field by field."""

from __future__ import annotations

import ctypes


def _structure(sizes: str, tensors: str, choices: str = "") -> type[ctypes.Structure]:
    kinds = ((sizes, ctypes.c_int64), (tensors, ctypes.c_void_p), (choices, ctypes.c_bool))
    fields = [(name, kind) for names, kind in kinds for name in names.split()]
    return type("Arguments", (ctypes.Structure,), {"_fields_": fields, "__slots__": ()})  # slots: no other fields


ARGUMENTS = {
    "intra_forward": _structure(
        "nodes edges batch in_channels out_channels",
        "features weight bias sources offsets result mean scatter scale shift",
        "measures normalises adds_features",
    ),
    "intra_backward": _structure(
        "nodes edges batch in_channels out_channels",
        "gradient features weight targets offsets residual before scale shift mean"
        " features_gradient weight_gradient sums",
        "on_line wants_features adds_residual sums_before",
    ),
    "radial_forward": _structure(
        "spheres vertices batch taps in_channels out_channels",
        "features weight bias line_scale line_shift result mean scatter scale shift",
        "on_line measures normalises adds_features",
    ),
    "radial_backward": _structure(
        "spheres vertices batch taps in_channels out_channels",
        "gradient result norm_scale norm_shift norm_mean norm_slope norm_constant features weight before scale shift"
        " mean features_gradient weight_gradient sums",
        "after_norm on_line wants_features sums_before",
    ),
    "norm_forward": _structure("rows channels", "input scale shift residual result", "adds_residual"),
    "norm_sums": _structure("rows channels", "gradient input scale shift mean sums"),
    "norm_backward": _structure("rows channels", "gradient input scale shift mean slope constant input_gradient"),
    "max_forward": _structure(
        "source_count target_count edges length", "features sources offsets result winners", "wants_winners"
    ),
    "max_backward": _structure(
        "source_count target_count edges length", "gradient winners targets places offsets features_gradient"
    ),
    "overall_max": _structure("rows length", "features result winners"),
    "smallest": _structure("rows length count", "features result"),
}
"""The structure of each kernel: sizes, then tensors, then choices. What no choice asks for may be missing."""
