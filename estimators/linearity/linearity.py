"""Is a network piecewise linear in every single parameter? Then tr(H) = tr(GGN), exactly.

H = J'(d2L/dz2)J + sum_c (dL/dz_c) d2z_c, and the trace of the second term is zero where the diagonal of every output's
second derivative is. The network's operations are read off the graph from which autograd computes H, because that is
what H is: functional calls, in-place writes through aliases, detached tensors and custom functions appear in it as what
they do, where names of modules promise anything. Every tensor in it is followed by the parameters it depends on:

- a piecewise linear operation passes the dependence on;
- a product of two tensors is harmless where they share no parameter (its second derivatives lie off the diagonal);
- a product of tensors that share one, a curved operation on a tensor that depends on one, and an operation that is not
  known make the network not exact: :mod:`estimators.linearity.autograd_rules` lists what is known.

So the answer errs on one side only. "Not exact" is also said of networks whose diagonal happens to be zero: dependence
is followed by whole parameters, so two halves of one parameter that multiply each other count as a square. What could
deceive it lies outside the graph: hooks that rewrite saved tensors, and C++ code that gives its nodes torch's names.
"""

import functools
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from estimators.linearity.autograd_rules import Rule, describe, is_leaf, operation_name, rule_of
from estimators.problem.checks import checked_parameters, evaluate
from estimators.problem.isolation import measuring

_GRAD_FN: Any = Tensor.grad_fn

# One sample may take paths of its own (squeezed dimensions); more would only cost memory.
_SAMPLES = 2


@dataclass(frozen=True)
class Linearity:
    """What :func:`estimators.linearity.linearity` found."""

    exact: bool
    """True: tr(H) = tr(GGN) for every loss of the outputs. False: it may differ."""
    reason: str
    """The operation that spoils it and the parameter it acts on; or the operations that were found harmless."""


def linearity(model: nn.Module, inputs: Tensor) -> Linearity:
    """Whether every output of ``model`` is piecewise linear in each parameter that requires grad: tr(H) = tr(GGN).

    Looks at the operations that the model executes, in the mode it is in, on the first two samples of ``inputs``
    [n, ...]. It holds almost everywhere (not on the kinks), and for other inputs where the model executes the same
    operations on them; then every diagonal entry of H is that of the GGN. Train-mode batch norm and active dropout are
    not exact.

    Nothing is left behind: the model, random streams and flags are bitwise as found.

    Raises:
        ValueError: for inputs without samples, for a model that cannot be measured rightly, or whose outputs have not
            one row per sample.

    >>> import torch
    >>> linearity(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.ones(2, 3)).exact
    True
    >>> linearity(nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)), torch.ones(2, 3)).reason
    'gelu acts on a tensor that depends on 0.weight and 0.bias, and is not known to be piecewise linear in it'
    """
    if not isinstance(inputs, Tensor) or inputs.ndim == 0 or len(inputs) == 0:
        found = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"type {type(inputs).__name__}"
        raise ValueError(f"inputs have {found}, expected a tensor with at least one row: pass a few samples")
    device = checked_parameters(model)[0].device
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with measuring(model, device):
        # A copy can be saved for a backward pass where the caller's tensor is an inference tensor.
        samples = inputs[:_SAMPLES].detach().clone().to(device)
        state = torch.get_rng_state()
        with _HookWatch() as hooks:
            outputs, _ = evaluate(model, _any_loss, samples, samples)
        if not torch.equal(state, torch.get_rng_state()):
            return Linearity(False, "the forward pass draws random numbers, so every pass has another Hessian")
        if hooks.found:
            return Linearity(False, "the forward pass hooks into its own backward pass, which can change any gradient")
        return _judged(outputs, parameters)


def _any_loss(outputs: Tensor, _: Tensor) -> Tensor:
    return outputs.detach().real.sum()


class _HookWatch(TorchFunctionMode):
    """Notices hooks that the model sets on tensors of its graph: the graph does not show them."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Whoever asks for the graph node wants to hook it.
        self.found |= func is Tensor.register_hook or func == _GRAD_FN.__get__
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class _Dependence:
    """How a tensor depends on the parameters."""

    parameters: int = 0
    """Bit i is set if it depends on parameter i."""
    fault: str | None = None
    """The first operation after which it is not, or not known to be, piecewise linear in each of them."""


_CONSTANT = _Dependence()


def _judged(outputs: Tensor, parameters: Mapping[str, Tensor]) -> Linearity:
    names, bits = list(parameters), {parameter: 1 << bit for bit, parameter in enumerate(parameters.values())}
    operations: set[str] = set()
    dependences: dict[Any, _Dependence] = {None: _CONSTANT}
    for node in _in_order_of_execution(outputs.grad_fn):
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
        return Linearity(True, "no operation lies between the outputs and any parameter that requires grad")
    listed = ", ".join(sorted(operations))
    return Linearity(
        True, f"every operation between the parameters and the outputs keeps them piecewise linear in each: {listed}"
    )


def _in_order_of_execution(last: Any) -> Iterator[Any]:
    """Every node of the graph that ends in ``last``, after those whose results it takes."""
    seen = {None}
    # Not recursive: graphs of recurrent networks are deeper than Python's stack.
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
    """How the results of ``node`` depend on the parameters, from how its inputs do."""
    union = functools.reduce(operator.or_, (source.parameters for source in sources), 0)
    if not union:
        return _CONSTANT
    rule = rule_of(node)
    if rule is not None and rule.constant:
        return _CONSTANT
    earlier = next((source.fault for source in sources if source.fault is not None), None)
    return _Dependence(union, earlier or _fault(node, rule, [source.parameters for source in sources], names))


def _fault(node: Any, rule: Rule | None, inputs: list[int], names: list[str]) -> str | None:
    """What ``node`` does to inputs, given as the bits of the parameters they depend on, that makes it not exact."""
    curved = range(len(inputs)) if rule is None else rule.curved
    for position in curved:
        if position < len(inputs) and inputs[position]:
            source = f"a tensor that depends on {_listed(inputs[position], names)}"
            return f"{describe(node)} acts on {source}, and is not known to be piecewise linear in it"
    for first, second in rule.products if rule is not None else ():
        if second < len(inputs) and inputs[first] & inputs[second]:
            shared = _listed(inputs[first] & inputs[second], names)
            return f"{describe(node)} multiplies two tensors that both depend on {shared}"
    return None


def _listed(parameters: int, names: list[str]) -> str:
    """The last of the parameters, which are most often those next to the operation, and how many more."""
    found = [name for bit, name in enumerate(names) if parameters >> bit & 1]
    named, more = found[-2:], len(found) - 2
    return " and ".join(named) if more <= 0 else f"{', '.join(named)} and {more} more"
