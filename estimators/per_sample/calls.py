"""Finds the layer calls that use each parameter, from the autograd graph of the outputs.

A layer's rule computes the gradient of a parameter if the parameter affects the outputs only through calls of the
layer. The module structure does not guarantee this: a weight may be shared, used by a function, or bypassed. So the
graph is checked: every path from the parameter must lead, without branching, to the output of a recorded call of a
layer that owns the parameter. Each such call may be reached only once.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.utils.hooks import RemovableHandle

from estimators.per_sample.layer_rules import LayerCall, layer_call


@dataclass(frozen=True, eq=False)
class RecordedCall:
    """A call of a layer, with its inputs and the position of its output in the graph."""

    layer: nn.Module
    call: LayerCall
    rows: tuple[int, int]
    """Lengths of input and output. The rule requires both to equal the number of samples."""
    edge: GradientEdge
    """Gradient edge of the output as the layer returned it, before any in-place write."""
    inputs: Tensor
    version: int
    """Version counter of the inputs at the time of the call."""

    def holds_for(self, samples: int) -> bool:
        """Whether input and output have one row per sample, and the input has not been modified since."""
        return self.rows == (samples, samples) and _version(self.inputs) == self.version


@dataclass(frozen=True, eq=False)
class Use:
    """A call that uses a parameter, and the parameter's attribute name in the called layer."""

    call: RecordedCall
    attribute: str


@contextmanager
def recorded_calls(model: nn.Module) -> Iterator[list[RecordedCall]]:
    """Records calls inside the context, for all layers that have a rule and a parameter that requires grad."""
    calls: list[RecordedCall] = []
    handles: list[RemovableHandle] = []

    def record(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
        inputs = next(iter((*args, *kwargs.values())), None)
        if len(args) + len(kwargs) != 1 or not isinstance(inputs, Tensor) or not isinstance(output, Tensor):
            return
        if inputs.ndim == 0 or output.ndim == 0 or not output.requires_grad:
            return
        call = layer_call(layer, inputs.detach())
        if call is not None:
            rows = len(inputs), len(output)
            calls.append(RecordedCall(layer, call, rows, get_gradient_edge(output), inputs, _version(inputs)))

    try:
        # Prepended, because other hooks may change the output.
        handles.extend(
            layer.register_forward_hook(record, prepend=True, with_kwargs=True)
            for layer in model.modules()
            if any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
        )
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def uses_of(graph: "Graph", calls: list[RecordedCall], parameters: Mapping[str, Tensor]) -> dict[str, list[Use] | None]:
    """Maps each parameter to the calls that use it: empty if there is no use, None if a use is not a recorded call."""
    by_node = {call.edge.node: call for call in calls}
    return {name: _uses(graph, by_node, parameter) for name, parameter in parameters.items()}


def _uses(graph: "Graph", by_node: Mapping[Node, RecordedCall], parameter: Tensor) -> list[Use] | None:
    uses: list[Use] = []
    for consumer in graph.consumers.get(get_gradient_edge(parameter).node, []):
        node = consumer
        while node not in by_node:
            if len(graph.consumers[node]) != 1:
                return None
            node = graph.consumers[node][0]
        call = by_node[node]
        attributes = [name for name, own in call.layer._parameters.items() if own is parameter]
        if len(attributes) != 1 or any(use.call is call for use in uses):
            return None
        uses.append(Use(call, attributes[0]))
    return uses


class Graph:
    """The autograd graph of the outputs, with edges from each node to its consumers."""

    def __init__(self, outputs: Tensor) -> None:
        #: Maps each node to the nodes that use its result, once per use.
        self.consumers: dict[Node, list[Node]] = defaultdict(list)
        seen: set[Node] = set()
        waiting = [] if outputs.grad_fn is None else [outputs.grad_fn]
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            for used, _ in node.next_functions:
                if used is not None:
                    self.consumers[used].append(node)
                    waiting.append(used)


def _version(tensor: Tensor) -> int:
    """The version counter of a tensor; 0 for inference tensors, which have none and cannot be saved for gradients."""
    return 0 if tensor.is_inference() else tensor._version
