"""Names the parts of a model whose derivatives are likely to be wrong, for error messages."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

_WEIGHT_NORM = (
    "torch's second derivative of weight_norm is wrong: compute g * v / v.norm(dim=..., keepdim=True) in forward"
)

_HOOK = "BackwardHookFunctionBackward"
"""The node that torch inserts for a module's backward hook. Left out, since `_hooked_modules` names the module."""


def suspects(model: nn.Module, loss: Tensor) -> str:
    """Sentences that name the likely causes in a model and the graph of its loss; empty if none is known."""
    found = [f"{name!r} has a backward hook: remove it while measuring" for name in _hooked_modules(model)]
    operations = {_name(node) for node in _nodes(loss)}
    if any(name.startswith("WeightNormInterface") for name in operations):
        found.append(_WEIGHT_NORM)
    custom = sorted(name.removesuffix("Backward") for name in operations if name.startswith("custom "))
    if custom:
        listed = ", ".join(name.removeprefix("custom ") for name in custom)
        found.append(f"custom autograd.Function {listed}: compute its backward from saved inputs, differentiably")
    return "".join(f" Likely cause: {cause}." for cause in found)


def _hooked_modules(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if module._backward_hooks or module._backward_pre_hooks]


def _name(node: Any) -> str:
    name = str(node.name())
    custom = isinstance(node, torch._C._FunctionBase) and name != _HOOK
    return f"custom {name}" if custom else name


def _nodes(loss: Tensor) -> Iterator[Any]:
    seen: set[Any] = {None}
    waiting = [loss.grad_fn]
    while waiting:
        node: Any = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(source for source, _ in node.next_functions)
            yield node
