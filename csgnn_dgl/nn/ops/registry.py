"""What all operators share: the library that torch knows them by, and gradients that can be differentiated again.

An operator is a schema, an implementation for the CPU that calls the kernels, a shape function (fake) and a gradient.
Its file has beside it the same computation in torch's own operators, on any device and differentiable any number of
times: that is what runs where there is no kernel, and what second derivatives are taken of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from csgnn_dgl._compilers import traced

NAMESPACE = "csgnn_dgl"
LIBRARY = torch.library.Library(NAMESPACE, "DEF")


def register(
    name: str,
    schema: str,
    cpu: Callable[..., Any],
    fake: Callable[..., Any],
    flops: Callable[..., int] | None = None,
) -> Any:
    """Make an operator known to torch, and return what is to be called.

    `fake` returns tensors of the shapes and dtypes of the results; `flops` counts additions and multiplications, from
    the arguments with shapes in place of tensors.
    """
    LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, cpu, "CPU")
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=LIBRARY)
    packet = getattr(getattr(torch.ops, NAMESPACE), name)
    if flops is not None:
        register_flop_formula(packet)(flops)
    return packet.default


def computes_itself(tensor: Tensor) -> bool:
    """Whether a tensor is of a class with operators of its own, such as torch's fake tensors, which have no numbers."""
    return torch._C._dispatch_keys(tensor).has(torch._C.DispatchKey.Python)


def transformed() -> bool:
    """Whether torch's own operators must do: exports, ``torch.jit`` traces, ``torch.func``, forward derivatives."""
    if torch.compiler.is_compiling():
        return bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())
    return traced() or torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0


def autocast_operands(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the operands of a matrix product in the type that autocast asks for on their device, if it is on."""
    device = tensors[0].device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(tensor.to(dtype) if tensor.dtype != torch.float64 else tensor for tensor in tensors)


def differentiable_gradients(
    function: Callable[..., Tensor], tensors: Sequence[Tensor], wanted: Sequence[bool], gradient: Tensor
) -> list[Tensor | None]:
    """Return the gradients wanted of a function at tensors of the graph, as tensors of the graph.

    The function is made of operators that can be differentiated twice; `gradient` is that of its result.
    """
    with torch.enable_grad(), torch.autocast(gradient.device.type, enabled=False):
        # Views, so that the gradient of one is not that of what another one was made of.
        arguments = [tensor.view_as(tensor) for tensor in tensors]
        result = function(*arguments)
        chosen = [argument for argument, want in zip(arguments, wanted, strict=True) if want]
        found = iter(torch.autograd.grad(result, chosen, gradient, create_graph=True) if chosen else ())
        return [next(found) if want else None for want in wanted]


def convolution_gradients(
    ctx: Any,
    gradient: Tensor,
    features: Tensor,
    weight: Tensor,
    in_torch: Callable[[Tensor, Tensor], Tensor],
    backward: Callable[[bool], list[Tensor]],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of features, weight and bias of a convolution, which may be differentiated if asked for.

    `backward` returns the gradient of the weight, and if its argument is true that of the features.
    """
    wanted, weight_wanted, bias_wanted = ctx.needs_input_grad[:3]
    if torch.is_grad_enabled():

        def function(features: Tensor, weight: Tensor) -> Tensor:
            return in_torch(features.to(weight.dtype), weight).to(features.dtype)

        needed = (wanted, weight_wanted)
        of_features, of_weight = differentiable_gradients(function, (features, weight), needed, gradient)
    else:
        of_weight, *rest = backward(wanted)
        of_features = rest[0] if wanted else None
    bias = gradient.sum((0, 1, 2), dtype=weight.dtype) if bias_wanted else None
    return of_features, of_weight, bias
