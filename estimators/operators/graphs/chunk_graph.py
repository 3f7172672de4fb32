"""The autograd graph of one chunk of samples, which an operator differentiates for its products."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ChunkGraph(ABC):
    """A chunk's contribution to a matrix. It can be differentiated repeatedly while its graph is kept."""

    samples: int
    """Number of samples of the chunk."""
    parameters: Sequence[Tensor]

    @property
    @abstractmethod
    def held(self) -> Sequence[Tensor]:
        """The tensors that this object refers to, in addition to those that autograd has saved."""

    @abstractmethod
    def add_product(self, vector: Sequence[Tensor], result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Adds weight * matrix @ vector to result, both shaped like the parameters. Frees the graph unless kept."""

    @abstractmethod
    def add_gradient(self, result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Adds weight * gradient of the chunk's loss to result, shaped like the parameters."""

    @abstractmethod
    def restricted(self, positions: Sequence[int]) -> "ChunkGraph":
        """The diagonal block of the parameters at these positions. It shares this graph."""

    def _add_vector_jacobian_product(
        self,
        outputs: Sequence[Tensor],
        vectors: Sequence[Tensor],
        result: Sequence[Tensor],
        weight: float,
        keep: bool,
    ) -> None:
        """Adds weight * (Jacobian of the outputs with respect to the parameters)' @ vectors to result."""
        products = torch.autograd.grad(outputs, self.parameters, vectors, retain_graph=keep, allow_unused=True)
        for total, product in zip(result, products, strict=True):
            if product is not None:
                total.add_(product, alpha=weight)


@dataclass(frozen=True, eq=False)
class GradientGraph(ChunkGraph):
    """The gradient of a chunk's loss with its graph, for Hessian-vector products. Costs 3 forward passes to build."""

    gradients: dict[int, Tensor]
    """Maps the position of each parameter that the loss depends on to its gradient."""

    @classmethod
    def of(cls, loss: Tensor, parameters: Sequence[Tensor], samples: int) -> "GradientGraph":
        """Creates the graph of a loss that has just been evaluated."""
        if not loss.requires_grad:
            return cls(samples, parameters, {})
        # loss.backward(create_graph=True) would leak memory: parameters and graph would form a reference cycle.
        gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        return cls(samples, parameters, {i: g.to_dense() for i, g in enumerate(gradients) if g is not None})

    @property
    def held(self) -> Sequence[Tensor]:
        """The gradients."""
        return list(self.gradients.values())

    def add_product(self, vector: Sequence[Tensor], result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Adds weight * H @ vector to result, at the cost of 6 forward passes. Frees the graph unless kept."""
        depending = {position: gradient for position, gradient in self.gradients.items() if gradient.requires_grad}
        # A gradient without a graph is constant: its rows of H are zero.
        if depending:
            # Passing the vector as grad_outputs differentiates the dot product of equation (11) without computing it.
            parts = [vector[position] for position in depending]
            self._add_vector_jacobian_product(list(depending.values()), parts, result, weight, keep)

    def add_gradient(self, result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Adds weight * gradient to result, without a forward or backward pass."""
        for position, gradient in self.gradients.items():
            result[position].add_(gradient.detach(), alpha=weight)

    def restricted(self, positions: Sequence[int]) -> "GradientGraph":
        """The block of some parameters. Differentiates only their gradients, and only with respect to them."""
        return GradientGraph(
            self.samples, [self.parameters[position] for position in positions], selected(self.gradients, positions)
        )


def selected(by_position: dict[int, Tensor], positions: Sequence[int]) -> dict[int, Tensor]:
    """The entries at these positions, by their position in the selection."""
    return {new: by_position[old] for new, old in enumerate(positions) if old in by_position}
