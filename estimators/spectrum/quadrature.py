"""Gauss quadrature rules of a tridiagonal matrix, which approximate the spectral measure of a Lanczos start vector."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Quadrature:
    """Discrete measures: nodes and weights [n, m], float64. Each row is a rule, whose weights have sum 1."""

    nodes: Tensor
    weights: Tensor

    @classmethod
    def stacked(cls, rules: Sequence["Quadrature"]) -> "Quadrature":
        """Stacks rules of one row each. Shorter rows repeat their last node with weight zero."""
        length = max(rule.nodes.shape[1] for rule in rules)
        nodes, weights = [], []
        for rule in rules:
            missing = length - rule.nodes.shape[1]
            nodes.append(torch.cat([rule.nodes, rule.nodes[:, -1:].expand(-1, missing)], dim=1))
            weights.append(torch.cat([rule.weights, rule.weights.new_zeros(1, missing)], dim=1))
        return cls(torch.cat(nodes), torch.cat(weights))

    def mean(self, function_values: Tensor) -> Tensor:
        """The mean over rules of the integral of a function, given its values [n, m] or [..., n, m] at the nodes."""
        return (function_values * self.weights).sum(dim=-1).mean(dim=-1)

    def sorted_measure(self) -> tuple[Tensor, Tensor]:
        """The mean of the rules: all nodes in ascending order, and their weights, [n * m] each."""
        nodes, order = self.nodes.flatten().sort()
        return nodes, self.weights.flatten()[order] / len(self.weights)


def gauss(tridiagonal: Tensor) -> Quadrature:
    """The Gauss rule of a tridiagonal matrix [k, k] (Golub and Welsch, 1969).

    Nodes are the Ritz values, weights the squared first components of the eigenvectors. Exact for polynomials up to
    degree 2k - 1. All NaN if the matrix is not finite.
    """
    if not bool(torch.isfinite(tridiagonal).all()):
        invalid = torch.full((1, len(tridiagonal)), math.nan, dtype=tridiagonal.dtype)
        return Quadrature(invalid, invalid)
    values, vectors = torch.linalg.eigh(tridiagonal)
    return Quadrature(values[None], vectors[:1].square())


def averaged(tridiagonal: Tensor) -> Quadrature:
    """The averaged Gauss rule of a tridiagonal matrix [k, k] (Laurie, 1996), with 2k - 1 nodes.

    The mean of the Gauss rule of the leading [k - 1, k - 1] block and of its anti-Gauss rule, whose errors are nearly
    opposite. Exact for polynomials up to degree 2k - 1, like the Gauss rule, but with twice as many nodes. The outer
    nodes may lie slightly outside of the spectrum. For k = 1 it is the Gauss rule.
    """
    if len(tridiagonal) == 1:
        return gauss(tridiagonal)
    opposite = tridiagonal.clone()
    opposite[-1, -2] *= math.sqrt(2.0)
    opposite[-2, -1] *= math.sqrt(2.0)
    rules = [gauss(tridiagonal[:-1, :-1]), gauss(opposite)]
    nodes, weights = torch.cat([r.nodes for r in rules], dim=1), torch.cat([r.weights for r in rules], dim=1)
    return Quadrature(nodes, weights / 2.0)


def wasserstein(nodes: Tensor, signed_weights: Tensor) -> float:
    """The Wasserstein-1 distance of two measures on the line: the integral of |F - G|.

    Args:
        nodes: the nodes of both measures [m], in any order.
        signed_weights: their weights [m], with a minus sign for the second measure. The sum is 0.
    """
    nodes, order = nodes.sort()
    difference = signed_weights[order].cumsum(0)[:-1].abs()
    return float((difference * nodes.diff()).sum())
