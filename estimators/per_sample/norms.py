"""||J_n's||^2 of every sample n and every parameter, for vectors s in the outputs of a network, J_n its Jacobian.

One backward pass to the outputs of the layers serves all samples and all layers that have a rule
(`layer_rules`) and whose calls are all that their parameters do (`calls`): one
pass without gradients of weights, so about as long as a forward pass, and the norms about as long again. Every other
parameter gets per-sample gradients, vectorised where torch can, one sample after the other where it cannot. All three
are compared on two samples with what autograd says of each alone; whatever does not agree is computed one by one.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from estimators.kernels.blocks import Scratch
from estimators.kernels.channels_last import to_channels_last
from estimators.kernels.relu_pool import Pool, PooledRelus
from estimators.per_sample.calls import Graph, RecordedCall, Use, recorded_calls, uses_of
from estimators.per_sample.output_gradients import Columns, Sign
from estimators.per_sample.products import squared_norms
from estimators.problem.memory_format import prefers_channels_last, same_but_for_rounding

# Squared norms in float32 differ by rounding only: relative to a parameter's own, and to the whole network's, where a
# bias's gradients cancel. A wrong rule is off by more.
_RELATIVE, _OF_WHOLE = 1e-3, 1e-7
# Bytes of per-sample gradients that are held at a time.
_WORKSPACE = 128 * 2**20
# Bytes that several columns may leave in the outputs of layers before their norms are taken: of 111 samples in the
# paper's CNN all nine leave 60 MiB.
_HELD = {"cpu": 64 * 2**20}
_HELD_ON_ACCELERATORS = 512 * 2**20

Norms = dict[str, Tensor]


class SampleNorms:
    """Per-sample squared norms of one model.

    Args:
        model: deterministic, no sample's outputs depending on another sample.
        parameters: the parameters wanted, by name.
        inputs: [1 or 2, ...] samples to find out by.

    Raises:
        ValueError: if a sample's outputs change with the samples beside it.
    """

    def __init__(self, model: nn.Module, parameters: Mapping[str, Tensor], inputs: Tensor) -> None:
        self.model, self.parameters = model, dict(parameters)
        #: What the norms of all chunks are formed in.
        self.scratch = Scratch()
        two = inputs if len(inputs) == 2 else torch.cat([inputs, inputs])
        #: Images are laid out with the channels of a pixel side by side.
        self.by_pixel = prefers_channels_last(model, two, self._computed)
        #: Layers whose inputs and outputs have a row a sample, for one sample and for two: no coincidence of lengths.
        self.by_row = self._layers_by_row(two[:1]) & self._layers_by_row(two)
        #: Parameters whose per-sample gradients torch can vectorise.
        self.vectorised: frozenset[str] = frozenset()
        #: Parameters that are computed sample by sample, whatever the graph says.
        self.one_by_one: frozenset[str] = frozenset()
        self._compare_with_autograd(two)

    def chunk(self, inputs: Tensor) -> "ChunkNorms":
        """The model's outputs for a chunk of inputs [n, ...], ready for norms."""
        return ChunkNorms(self, to_channels_last(inputs) if self.by_pixel else inputs)

    def _layers_by_row(self, inputs: Tensor) -> set[nn.Module]:
        with recorded_calls(self.model) as calls:
            self.model(inputs)
        return {call.layer for call in calls} - {call.layer for call in calls if not call.holds_for(len(inputs))}

    def _compare_with_autograd(self, two: Tensor) -> None:
        chunk = self.chunk(two)
        _check_independent(chunk.outputs, self.model(two[:1]))
        # Any vector that singles out no output; no random stream is touched.
        column = torch.arange(1, chunk.outputs.numel() + 1, dtype=chunk.outputs.dtype, device=two.device).cos()
        column = column.reshape(chunk.outputs.shape)
        expected = one_by_one(self.model, self.parameters, two, column)
        self.vectorised = frozenset(_agreeing(_try_vectorised(self.model, chunk.without_rule, two, column), expected))
        self.one_by_one = frozenset(expected) - _agreeing(self.chunk(two).summed([(column, 1.0)], count=1), expected)

    def _computed(self, two: Tensor) -> list[Tensor]:
        """Outputs, and what goes back from them."""
        outputs: Tensor = self.model(two)
        if not outputs.requires_grad:
            return [outputs]
        found = torch.autograd.grad(outputs.sum(), list(self.parameters.values()), materialize_grads=True)
        return [outputs.detach(), *found]

    def uses(self, graph: Graph, calls: list[RecordedCall], samples: int) -> dict[str, list[Use] | None]:
        """How each parameter's norms come about in one chunk: by its uses, or None where by its gradients."""
        calls = [call for call in calls if call.layer in self.by_row and call.holds_for(samples)]
        uses = uses_of(graph, calls, self.parameters)
        return {name: None if name in self.one_by_one else found for name, found in uses.items()}


class ChunkNorms:
    """Outputs of one chunk, and squared norms of the gradients of any vector in them."""

    def __init__(self, plan: SampleNorms, inputs: Tensor) -> None:
        self._plan, self._inputs = plan, inputs
        with PooledRelus() as relus, recorded_calls(plan.model) as calls:
            #: [n, ...]
            self.outputs: Tensor = plan.model(inputs)
        graph = Graph(self.outputs)
        uses = plan.uses(graph, calls, len(inputs))
        used = {name: found for name, found in uses.items() if found}
        self._calls = list(dict.fromkeys(use.call for found in used.values() for use in found))
        #: Calls of first layers whose gradient goes through a pool of a ReLU alone.
        self._pooled = {call: pool for call in self._calls if (pool := _sole_pool(call, graph, relus)) is not None}
        self._shared = {name: found for name, found in used.items() if len(found) > 1}
        #: By call, the parameters that only it uses, with the names they have in its layer.
        self._alone: dict[RecordedCall, dict[str, str]] = {}
        for name, found in used.items():
            if len(found) == 1:
                self._alone.setdefault(found[0].call, {})[name] = found[0].attribute
        #: Parameters whose norms take their per-sample gradients.
        self.without_rule = {name: plan.parameters[name] for name, found in uses.items() if found is None}
        fast = plan.vectorised - plan.one_by_one
        self._vectorised = {name: p for name, p in self.without_rule.items() if name in fast}
        self._one_by_one = {name: p for name, p in self.without_rule.items() if name not in fast}

    @property
    def parameters(self) -> list[str]:
        """Names of all parameters wanted."""
        return list(self._plan.parameters)

    def summed(self, columns: Iterable[tuple[Tensor, Sign]], count: int) -> Norms:
        """Sums over ``columns`` s of sign ||J_n's_n||^2 [n], float64, by parameter; 0 for one that the outputs ignore.

        Args:
            columns: vectors shaped like ``outputs``, each with the sign of its norms, [n] or one for all.
            count: how many there are, about: it decides how the norms are computed.
        """
        zero = self.outputs.new_zeros(len(self.outputs), dtype=torch.float64)
        sums = {name: zero.clone() for name in self.parameters}
        waiting: list[_Found] = []
        held, most = 0, _HELD.get(zero.device.type, _HELD_ON_ACCELERATORS)
        for column, sign in columns:
            self._add_by_gradients(sums, column, sign)
            if self._calls:
                waiting.append(self._backward(column, sign))
                held += waiting[-1].bytes
            if held >= most:
                self._add_by_rules(sums, waiting, count)
                waiting, held = [], 0
        if waiting:
            self._add_by_rules(sums, waiting, count)
        for call, names in self._alone.items():
            taken = call.call.take()
            for name, attribute in names.items():
                sums[name] += taken.get(attribute, zero)
        return sums

    def _add_by_gradients(self, sums: Norms, column: Tensor, sign: Sign) -> None:
        for norms_of, parameters in ((vectorised, self._vectorised), (one_by_one, self._one_by_one)):
            if parameters:
                for name, norms in norms_of(self._plan.model, parameters, self._inputs, column).items():
                    sums[name] += sign * norms

    def _backward(self, column: Tensor, sign: Sign) -> "_Found":
        edges = [self._pooled.get(call, call).edge for call in self._calls]
        found = torch.autograd.grad(self.outputs, edges, column, retain_graph=True, allow_unused=True)
        return _Found(sign, {call: delta for call, delta in zip(self._calls, found, strict=True) if delta is not None})

    def _add_by_rules(self, sums: Norms, found: "Sequence[_Found]", count: int) -> None:
        signs = [one.sign for one in found]
        for call, names in self._alone.items():
            deltas = [one.deltas[call] for one in found if call in one.deltas]
            if deltas:
                pool = self._pooled.get(call)
                columns = Columns(deltas if pool is None else pool.gradients(deltas), signs, count, self._plan.scratch)
                call.call.add(columns, set(names.values()))
        for name, uses in self._shared.items():
            for one in found:
                gradients = [
                    use.call.call.gradients(one.deltas[use.call])[use.attribute]
                    for use in uses
                    if use.call in one.deltas
                ]
                if gradients:
                    sums[name] += one.sign * squared_norms(torch.stack(gradients).sum(dim=0))


@dataclass(frozen=True, eq=False)
class _Found:
    """What went back through the network along one column."""

    sign: Sign
    deltas: dict[RecordedCall, Tensor]
    """In the output of each call, or in that of the pool above it; none for a call that the outputs do not see."""

    @property
    def bytes(self) -> int:
        """Of all of it."""
        return sum(delta.nbytes for delta in self.deltas.values())


def _sole_pool(call: RecordedCall, graph: Graph, relus: PooledRelus) -> Pool | None:
    """The pool that alone sees what a first layer returned: its gradient need not be written down for others."""
    pool = relus.pools.get(call.edge.node)
    if pool is None or call.inputs.requires_grad or graph.consumers[call.edge.node] != [pool.edge.node]:
        return None
    return pool


def vectorised(model: nn.Module, parameters: Mapping[str, Tensor], inputs: Tensor, column: Tensor) -> Norms:
    """Squared norms [n] by per-sample gradients of all samples at once (torch.func)."""

    def product(values: dict[str, Tensor], sample: Tensor, vector: Tensor) -> Tensor:
        outputs: Tensor = torch.func.functional_call(model, values, (sample.unsqueeze(0),))
        return (outputs * vector.unsqueeze(0)).sum()

    values = {name: parameter.detach() for name, parameter in parameters.items()}
    gradients = torch.func.vmap(torch.func.grad(product), in_dims=(None, 0, 0))
    size = sum(value.numel() * value.element_size() for value in values.values())
    step = max(1, _WORKSPACE // size)
    # Without a graph through the other parameters; torch.func.grad turns gradients on for its own.
    with torch.no_grad():
        parts = [gradients(values, *part) for part in zip(inputs.split(step), column.split(step), strict=True)]
    return {name: torch.cat([squared_norms(part[name]) for part in parts]) for name in values}


def one_by_one(model: nn.Module, parameters: Mapping[str, Tensor], inputs: Tensor, column: Tensor) -> Norms:
    """Squared norms [n] by differentiating each sample alone: slow, plain, and right."""
    rows = []
    for sample, vector in zip(inputs.split(1), column.split(1), strict=True):
        outputs = model(sample)
        gradients: Iterable[Tensor | None] = [None] * len(parameters)
        if outputs.requires_grad:
            gradients = torch.autograd.grad(outputs, list(parameters.values()), vector, allow_unused=True)
        zero = column.new_zeros(1, dtype=torch.float64)
        rows.append([zero if g is None else squared_norms(g.to_dense().unsqueeze(0)) for g in gradients])
    return {name: torch.cat(norms) for name, norms in zip(parameters, zip(*rows, strict=True), strict=True)}


def _try_vectorised(model: nn.Module, parameters: Mapping[str, Tensor], inputs: Tensor, column: Tensor) -> Norms:
    if not parameters:
        return {}
    try:
        with warnings.catch_warnings():
            # A warning of torch.func's says that it falls back to a loop of its own, slower than ours.
            warnings.filterwarnings("error", message=".*(vmap|batching rule)")
            return vectorised(model, parameters, inputs, column)
    except Exception:  # Whatever torch.func cannot follow is computed one by one.
        return {}


def _agreeing(found: Norms, expected: Norms) -> frozenset[str]:
    """The parameters whose norms are those expected, within rounding; NaN is equal to itself."""
    whole = torch.stack(list(expected.values())).sum(dim=0)
    return frozenset(name for name, norms in found.items() if _close(norms, expected[name], whole))


def _close(found: Tensor, expected: Tensor, whole: Tensor) -> bool:
    bound = _RELATIVE * expected + _OF_WHOLE * whole
    return bool((((found - expected).abs() <= bound) | (expected.isnan() & found.isnan())).all())


def _check_independent(outputs: Tensor, alone: Tensor) -> None:
    """Raises ValueError where the first of two samples has other outputs alone."""
    outputs, alone = outputs.detach(), alone.detach()
    if not same_but_for_rounding(outputs[:1], alone):
        raise ValueError(
            f"the outputs of a sample change by {float((outputs[:1] - alone).abs().max()):.3g} with the sample beside"
            " it, expected outputs that depend on their own sample alone: the trace is a sum over samples. Replace"
            " layers that take statistics over a batch"
        )
