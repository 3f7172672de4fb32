"""A Krylov space with an orthonormal basis that grows by one product at a time."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from estimators.eigenvalues.ritz import ROUNDING, Ritz
from estimators.operators.inner_products import coefficients, dot, norm
from estimators.operators.protocols import SymmetricOperator

# Largest difference between two products with the same matrix, relative to the largest eigenvalue.
_SAME = 1e-4


class KrylovSpace:
    """The Krylov space of one or several start vectors, with full reorthogonalisation.

    The space satisfies A Q = Q T + P C. Here Q is the orthonormal basis, T = Q'AQ its projection, P the next directions
    (at most one per start vector) and C their coupling. P is orthogonal to Q; its columns have length 1, but are not
    orthogonal to one another. With one start vector this is the Lanczos method. Another start vector can be added at
    any time. From then on, products with it run Lanczos on A restricted to the complement of the space; we call this a
    chain. The equation also holds for orthonormal combinations of the basis, so a thick restart (Wu and Simon, 2000)
    can keep a few Ritz vectors only.

    If there are orthonormal ``deflated`` vectors D [size, q], A is replaced by its restriction to the complement of D.

    Synchronizes with the device once per product. Needs memory for ``capacity`` vectors, one per direction and three
    more.
    """

    def __init__(self, op: SymmetricOperator, capacity: int, deflated: Tensor | None = None) -> None:
        self._op, self._deflated = op, deflated
        self._rows = torch.empty(capacity, op.size, dtype=op.dtype, device=op.device)
        self._projected = torch.zeros(capacity, capacity, dtype=torch.float64)
        self._directions: list[Tensor] = []
        self._coupling = torch.zeros(0, capacity, dtype=torch.float64)
        self._gram = torch.zeros(0, 0, dtype=torch.float64)
        self._resumed = False
        self.dimension = 0

    @classmethod
    def from_basis(
        cls, op: SymmetricOperator, capacity: int, basis: Tensor, projected: Tensor, remainder: Tensor
    ) -> Self:
        """The space of a basis [size, m]. The last column of A Q - Q ``projected`` is ``remainder``, others zero."""
        size = basis.shape[1]
        space = cls(op, max(capacity, size))
        space._rows[:size] = basis.T
        space._projected[:size, :size] = projected
        space.dimension, space._resumed = size, True
        beta = float(norm(remainder))
        if beta > 0.0:
            space._add_direction(remainder / beta)
            space._coupling[0, size - 1] = beta
        return space

    @property
    def capacity(self) -> int:
        """Maximum dimension."""
        return len(self._rows)

    @property
    def basis(self) -> Tensor:
        """Q [size, dimension]."""
        return self._rows[: self.dimension].T

    @property
    def directions(self) -> int:
        """Number of directions that can be added to the basis."""
        return len(self._directions)

    def direction(self, chain: int) -> Tensor:
        """A column of P, [size], which `expand` adds to the basis."""
        return self._directions[chain]

    @property
    def projected(self) -> Tensor:
        """T [dimension, dimension], float64."""
        return self._projected[: self.dimension, : self.dimension].clone()

    @property
    def coupling(self) -> Tensor:
        """C [directions, dimension], float64."""
        return self._coupling[:, : self.dimension]

    @property
    def remainder(self) -> Tensor:
        """The last column of A Q - Q T, [size]."""
        total = torch.zeros(self._op.size, dtype=self._op.dtype, device=self._op.device)
        for direction, share in zip(self._directions, self.coupling[:, -1].tolist(), strict=True):
            total.add_(direction, alpha=share)
        return total

    def ritz(self) -> Ritz:
        """The Ritz pairs of the space."""
        return Ritz.of(
            self.projected, self._orthonormal_coupling(), torch.finfo(self._op.dtype).eps, full=self._spans_all
        )

    def start(self, vector: Tensor) -> None:
        """Adds a start vector [size] of any nonzero length as the last direction. It must not lie in the space."""
        if self.dimension or self._deflated is not None:
            vector = self._outside(self._outside(vector / norm(vector)))
        self._add_direction(vector / norm(vector))

    def expand(self, chain: int = -1, product: Tensor | None = None) -> tuple[float, float]:
        """Adds a direction to the basis, for one product, and replaces it by its successor.

        A new start vector must be expanded first. Returns the Rayleigh quotient of the direction and the length of the
        successor before normalisation. A length of rounding noise is returned as 0.0; the direction then ends.

        Args:
            chain: index of the direction.
            product: A times the direction, if it is known.

        Raises:
            ValueError: if the product contradicts the T of `from_basis`.
        """
        chain %= len(self._directions)
        row = self._rows[self.dimension]
        row.copy_(self._directions[chain])
        self.dimension += 1
        others = [index for index in range(len(self._directions)) if index != chain]
        norms = [self._remove(row, index) for index in others]
        remainder = self._op.matvec(row) if product is None else product
        alpha = dot(row, remainder)
        self._check_matrix(chain, remainder)
        # Two orthogonalisations are enough (Giraud et al., 2005).
        remainder = self._outside(self._outside(remainder))
        overlaps = [dot(self._directions[index], remainder) for index in others]
        # The only synchronization with the device per step, after the product.
        numbers = torch.stack([alpha, norm(remainder), *norms, *overlaps]).tolist()
        beta, lengths, overlaps = numbers[1], numbers[2 : 2 + len(others)], numbers[2 + len(others) :]
        self._directions[chain] = remainder / beta if beta else remainder
        self._add_to_projection(chain, numbers[0])
        self._shorten(others, chain, lengths)
        self._add_successor(chain, others, beta, [overlap / beta if beta else 0.0 for overlap in overlaps])
        noise = self._noise()
        self._drop([i for i, norm in enumerate(self._coupling_norms()) if norm <= noise])
        return numbers[0], 0.0 if beta <= noise else beta

    def restart(self, kept: Sequence[int]) -> None:
        """Keeps the Ritz vectors with these indices as the basis, and all directions."""
        ritz = self.ritz()
        vectors = ritz.vectors[:, kept]
        self._rows[: len(kept)] = vectors.T.to(self._op.device, self._op.dtype) @ self._rows[: self.dimension]
        coupling = self.coupling @ vectors
        self.dimension = len(kept)
        self._projected.zero_()
        self._projected[: len(kept), : len(kept)] = torch.diag(torch.tensor(ritz.values, dtype=torch.float64)[kept])
        self._coupling.zero_()
        self._coupling[:, : len(kept)] = coupling

    def _outside(self, vector: Tensor) -> Tensor:
        """The component orthogonal to the basis and the deflated vectors."""
        for rows in (self._rows[: self.dimension], *(() if self._deflated is None else (self._deflated.T,))):
            if len(rows):
                vector = vector - rows.T @ coefficients(rows, vector)
        return vector

    @property
    def _spans_all(self) -> bool:
        known = 0 if self._deflated is None else self._deflated.shape[1]
        return self.dimension + known == self._op.size

    def _orthonormal_coupling(self) -> Tensor:
        """C in an orthonormal basis of P."""
        if len(self._directions) < 2:
            return self.coupling.clone()
        values, vectors = torch.linalg.eigh(self._gram)
        scaled: Tensor = values.clamp(min=0.0).sqrt()[:, None] * (vectors.T @ self.coupling)
        return scaled

    def _add_direction(self, direction: Tensor) -> None:
        self._directions.append(direction)
        count = len(self._directions)
        gram = torch.eye(count, dtype=torch.float64)
        gram[: count - 1, : count - 1] = self._gram
        if count > 1:
            overlaps = torch.stack([dot(direction, other) for other in self._directions[:-1]])
            gram[-1, : count - 1] = gram[: count - 1, -1] = overlaps.to("cpu", torch.float64)
        self._gram = gram
        self._coupling = torch.cat([self._coupling, torch.zeros(1, self.capacity, dtype=torch.float64)])

    def _remove(self, row: Tensor, index: int) -> Tensor:
        """Makes a direction orthogonal to the new basis vector. Returns its length before normalisation."""
        rest = self._directions[index] - dot(row, self._directions[index]) * row
        length = norm(rest)
        self._directions[index] = rest / torch.where(length == 0.0, torch.ones_like(length), length)
        return length

    def _check_matrix(self, chain: int, product: Tensor) -> None:
        """After `from_basis`, compares the first product with T."""
        if not self._resumed:
            return
        self._resumed, size = False, self.dimension - 1
        expected = (self._gram[chain] @ self._coupling)[:size]
        found = coefficients(self._rows[:size], product).to("cpu", torch.float64)
        # The product bounds ||A|| from below, too: the eigenvalues of a small space may be much smaller.
        scale = max(float(torch.linalg.eigvalsh(self._projected[:size, :size]).abs().max()), float(norm(product)))
        difference = float(torch.linalg.vector_norm(found - expected))
        if difference > _SAME * scale:
            raise ValueError(
                f"a product differs from initial by {difference / scale:.1e} of its size, expected at"
                f" most {_SAME:.0e}: pass the lanczos result of this operator, at the same parameters, on the same data"
            )

    def _add_to_projection(self, chain: int, alpha: float) -> None:
        last = self.dimension - 1
        self._projected[last, :last] = self._projected[:last, last] = (self._gram[chain] @ self._coupling)[:last]
        self._projected[last, last] = alpha

    def _shorten(self, others: list[int], chain: int, lengths: list[float]) -> None:
        """Updates coupling and Gram matrix of directions that lost their component along the new basis vector."""
        if not others:
            return
        scale, overlaps = torch.tensor(lengths, dtype=torch.float64), self._gram[chain, others]
        self._coupling[others] *= scale[:, None]
        scale = scale.clamp(min=torch.finfo(torch.float64).tiny)
        rows = torch.tensor(others)
        inner = self._gram[rows[:, None], rows] - overlaps[:, None] * overlaps
        self._gram[rows[:, None], rows] = inner / scale[:, None] / scale
        self._gram[rows, rows] = 1.0

    def _add_successor(self, chain: int, others: list[int], beta: float, overlaps: list[float]) -> None:
        self._coupling[chain] = 0.0
        self._coupling[chain, self.dimension - 1] = beta
        self._gram[chain, others] = self._gram[others, chain] = torch.tensor(overlaps, dtype=torch.float64)

    def _coupling_norms(self) -> list[float]:
        return [float(torch.linalg.vector_norm(row)) for row in self.coupling]

    def _noise(self) -> float:
        """Couplings up to this value are rounding noise; -1.0 if the space spans everything or is not finite."""
        projected = self._projected[: self.dimension, : self.dimension]
        if self._spans_all or not torch.isfinite(projected).all():
            return -1.0
        return ROUNDING * torch.finfo(self._op.dtype).eps * float(torch.linalg.eigvalsh(projected).abs().max())

    def _drop(self, directions: list[int]) -> None:
        kept = [index for index in range(len(self._directions)) if index not in directions]
        self._directions = [self._directions[index] for index in kept]
        self._coupling = self._coupling[kept]
        self._gram = self._gram[kept][:, kept]
