"""Products by double backward in plain torch, chunk by chunk, with new graphs for every product."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from benchmarks.curvature.problems import PeerProblem
from estimators.operators.linear_operator import LinearOperator

Product = Callable[[Tensor], Tensor]


def hessian_product(problem: PeerProblem, chunk: int) -> Product:
    """Computes H v by differentiating the product of gradient and v. Both vectors are flat."""
    model = problem.copied_model()
    parameters = list(model.parameters())

    def product(vector: Tensor) -> Tensor:
        total = torch.zeros_like(vector)
        for inputs, targets in problem.batches(chunk):
            loss = problem.loss(model(inputs), targets)
            gradient = _flat(torch.autograd.grad(loss, parameters, create_graph=True))
            total += len(inputs) / len(problem.inputs) * _flat(torch.autograd.grad(gradient @ vector, parameters))
        return total

    return product


def gauss_newton_product(problem: PeerProblem, chunk: int) -> Product:
    """Computes J'H_l J v, with the Jacobian J of the outputs and the Hessian H_l of the loss of the outputs."""
    model = problem.copied_model()
    parameters = list(model.parameters())

    def product(vector: Tensor) -> Tensor:
        total = torch.zeros_like(vector)
        for inputs, targets in problem.batches(chunk):
            outputs = model(inputs)
            # J'u is linear in u, so the derivative of v'J'u with respect to u is J v.
            u = torch.zeros_like(outputs, requires_grad=True)
            pulled = _flat(torch.autograd.grad(outputs, parameters, u, create_graph=True))
            (pushed,) = torch.autograd.grad(pulled @ vector, u, retain_graph=True)
            (slope,) = torch.autograd.grad(problem.loss(outputs, targets), outputs, create_graph=True)
            (curved,) = torch.autograd.grad(slope, outputs, pushed, retain_graph=True)
            share = len(inputs) / len(problem.inputs)
            total += share * _flat(torch.autograd.grad(outputs, parameters, curved))
        return total

    return product


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


class ProductOperator(LinearOperator):
    """A symmetric matrix given by a function that multiplies it by a flat vector."""

    def __init__(self, problem: PeerProblem, product: Product) -> None:
        self._size, self._device, self._product, self._products = problem.size, problem.device, product, 0.0

    @property
    def size(self) -> int:
        return self._size

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def products(self) -> float:
        return self._products

    def _multiply(self, vectors: list[Tensor]) -> list[Tensor]:
        self._products += len(vectors)
        return [self._product(vector) for vector in vectors]
