"""The diagonal block of some parameters: chosen by name, and cut out of the kept graphs of the whole matrix."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from torch import nn

from estimators.operators.graphs.chunk_graph import ChunkGraph
from estimators.operators.graphs.graph_cache import GraphCache


@dataclass(frozen=True, eq=False)
class WholeGraphs:
    """The kept graphs of a whole matrix, for one of its diagonal blocks."""

    cache: GraphCache
    positions: list[int]
    """Positions of the block's parameters among those of the whole matrix."""

    @classmethod
    def of(
        cls, cache: GraphCache, names: Iterable[str], chosen: Container[str], whole: "WholeGraphs | None"
    ) -> "WholeGraphs":
        """The graphs in ``cache`` of an operator with parameters ``names``; for a block of a block, of the whole."""
        positions = [position for position, name in enumerate(names) if name in chosen]
        return cls(cache, positions) if whole is None else cls(whole.cache, [whole.positions[p] for p in positions])

    def kept(self) -> list[ChunkGraph]:
        """The block's part of each kept graph."""
        return [graph.restricted(self.positions) for graph in self.cache.graphs]


def chosen_parameters(parameters: Mapping[str, nn.Parameter], names: Iterable[str]) -> dict[str, nn.Parameter]:
    """The parameters with these names, in the order of ``parameters``.

    Raises:
        ValueError: if names is a string, is empty or has a name that is not in ``parameters``.
    """
    if isinstance(names, str):
        raise ValueError(f"names is the string {names!r}, expected a list of parameter names: pass [{names!r}]")
    wanted = list(names)
    if not wanted:
        raise ValueError(f"names is empty, expected at least one parameter name: pass for example {[*parameters][:2]}")
    for name in wanted:
        if name not in parameters:
            raise ValueError(
                f"{name!r} is not a parameter that requires grad, expected a name from model.named_parameters():"
                f" {_suggestion(name, list(parameters))}"
            )
    return {name: parameter for name, parameter in parameters.items() if name in wanted}


def _suggestion(name: str, known: list[str]) -> str:
    inside = [other for other in known if other.startswith(f"{name}.")]
    close = inside or get_close_matches(str(name), known, n=3, cutoff=0.4)
    return f"use {', '.join(map(repr, close or known[:3]))}"


def parameters_by_layer(names: Iterable[str]) -> dict[str, list[str]]:
    """Groups parameter names by their module: ``{"3": ["3.weight", "3.bias"]}``. The model itself is ``""``.

    >>> parameters_by_layer(["0.weight", "0.bias", "scale"])
    {'0': ['0.weight', '0.bias'], '': ['scale']}
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    return layers
