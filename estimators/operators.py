"""Symmetric matrices known by their products with a vector: the protocol, and the Hessian of a mean loss."""

import copy
from collections.abc import Sequence
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from estimators.batches import Batches, Samples, samples_in_fraction
from estimators.checks import LossFunction, MeanCheck, check_deterministic, check_mode, checked_parameters, evaluate
from estimators.chunking import default_chunk_size
from estimators.measuring import measuring


class SymmetricOperator(Protocol):
    """What the algorithms need of a symmetric matrix A [size, size]."""

    @property
    def size(self) -> int:
        """Rows of A."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the vectors it takes and returns."""
        ...

    @property
    def device(self) -> torch.device:
        """Of the vectors it takes and returns."""
        ...

    @property
    def products(self) -> float:
        """Products so far, fractions of the data added up."""
        ...

    def matvec(self, vector: Tensor) -> Tensor:
        """A @ vector, both [size]."""
        ...

    def __matmul__(self, vector: Tensor) -> Tensor:
        """A @ vector, both [size]."""
        ...


class HessianOperator:
    """The Hessian [size, size] of ``model``'s mean loss over all samples of ``batches``.

    Vectors are flat, in ``model.parameters()`` order over the parameters that require grad; one that does not take
    part in the loss has zero rows. Products are taken where the parameters stand at that moment, in the mode the
    model is in, by differentiating twice (equations (9)-(11) of the paper; Pearlmutter, 1994), chunk by chunk with
    each chunk weighted by its samples. The model, random streams and flags are left bitwise as found.

    Args:
        model: in the mode to be measured in; no active dropout, no batch norm in train mode.
        loss_fn: ``loss_fn(outputs, targets)``, a mean over samples, in nats or whatever the loss is in. Checked on
            single samples during the first pass over the data.
        batches: an (inputs, targets) pair of tensors, or a re-iterable of such pairs in a fixed order; each chunk is
            moved to the model's device.
        chunk_size: samples differentiated at a time, at most (no chunk spans two batches). None: chosen by model,
            input shape and kind of device so that a chunk fits a CPU's cache; see ``chunk_size``.

    Raises:
        ValueError: for what cannot be measured rightly; the message names the fix.

    >>> op = HessianOperator(nn.Linear(3, 1), nn.functional.mse_loss, (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> op @ torch.tensor([1.0, 0.0, 0.0, 0.0])
    tensor([2., 2., 2., 2.])
    """

    def __init__(
        self, model: nn.Module, loss_fn: LossFunction, batches: Batches, chunk_size: int | None = None
    ) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}, expected at least 1, or None for a default")
        self._parameters = checked_parameters(model)
        self._model, self._loss_fn = model, loss_fn
        check_mode(model)
        with measuring(model, self.device):
            self._samples = Samples(batches)
            first_two = self._samples.first(2, self.device)
            #: Samples differentiated at a time; a pure function of model, input shape and kind of device by default.
            self.chunk_size = chunk_size or default_chunk_size(model, loss_fn, *first_two)
            self._check_first_chunk()
        self._limit = self._samples.count
        self._parent: HessianOperator | None = None
        self._samples_seen = 0
        self._mean_checked = False

    @property
    def size(self) -> int:
        """Number of parameters that require grad."""
        return sum(parameter.numel() for parameter in self._parameters)

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype, float32 or float64."""
        return self._parameters[0].dtype

    @property
    def device(self) -> torch.device:
        """The parameters' device."""
        return self._parameters[0].device

    @property
    def products(self) -> float:
        """Passes over this operator's data so far; those of its subsets count by their share of the samples."""
        return self._samples_seen / self._limit

    def __repr__(self) -> str:
        return (
            f"HessianOperator(size={self.size}, samples={self._limit}, chunk_size={self.chunk_size},"
            f" dtype={self.dtype}, device={self.device})"
        )

    def subset(self, fraction: float) -> Self:
        """The Hessian over the first ceil(fraction * n) of the n samples, which are expected in random order.

        Its products count in this operator too, as the share of the samples that they pass over.

        Raises:
            ValueError: if fraction is outside (0, 1].
        """
        subset = copy.copy(self)
        subset._limit = samples_in_fraction(fraction, self._limit)
        subset._parent, subset._samples_seen, subset._mean_checked = self, 0, False
        return subset

    def matvec(self, vector: Tensor) -> Tensor:
        """H @ vector, both [size].

        Raises:
            ValueError: for a vector of the wrong shape, dtype or device; for a model since put in train mode; at the
                first product, for a loss that is no mean over samples.
        """
        self._check_vector(vector)
        check_mode(self._model)
        mean_check = None if self._mean_checked else MeanCheck(self._loss_fn)
        with measuring(self._model, self.device):
            # A clone only where autograd could not save the vector.
            vector = vector.clone() if vector.is_inference() else vector.detach().contiguous()
            result = torch.zeros(self.size, dtype=self.dtype, device=self.device)
            slices, accumulators = self._unflatten(vector), self._unflatten(result)
            for inputs, targets in self._samples.chunks(self.chunk_size, self.device, self._limit):
                outputs, loss = evaluate(self._model, self._loss_fn, inputs, targets)
                if mean_check is not None:
                    mean_check.add(outputs, targets)
                _add_product(loss, self._parameters, slices, accumulators, weight=len(inputs) / self._limit)
            if mean_check is not None:
                mean_check.conclude()
        self._mean_checked = True
        self._count(self._limit)
        return result

    def __matmul__(self, vector: Tensor) -> Tensor:
        """H @ vector, both [size]: the same as :meth:`matvec`."""
        return self.matvec(vector)

    def _count(self, samples: int) -> None:
        self._samples_seen += samples
        if self._parent is not None:
            self._parent._count(samples)

    def _unflatten(self, vector: Tensor) -> list[Tensor]:
        """Views of a flat vector [size], shaped like the parameters."""
        parts = torch.split(vector, [parameter.numel() for parameter in self._parameters])
        return [part.view(parameter.shape) for part, parameter in zip(parts, self._parameters, strict=True)]

    def _check_vector(self, vector: Tensor) -> None:
        found = (tuple(vector.shape), vector.dtype, vector.device)
        expected = ((self.size,), self.dtype, self.device)
        if found != expected:
            raise ValueError(
                f"the vector has shape, dtype and device {_describe(found)}, expected {_describe(expected)}:"
                " make it with torch.zeros(op.size, dtype=op.dtype, device=op.device)"
            )

    def _check_first_chunk(self) -> None:
        inputs, targets = self._samples.first(self.chunk_size, self.device)
        check_deterministic(self._model, self._loss_fn, inputs, targets)
        with torch.no_grad():
            outputs, _ = evaluate(self._model, self._loss_fn, inputs, targets)
        mean_check = MeanCheck(self._loss_fn)
        mean_check.add(outputs, targets)
        mean_check.conclude()


def _add_product(
    loss: Tensor, parameters: Sequence[Tensor], vectors: Sequence[Tensor], results: Sequence[Tensor], weight: float
) -> None:
    """Does results += weight * (Hessian of loss) @ vectors, all lists shaped like parameters."""
    if not loss.requires_grad:
        return
    # Not loss.backward(create_graph=True): it ties parameters to the graph in a cycle that leaks.
    gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
    # A gradient without a graph does not depend on the parameters: its rows of the Hessian are zero.
    pairs = [(g, v) for g, v in zip(gradients, vectors, strict=True) if g is not None and g.requires_grad]
    if not pairs:
        return
    # grad_outputs makes this the gradient of the dot product of (11) without computing the dot product.
    products = torch.autograd.grad(
        [gradient for gradient, _ in pairs], parameters, [vector for _, vector in pairs], allow_unused=True
    )
    for result, product in zip(results, products, strict=True):
        if product is not None:
            result.add_(product, alpha=weight)


def _describe(found: tuple[tuple[int, ...], torch.dtype, torch.device]) -> str:
    shape, dtype, device = found
    return f"{shape}, {dtype}, {device}"
