"""What all operators share: the library that torch knows them by, and gradients that can be differentiated again.

An operator is a schema, an implementation for the CPU that calls the kernels, a shape function (fake) and a gradient.
Its file has beside it the same computation in torch's own operators, on any device and differentiable any number of
times: that is what runs where there is no kernel, and what second derivatives are taken of.
"""

from __future__ import annotations

import math
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
    key: str = "CPU",
) -> Any:
    """Make an operator known to torch, and return what is to be called.

    `fake` returns tensors of the shapes and dtypes of the results; `flops` counts additions and multiplications, from
    the arguments with shapes in place of tensors. `key` is what of torch's dispatcher the implementation is for.
    """
    LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, cpu, key)
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


def register_convolution(
    name: str,
    tables: Sequence[str],
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    in_torch: Callable[..., Tensor],
) -> Any:
    """Make a convolution of features (R, V, B, C), weight, bias and tables known to torch, with its gradients.

    `forward` is called with the first two tables, `backward` with the others; both answer as those of `library` do.
    `in_torch` computes the same as `forward` from all tables.
    """

    def cpu(features: Tensor, weight: Tensor, bias: Tensor | None, *given: Tensor) -> Any:
        bias = None if bias is None else bias.contiguous()
        return forward(features.contiguous(), weight.contiguous(), bias, *given[:2]).result

    def fake(features: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        return features.new_empty(*features.shape[:3], weight.shape[-1])

    def backward_cpu(gradient: Tensor, features: Tensor, weight: Tensor, *rest: Any) -> list[Tensor]:
        *readers, wanted = rest
        tensors = (tensor.contiguous() for tensor in (gradient, features, weight))
        found = backward(*tensors, *readers, wanted=wanted)
        return [found.weight, found.features] if wanted else [found.weight]

    def backward_fake(gradient: Tensor, features: Tensor, weight: Tensor, *rest: Any) -> list[Tensor]:
        found = [weight.new_empty(weight.shape)]
        return [*found, features.new_empty(features.shape)] if rest[-1] else found

    def backward_flops(gradient: Any, features: Any, weight: Any, *rest: Any, **options: Any) -> int:
        return product_flops(features, weight) * (2 if rest[-1] else 1)

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        features, weight, _, *given = inputs
        ctx.save_for_backward(features, weight, *given)

    def gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, *given = ctx.saved_tensors
        wanted, weight_wanted, bias_wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():

            def function(features: Tensor, weight: Tensor) -> Tensor:
                return in_torch(features.to(weight.dtype), weight, None, *given).to(features.dtype)

            needed = (wanted, weight_wanted)
            of_features, of_weight = differentiable_gradients(function, (features, weight), needed, gradient)
        else:
            of_weight, *rest = of_operator(gradient, features, weight, *given[2:], wanted)
            of_features = rest[0] if wanted else None
        bias = gradient.sum((0, 1, 2), dtype=weight.dtype) if bias_wanted else None
        return (of_features, of_weight, bias, *[None] * len(given))

    arguments = ["Tensor features", "Tensor weight", "Tensor? bias", *(f"Tensor {table}" for table in tables)]
    operator = register(name, f"({', '.join(arguments)}) -> Tensor", cpu, fake, product_flops)
    arguments = ["Tensor gradient", *arguments[:2], *arguments[5:], "bool wanted"]
    schema = f"({', '.join(arguments)}) -> Tensor[]"
    of_operator = register(f"{name}_backward", schema, backward_cpu, backward_fake, backward_flops)
    torch.library.register_autograd(f"{NAMESPACE}::{name}", gradients, setup_context=setup, lib=LIBRARY)
    return operator


def product_flops(features: Any, weight: Any, *rest: Any, **options: Any) -> int:
    """Count the operations of a convolution of features (R, V, B, C) by a weight (C, F) or (K, C, F)."""
    taps = min(weight[0], 2 * features[0] - 1) if len(weight) == 3 else 1
    return 2 * math.prod(features[:3]) * taps * math.prod(weight[-2:])
