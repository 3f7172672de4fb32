"""The Hessian of a loss with respect to the outputs, by its products."""

import torch
from torch import Tensor

from estimators.problem.checks import LossFunction


class OutputHessian:
    """d2l_n/dz_n2 for the n samples of a chunk, where the mean of the l_n is the loss. Its graph is built once.

    Args:
        loss_fn: a mean over samples.
        outputs: z [n, ...]; their dtype is the dtype of the products.
        targets: [n, ...].
    """

    def __init__(self, loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> None:
        self.outputs = outputs.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        self._gradient: Tensor | None = None
        loss = loss_fn(self.outputs, targets).reshape(())
        if loss.requires_grad:
            # Samples are independent: with respect to one sample's outputs, n times the mean has the gradient of its
            # loss.
            (gradient,) = torch.autograd.grad(loss * len(outputs), self.outputs, create_graph=True, allow_unused=True)
            self._gradient = gradient if gradient is not None and gradient.requires_grad else None

    def product(self, vectors: Tensor) -> Tensor:
        """Each sample's Hessian times its vector, both [n, ...]."""
        product = None
        if self._gradient is not None:
            (product,) = torch.autograd.grad(
                self._gradient, self.outputs, vectors, retain_graph=True, allow_unused=True
            )
        return torch.zeros_like(vectors) if product is None else product

    def blocks(self, dim: int | None) -> Tensor:
        """The diagonal blocks [n, positions, C, C] of the C outputs along ``dim``. None: of all outputs, one block.

        Costs C products, of all blocks at a time, and is correct if there are no entries outside the blocks.
        """
        columns = []
        for index in range(as_blocks(self.outputs, dim).shape[2]):
            one = torch.zeros_like(self.outputs)
            as_blocks(one, dim)[:, :, index] = 1.0
            columns.append(as_blocks(self.product(one), dim))
        matrices = torch.stack(columns, dim=2)
        return (matrices + matrices.mT) / 2


def as_blocks(outputs: Tensor, dim: int | None) -> Tensor:
    """Outputs [n, ...] as [n, positions, C] with the C outputs along ``dim``; a view if they are contiguous."""
    return outputs.reshape(len(outputs), 1, -1) if dim is None else outputs.movedim(dim, -1).flatten(1, -2)


def from_blocks(numbers: Tensor, like: Tensor, dim: int | None) -> Tensor:
    """Numbers [n, positions, C] in the layout of the outputs ``like``."""
    if dim is None:
        return numbers.reshape(like.shape)
    return numbers.reshape(like.movedim(dim, -1).shape).movedim(-1, dim)
