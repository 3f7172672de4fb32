"""Computes ||J_n's||^2 for every sample n and parameter, with the Jacobian J_n and vectors s in output space.

Parameters that are used only by calls of layers with a rule (`layer_rules`, `calls`) share one backward pass to the
outputs of the layers. It takes about as long as a forward pass, and so do the norms. For other parameters, per-sample
gradients are computed, vectorised if torch supports it, otherwise one sample at a time. On two samples, the first two
methods are compared with the third, which is used for all parameters that disagree.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from estimators.kernels.blocks import Scratch
from estimators.kernels.relu_pool import Pool, PooledRelus
from estimators.per_sample.calls import Graph, RecordedCall, Use, recorded_calls, uses_of
from estimators.per_sample.output_gradients import Columns, Sign
from estimators.per_sample.products import norms_of_sum, squared_norms

# Bounds on the rounding of squared norms in float32, relative to the norms of the parameter and of the whole network.
# The second is needed because gradients of a bias may cancel. A wrong rule differs by more.
_RELATIVE, _OF_WHOLE = 1e-3, 1e-7
# Bytes of per-sample gradients held at a time.
_WORKSPACE = 128 * 2**20
# Bytes of gradients with respect to layer outputs that are held before their norms are computed. For 111 samples of the
# paper's CNN, all nine columns take 60 MiB.
_HELD = {"cpu": 64 * 2**20}
_HELD_ON_ACCELERATORS = 512 * 2**20

Norms = dict[str, Tensor]


class SampleNorms:
    """Per-sample squared norms of one model.

    Args:
        model: deterministic; the outputs of a sample must not depend on other samples.
        parameters: the parameters to compute norms for, by name.
        inputs: [1 or 2, ...], samples used to choose the method of each parameter.
    """

    def __init__(self, model: nn.Module, parameters: Mapping[str, Tensor], inputs: Tensor) -> None:
        self.model, self.parameters = model, dict(parameters)
        #: Working memory, reused for all chunks.
        self.scratch = Scratch()
        two = inputs if len(inputs) == 2 else torch.cat([inputs, inputs])
        #: Layers with one row per sample in inputs and outputs. Two batch sizes are tried to exclude coincidences.
        self.by_row = self._layers_by_row(two[:1]) & self._layers_by_row(two)
        #: Parameters with per-sample gradients that torch can vectorise.
        self.vectorised: frozenset[str] = frozenset()
        #: Parameters that are always computed one sample at a time.
        self.one_by_one: frozenset[str] = frozenset()
        self._compare_with_autograd(two)

    def chunk(self, inputs: Tensor) -> "ChunkNorms":
        """Runs the model on inputs [n, ...] and prepares the norms."""
        return ChunkNorms(self, inputs)

    def uses(self, graph: Graph, calls: list[RecordedCall], samples: int) -> dict[str, list[Use] | None]:
        """Maps each parameter to its uses in one chunk, or to None if it needs per-sample gradients."""
        calls = [call for call in calls if call.layer in self.by_row and call.holds_for(samples)]
        uses = uses_of(graph, calls, self.parameters)
        return {name: None if name in self.one_by_one else found for name, found in uses.items()}

    def _layers_by_row(self, inputs: Tensor) -> set[nn.Module]:
        with recorded_calls(self.model) as calls:
            self.model(inputs)
        return {call.layer for call in calls} - {call.layer for call in calls if not call.holds_for(len(inputs))}

    def _compare_with_autograd(self, two: Tensor) -> None:
        chunk = self.chunk(two)
        # A vector in output space, without drawing random numbers.
        column = torch.arange(1, chunk.outputs.numel() + 1, dtype=chunk.outputs.dtype, device=two.device).cos()
        column = column.reshape(chunk.outputs.shape)
        expected = one_by_one(self.model, self.parameters, two, column)
        self.vectorised = _agreeing(_try_vectorised(self.model, chunk.without_rule, two, column), expected)
        self.one_by_one = frozenset(expected) - _agreeing(self.chunk(two).summed([(column, 1.0)], count=1), expected)


class ChunkNorms:
    """The outputs of one chunk, and ||J_n's||^2 for any vectors s in output space."""

    def __init__(self, plan: SampleNorms, inputs: Tensor) -> None:
        self._plan, self._inputs = plan, inputs
        with PooledRelus() as relus, recorded_calls(plan.model) as calls:
            #: Outputs [n, ...].
            self.outputs: Tensor = plan.model(inputs)
        graph = Graph(self.outputs)
        uses = plan.uses(graph, calls, len(inputs))
        used = {name: found for name, found in uses.items() if found}
        self._calls = list(dict.fromkeys(use.call for found in used.values() for use in found))
        # Maps calls of first layers to their max pools.
        self._pooled = {call: pool for call in self._calls if (pool := _sole_pool(call, graph, relus)) is not None}
        self._shared = {name: found for name, found in used.items() if len(found) > 1}
        # Maps each call to the parameters that no other call uses, with their names in its layer.
        self._own: dict[RecordedCall, dict[str, str]] = {}
        for name, found in used.items():
            if len(found) == 1:
                self._own.setdefault(found[0].call, {})[name] = found[0].attribute
        #: Parameters that need per-sample gradients.
        self.without_rule = {name: plan.parameters[name] for name, found in uses.items() if found is None}
        fast = plan.vectorised - plan.one_by_one
        self._vectorised = {name: p for name, p in self.without_rule.items() if name in fast}
        self._one_by_one = {name: p for name, p in self.without_rule.items() if name not in fast}

    def summed(self, columns: Iterable[tuple[Tensor, Sign]], count: int) -> Norms:
        """Sums sign ||J_n's_n||^2 over columns s: [n], float64, by parameter; 0 for parameters without effect.

        Args:
            columns: vectors in the shape of ``outputs``, each with the sign of its norms: [n], or one for all samples.
            count: approximate number of columns; it selects the algorithm.
        """
        zero = self.outputs.new_zeros(len(self.outputs), dtype=torch.float64)
        sums = {name: zero.clone() for name in self._plan.parameters}
        waiting: list[_ColumnGradients] = []
        held, limit = 0, _HELD.get(zero.device.type, _HELD_ON_ACCELERATORS)
        for column, sign in columns:
            self._add_by_gradients(sums, column, sign)
            if self._calls:
                waiting.append(self._backward(column, sign))
                held += sum(delta.nbytes for delta in waiting[-1].deltas.values())
            if held >= limit:
                self._add_by_rules(sums, waiting, count)
                waiting, held = [], 0
        if waiting:
            self._add_by_rules(sums, waiting, count)
        for call, names in self._own.items():
            taken = call.call.take()
            for name, attribute in names.items():
                sums[name] += taken.get(attribute, zero)
        return sums

    def _add_by_gradients(self, sums: Norms, column: Tensor, sign: Sign) -> None:
        for norms_of, parameters in ((vectorised, self._vectorised), (one_by_one, self._one_by_one)):
            if parameters:
                for name, norms in norms_of(self._plan.model, parameters, self._inputs, column).items():
                    sums[name] += sign * norms

    def _backward(self, column: Tensor, sign: Sign) -> "_ColumnGradients":
        edges = [self._pooled.get(call, call).edge for call in self._calls]
        deltas = torch.autograd.grad(self.outputs, edges, column, retain_graph=True, allow_unused=True)
        return _ColumnGradients(
            sign, {c: delta for c, delta in zip(self._calls, deltas, strict=True) if delta is not None}
        )

    def _add_by_rules(self, sums: Norms, waiting: "Sequence[_ColumnGradients]", count: int) -> None:
        signs = [column.sign for column in waiting]
        for call, names in self._own.items():
            deltas = [column.deltas[call] for column in waiting if call in column.deltas]
            if deltas:
                pool = self._pooled.get(call)
                columns = Columns(deltas if pool is None else pool.gradients(deltas), signs, count, self._plan.scratch)
                call.call.add(columns, set(names.values()))
        for name, uses in self._shared.items():
            for column in waiting:
                used = [(use, column.deltas[use.call]) for use in uses if use.call in column.deltas]
                if used:
                    sums[name] += column.sign * _norms_of_sum(used, len(self._plan.parameters[name]))


@dataclass(frozen=True, eq=False)
class _ColumnGradients:
    """The gradients of one column with respect to the outputs of the layers."""

    sign: Sign
    deltas: dict[RecordedCall, Tensor]
    """Maps calls to the gradient of their output or max pool. Calls without effect on the outputs are missing."""


def _norms_of_sum(used: Sequence[tuple[Use, Tensor]], outputs: int) -> Tensor:
    """Squared norms [n] of the sum of a parameter's gradients over its uses, each with its column's gradient."""
    parts = [use.call.call.factors(delta) if use.attribute == "weight" else None for use, delta in used]
    factors = [part for part in parts if part is not None]
    norms = norms_of_sum(factors, outputs) if len(factors) == len(used) else None
    if norms is not None:
        return norms
    return squared_norms(torch.stack([use.call.call.gradients(delta)[use.attribute] for use, delta in used]).sum(dim=0))


def _sole_pool(call: RecordedCall, graph: Graph, relus: PooledRelus) -> Pool | None:
    """The max pool of a first layer if nothing else uses the layer's output. The gradient can then stay sparse."""
    pool = relus.pools.get(call.edge.node)
    sole = pool is not None and not call.inputs.requires_grad and graph.consumers[call.edge.node] == [pool.edge.node]
    return pool if sole else None


def vectorised(model: nn.Module, parameters: Mapping[str, Tensor], inputs: Tensor, column: Tensor) -> Norms:
    """Squared norms [n] from per-sample gradients of all samples at once (torch.func)."""

    def product(values: dict[str, Tensor], sample: Tensor, vector: Tensor) -> Tensor:
        outputs: Tensor = torch.func.functional_call(model, values, (sample.unsqueeze(0),))
        return (outputs * vector.unsqueeze(0)).sum()

    values = {name: parameter.detach() for name, parameter in parameters.items()}
    gradients = torch.func.vmap(torch.func.grad(product), in_dims=(None, 0, 0))
    step = max(1, _WORKSPACE // sum(value.nbytes for value in values.values()))
    # No graph is needed for other parameters. torch.func.grad enables gradients itself.
    with torch.no_grad():
        parts = [gradients(values, *part) for part in zip(inputs.split(step), column.split(step), strict=True)]
    return {name: torch.cat([squared_norms(part[name]) for part in parts]) for name in values}


def one_by_one(model: nn.Module, parameters: Mapping[str, Tensor], inputs: Tensor, column: Tensor) -> Norms:
    """Squared norms [n], differentiating one sample at a time. This is slow and serves as the reference."""
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
            # torch.func warns if it falls back to a loop, which is slower than one_by_one.
            warnings.filterwarnings("error", message=".*(vmap|batching rule)")
            return vectorised(model, parameters, inputs, column)
    except Exception:  # torch.func does not support every model.
        return {}


def _agreeing(found: Norms, expected: Norms) -> frozenset[str]:
    """The parameters whose norms equal the expected ones within rounding. NaN equals NaN."""
    whole = torch.stack(list(expected.values())).sum(dim=0)

    def agrees(norms: Tensor, reference: Tensor) -> bool:
        close = (norms - reference).abs() <= _RELATIVE * reference + _OF_WHOLE * whole
        return bool((close | (reference.isnan() & norms.isnan())).all())

    return frozenset(name for name, norms in found.items() if agrees(norms, expected[name]))
