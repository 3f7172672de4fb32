"""Which calls of layers make up all that a parameter does to the outputs, read off the graph, never assumed.

A layer's rule gives the gradient of a parameter if everything that the parameter does goes through that layer's calls.
Names of modules do not tell: a weight may be shared, used by a function, or bypassed. The graph of the outputs does:
every path from the parameter must lead, without branching, to the output of a recorded call of a layer that owns it,
and to each such call once.
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
    """A layer, what it saw, and the place of its output in the graph."""

    layer: nn.Module
    call: LayerCall
    rows: tuple[int, int]
    """Lengths of input and output: both the number of samples, or the rule does not apply."""
    edge: GradientEdge
    """Of the output as the layer returned it, whatever was written into it later."""
    inputs: Tensor
    version: int
    """Of the inputs when the layer saw them."""

    def holds_for(self, samples: int) -> bool:
        """Whether input and output have a row a sample, and the input is still what the layer saw."""
        return self.rows == (samples, samples) and _version(self.inputs) == self.version


@dataclass(frozen=True, eq=False)
class Use:
    """One use of a parameter: as ``attribute`` of the layer of a call."""

    call: RecordedCall
    attribute: str


@contextmanager
def recorded_calls(model: nn.Module) -> Iterator[list[RecordedCall]]:
    """Collects the calls of all layers that have a rule and a parameter that requires grad, while it is open."""
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
        # First of the hooks: the others may change the output.
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
    """The uses that each parameter has; none where the outputs ignore it, None where they are not all known calls."""
    by_node = {call.edge.node: call for call in calls}
    return {name: _uses(graph, by_node, parameter) for name, parameter in parameters.items()}


def _uses(graph: "Graph", by_node: Mapping[Node, RecordedCall], parameter: Tensor) -> list[Use] | None:
    leaf = graph.leaves.get(id(parameter))
    if leaf is None:
        return []
    uses: list[Use] = []
    for consumer in graph.consumers[leaf]:
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
    """Who uses what, in the graph that outputs were computed by."""

    def __init__(self, outputs: Tensor) -> None:
        #: The nodes that a node's result goes to, once for each use.
        self.consumers: dict[Node, list[Node]] = defaultdict(list)
        #: By id, the nodes that stand for tensors without a history: the parameters among them.
        self.leaves: dict[int, Node] = {}
        seen: set[Node] = set()
        waiting = [] if outputs.grad_fn is None else [outputs.grad_fn]
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            variable = getattr(node, "variable", None)
            if isinstance(variable, Tensor) and not node.next_functions:
                self.leaves[id(variable)] = node
            for used, _ in node.next_functions:
                if used is not None:
                    self.consumers[used].append(node)
                    waiting.append(used)


def _version(tensor: Tensor) -> int:
    """Of the writes into a tensor; inference tensors do not count theirs, and cannot be saved for gradients either."""
    return 0 if tensor.is_inference() else tensor._version
