"""Tests whether a network is piecewise linear in every single parameter, which implies tr(H) = tr(GGN) exactly.

H = J'(d2L/dz2)J + sum_c (dL/dz_c) d2z_c. The second term has trace zero if every output's second derivative has a zero
diagonal. The operations are read from the autograd graph, not from the names of modules. They therefore include
functional calls, in-place writes through aliases, detached tensors and custom functions. The test tracks which
parameters each tensor in the graph depends on:

- The result of a piecewise linear operation depends on the parameters that its inputs depend on.
- A product of two tensors without a common parameter is harmless, because its second derivatives are off the diagonal.
- The network is not exact if it multiplies tensors with a common parameter, applies a curved operation to a tensor that
  depends on a parameter, or uses an unknown operation. `estimators.linearity.autograd_rules` lists the known
  operations.

A network may be reported as not exact although its diagonal is zero: dependence is tracked for whole parameters, so the
product of two halves of one parameter counts as a square. The test cannot detect hooks that rewrite saved tensors, or
C++ code that gives its nodes torch's names.
"""

import functools
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from estimators.linearity.autograd_rules import AutogradRule, describe, is_leaf, operation_name, rule_of
from estimators.problem.checks import evaluate, trainable_parameters
from estimators.problem.isolation import measuring

_GRAD_FN: Any = Tensor.grad_fn

# A single sample may take a special path (squeezed dimensions). More than two samples would only cost memory.
_SAMPLES = 2


@dataclass(frozen=True)
class Linearity:
    """Result of `estimators.linearity`."""

    exact: bool
    """True: tr(H) = tr(GGN) for every loss of the outputs. False: the traces may differ."""
    reason: str
    """If exact, the operations that were found. If not, the first harmful operation and the parameters it acts on."""


def linearity(model: nn.Module, inputs: Tensor) -> Linearity:
    """Tests if each output of ``model`` is piecewise linear in each parameter that requires grad, so tr(H) = tr(GGN).

    Inspects the operations that the model executes in its current mode on the first two samples of ``inputs`` [n, ...].
    The result holds for all inputs on which the model executes the same operations, except at kinks (a set of measure
    zero). If exact, H and the GGN have the same diagonal. Train-mode batch norm and active dropout are not exact. The
    model, random number generators and flags are left bitwise unchanged.

    Raises:
        ValueError: if there are no samples, the model cannot be measured, or its outputs do not have one row per
            sample.

    >>> import torch
    >>> linearity(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.ones(2, 3)).exact
    True
    >>> linearity(nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)), torch.ones(2, 3)).reason
    'gelu acts on a tensor that depends on 0.weight and 0.bias, and is not known to be piecewise linear in it'
    """
    if not isinstance(inputs, Tensor) or inputs.ndim == 0 or len(inputs) == 0:
        found = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"type {type(inputs).__name__}"
        raise ValueError(f"inputs have {found}, expected a tensor with at least one row: pass a few samples")
    parameters = trainable_parameters(model)
    device = next(iter(parameters.values())).device
    with measuring(model, device):
        # A copy, since autograd cannot save an inference tensor.
        samples = inputs[:_SAMPLES].detach().clone().to(device)
        state = torch.get_rng_state()
        with _HookDetector() as hooks:
            outputs, _ = evaluate(model, lambda outputs, _: outputs.detach().real.sum(), samples, samples)
        if not torch.equal(state, torch.get_rng_state()):
            return Linearity(False, "the forward pass draws random numbers, so every pass has a different Hessian")
        if hooks.found:
            return Linearity(False, "the forward pass registers backward hooks, which can change any gradient")
        return _linearity_of_graph(outputs, parameters)


class _HookDetector(TorchFunctionMode):
    """Detects hooks that the model registers on tensors or graph nodes. They are not visible in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Reading grad_fn gives access to the hooks of the node.
        self.found |= func is Tensor.register_hook or func == _GRAD_FN.__get__
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class _Dependence:
    """How a tensor depends on the parameters."""

    parameters: int = 0
    """Bit i is set if the tensor depends on parameter i."""
    fault: str | None = None
    """The first operation not known to be harmless. None if the tensor is piecewise linear in each parameter."""


_CONSTANT = _Dependence()


def _linearity_of_graph(outputs: Tensor, parameters: Mapping[str, Tensor]) -> Linearity:
    names, bits = list(parameters), {parameter: 1 << bit for bit, parameter in enumerate(parameters.values())}
    operations: set[str] = set()
    dependences: dict[Any, _Dependence] = {None: _CONSTANT}
    for node in _execution_order(outputs.grad_fn):
        if is_leaf(node):
            dependences[node] = _Dependence(bits.get(node.variable, 0))
            continue
        dependences[node] = found = _dependence(node, [dependences[source] for source, _ in node.next_functions], names)
        if found.parameters:
            operations.add(operation_name(node))
    found = dependences[outputs.grad_fn]
    if found.fault is not None:
        return Linearity(False, found.fault)
    if not found.parameters:
        return Linearity(True, "the outputs depend on no parameter that requires grad")
    harmless = "every operation between the parameters and the outputs keeps them piecewise linear in each: "
    return Linearity(True, harmless + ", ".join(sorted(operations)))


def _execution_order(last: Any) -> Iterator[Any]:
    """Yields every node of the graph that ends in ``last``, after its inputs."""
    seen = {None}
    # Not recursive, since graphs of recurrent networks are deeper than Python's stack.
    stack = [(last, False)]
    while stack:
        node, sources_done = stack.pop()
        if sources_done:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((source, False) for source, _ in node.next_functions)


def _dependence(node: Any, sources: list[_Dependence], names: list[str]) -> _Dependence:
    """How the results of ``node`` depend on the parameters, given the dependence of its inputs (``sources``)."""
    union = functools.reduce(operator.or_, (source.parameters for source in sources), 0)
    if not union:
        return _CONSTANT
    rule = rule_of(node)
    if rule is not None and rule.constant:
        return _CONSTANT
    earlier = next((source.fault for source in sources if source.fault is not None), None)
    return _Dependence(union, earlier or _fault(node, rule, [source.parameters for source in sources], names))


def _fault(node: Any, rule: AutogradRule | None, inputs: list[int], names: list[str]) -> str | None:
    """Why ``node`` makes the network not exact, or None if it is harmless. ``inputs`` are bits as in _Dependence."""
    curved = range(len(inputs)) if rule is None else rule.curved
    for position in curved:
        if position < len(inputs) and inputs[position]:
            source = f"a tensor that depends on {_names_of_parameters(inputs[position], names)}"
            return f"{describe(node)} acts on {source}, and is not known to be piecewise linear in it"
    for first, second in rule.products if rule is not None else ():
        if second < len(inputs) and inputs[first] & inputs[second]:
            shared = _names_of_parameters(inputs[first] & inputs[second], names)
            return f"{describe(node)} multiplies two tensors that both depend on {shared}"
    return None


def _names_of_parameters(parameters: int, names: list[str]) -> str:
    """Lists the last two parameters, which are usually close to the operation, and counts the others."""
    found = [name for bit, name in enumerate(names) if parameters >> bit & 1]
    named, more = found[-2:], len(found) - 2
    return " and ".join(named) if more <= 0 else f"{', '.join(named)} and {more} more"
