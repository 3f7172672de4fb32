"""The generalised Gauss-Newton matrix of a mean loss, by its products with a vector."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from estimators.checks import LossFunction, MeanCheck, check_mode
from estimators.measuring import measuring
from estimators.operators import HessianOperator


class GaussNewtonOperator(HessianOperator):
    """G [size, size] = mean over samples of J_n'(d2l_n/dz_n2)J_n: the Hessian without the network's own curvature.

    J_n is the Jacobian of sample n's outputs z_n in the parameters, l_n its loss (Schraudolph, 2002). G is positive
    semidefinite where the loss is convex in the outputs, and equal to the Fisher matrix for cross-entropy (Martens,
    2020). Arguments, order of vectors, subsets, counts and refusals are those of
    :class:`estimators.HessianOperator`, to which it is related by H = G + sum over outputs of dL/dz_c d2z_c.

    A product costs about 7 forward passes: one forward, two for J', two for J by differentiating it, two for J' again.

    >>> model = nn.Linear(3, 1)
    >>> op = GaussNewtonOperator(model, nn.functional.mse_loss, (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> op @ torch.tensor([1.0, 0.0, 0.0, 0.0])
    tensor([2., 2., 2., 2.])
    """

    def __repr__(self) -> str:
        return super().__repr__().replace("HessianOperator", "GaussNewtonOperator")

    def matvec(self, vector: Tensor) -> Tensor:
        """G @ vector, both [size].

        Raises:
            ValueError: as :meth:`estimators.HessianOperator.matvec` does.
        """
        self._check_vector(vector)
        check_mode(self._model)
        mean_check = None if self._mean_checked else MeanCheck(self._loss_fn)
        with measuring(self._model, self.device):
            vector = vector.clone() if vector.is_inference() else vector.detach().contiguous()
            result = torch.zeros(self.size, dtype=self.dtype, device=self.device)
            slices, accumulators = self._unflatten(vector), self._unflatten(result)
            for inputs, targets in self._samples.chunks(self.chunk_size, self.device, self._limit):
                outputs = self._model(inputs)
                if mean_check is not None:
                    mean_check.add(outputs, targets)
                weight = len(inputs) / self._limit
                _add_product(self._loss_fn, outputs, targets, self._parameters, slices, accumulators, weight)
            if mean_check is not None:
                mean_check.conclude()
        self._mean_checked = True
        self._count(self._limit)
        return result


def _add_product(
    loss_fn: LossFunction,
    outputs: Tensor,
    targets: Tensor,
    parameters: Sequence[nn.Parameter],
    vectors: Sequence[Tensor],
    results: Sequence[Tensor],
    weight: float,
) -> None:
    """Does results += weight * J'(Hessian of the loss in the outputs)J vectors, all lists shaped like parameters."""
    if not outputs.requires_grad:
        return
    image = _loss_hessian_product(loss_fn, outputs, targets, _jacobian_product(outputs, parameters, vectors))
    if image is None:
        return
    products = torch.autograd.grad(outputs, parameters, image, allow_unused=True)
    for result, product in zip(results, products, strict=True):
        if product is not None:
            result.add_(product, alpha=weight)


def _jacobian_product(outputs: Tensor, parameters: Sequence[nn.Parameter], vectors: Sequence[Tensor]) -> Tensor:
    """J vectors, shaped like outputs: J'u is linear in u, so its derivative in u along the vectors is J of them."""
    # Not forward mode, which some layers lack: whatever has a Hessian-vector product has this.
    direction = torch.zeros_like(outputs, requires_grad=True)
    transposed = torch.autograd.grad(outputs, parameters, direction, create_graph=True, allow_unused=True)
    pairs = [(t, v) for t, v in zip(transposed, vectors, strict=True) if t is not None and t.requires_grad]
    if not pairs:
        return torch.zeros_like(outputs)
    (product,) = torch.autograd.grad(
        [t for t, _ in pairs], direction, [v for _, v in pairs], retain_graph=True, materialize_grads=True
    )
    return product


def _loss_hessian_product(loss_fn: LossFunction, outputs: Tensor, targets: Tensor, vector: Tensor) -> Tensor | None:
    """(Hessian of the loss in the outputs) @ vector, shaped like outputs; None for a loss linear in them."""
    leaf = outputs.detach().requires_grad_()
    loss = loss_fn(leaf, targets).reshape(())
    if not loss.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
    if not gradient.requires_grad:
        return None
    (product,) = torch.autograd.grad(gradient, leaf, vector, allow_unused=True)
    return product
