"""The mean loss of a model over samples. It is validated once; operators and Gauss-Newton traces are built on it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from estimators.kernels.channels_last import to_channels_last
from estimators.kernels.convolutions import LeanConvolutions
from estimators.kernels.relu_pool import PooledRelus
from estimators.problem.checks import (
    LossFunction,
    check_deterministic,
    check_mode,
    evaluate_loss,
    evaluate_model,
    trainable_parameters,
)
from estimators.problem.chunking import default_chunk_size
from estimators.problem.independence import SAMPLES, check_independent, weights_unchanged
from estimators.problem.isolation import measuring
from estimators.problem.loss.loss_parameters import (
    check_differentiable,
    check_penalty_is_mean,
    check_uses_no_parameters,
)
from estimators.problem.loss.loss_precision import Float64Loss, needs_float64
from estimators.problem.loss.mean_check import check_mean
from estimators.problem.loss.targets import check_targets
from estimators.problem.memory_format import prefers_channels_last
from estimators.problem.precision import HalfPrecisionRefused
from estimators.problem.samples import Batches, Pair, Samples, samples_in_fraction
from estimators.problem.second_derivatives import check_second_derivatives


@dataclass(frozen=True, eq=False)
class Problem:
    """The mean loss of ``model`` over the first ``count`` of the samples, as a function of its trainable parameters."""

    model: nn.Module
    loss_fn: LossFunction
    parameters: dict[str, nn.Parameter]
    """The parameters that require grad, by name, in ``model.parameters()`` order."""
    samples: Samples
    count: int
    channels_last: bool = False
    """Whether chunks of images are converted to channels_last. Otherwise they keep the format of the data."""

    @classmethod
    def of(cls, model: nn.Module, loss_fn: LossFunction, batches: Batches, validate: bool = True) -> "Problem":
        """Validates a model, a mean loss and data, and chooses the memory format.

        Without ``validate``, nothing is evaluated for checks; see `estimators.HessianOperator`.

        Raises:
            ValueError: if model or data cannot be measured; the message says how to fix it.
        """
        parameters = trainable_parameters(model)
        check_mode(model)
        with measuring(model, _device(parameters)):
            samples = Samples(batches)
            problem = cls(model, loss_fn, parameters, samples, samples.count)
            if validate:
                problem._check_samples()
            inputs, targets = problem.first(2)
            channels_last = prefers_channels_last(model, inputs, partial(problem._derivatives, targets=targets))
        return replace(problem, channels_last=channels_last)

    @property
    def device(self) -> torch.device:
        """The parameters' device."""
        return _device(self.parameters)

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype, float32 or float64."""
        return next(iter(self.parameters.values())).dtype

    @property
    def size(self) -> int:
        """Number of entries of all parameters."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    def subset(self, fraction: float) -> "Problem":
        """The problem of the first ceil(fraction * count) samples, fraction in (0, 1]."""
        return replace(self, count=samples_in_fraction(fraction, self.count))

    def measuring(self) -> AbstractContextManager[None]:
        """The context for evaluating and differentiating; see `estimators.problem.isolation.measuring`."""
        return measuring(self.model, self.device)

    def chunks(self, size: int) -> Iterator[Pair]:
        """Yields chunks of at most ``size`` samples on the model's device. A chunk does not span batches."""
        for inputs, targets in self.samples.chunks(size, self.device, self.count):
            yield to_channels_last(inputs) if self.channels_last else inputs, targets

    def first(self, size: int) -> Pair:
        """Returns at most ``size`` samples of the first batch."""
        return next(self.chunks(size))

    def default_chunk_size(self) -> int:
        """The chunk size for Hessian-vector products."""
        return default_chunk_size(self.model, self.loss_fn, *next(self.samples.chunks(2, self.device)))

    def evaluate(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and loss of a chunk, with a graph whose second derivatives are fast."""
        with self.fast_kernels():
            outputs = evaluate_model(self.model, inputs)
            return outputs, evaluate_loss(self.precise_loss(outputs, targets), outputs, targets)

    @contextmanager
    def fast_kernels(self) -> Iterator[None]:
        """The context of a forward pass whose second derivatives are fast."""
        with LeanConvolutions(), PooledRelus():
            yield

    def precise_loss(self, outputs: Tensor, targets: Tensor) -> LossFunction:
        """The loss function for a chunk, in float64 if rounding of its float32 outputs is visible."""
        return Float64Loss(self.loss_fn) if needs_float64(self.loss_fn, outputs, targets) else self.loss_fn

    def check_first_chunk(self, size: int) -> None:
        """Raises ValueError if the first chunk has wrong targets, or a loss that is random or not a mean."""
        inputs, targets = self.first(size)
        outputs = evaluate_model(self.model, inputs)
        check_targets(self.loss_fn, outputs, targets)
        check_deterministic(self.model, self.loss_fn, inputs, targets)
        check_mean(self.loss_fn, outputs, targets)
        check_penalty_is_mean(self.loss_fn, outputs, targets, self.parameters)

    def check_loss_of_outputs(self) -> None:
        """Raises ValueError if the Gauss-Newton matrix is not defined for this loss.

        The loss must be a differentiable function of the outputs that does not use parameters directly.
        """
        inputs, targets = self.first(2)
        outputs = evaluate_model(self.model, inputs)
        check_uses_no_parameters(self.loss_fn, outputs, targets, self.parameters)
        check_differentiable(self.loss_fn, outputs, targets)

    def check_second_derivatives(self) -> None:
        """Raises ValueError if the loss has no second derivative, or autograd's is wrong."""
        check_second_derivatives(self.model, self.loss_fn, list(self.parameters), *self.first(2))

    def flat_gradient(self, value: Tensor, create_graph: bool = False) -> Tensor:
        """Gradient [size] of a scalar, zero if the scalar does not depend on the parameters. Its graph is kept."""
        if not value.requires_grad:
            return torch.zeros(self.size, dtype=self.dtype, device=self.device)
        parameters = list(self.parameters.values())
        parts = torch.autograd.grad(
            value, parameters, retain_graph=True, create_graph=create_graph, materialize_grads=True
        )
        # Embeddings may have sparse gradients.
        return torch.cat([part.to_dense().reshape(-1) for part in parts])

    def _check_samples(self) -> None:
        """Raises ValueError if the forward pass uses half precision, mixes samples or rewrites weights."""
        inputs, targets = self._longest(SAMPLES)
        with weights_unchanged(self.model):
            self._check_input_dtype(inputs)
            with HalfPrecisionRefused():
                outputs = evaluate_model(self.model, inputs)
                check_targets(self.loss_fn, outputs, targets)
                evaluate_loss(self.loss_fn, outputs, targets)
            try:
                check_independent(self.model, self.flat_gradient, inputs)
            except ValueError:
                # Random outputs change too, and have a message of their own.
                check_deterministic(self.model, self.loss_fn, inputs, targets)
                raise

    def _check_input_dtype(self, inputs: Tensor) -> None:
        """Raises ValueError if the model cannot evaluate inputs of a dtype that differs from its own."""
        if inputs.dtype == self.dtype:
            return
        try:
            evaluate_model(self.model, inputs)
        except RuntimeError as error:
            raise ValueError(
                f"the model cannot evaluate {inputs.dtype} inputs ({error}), expected {self.dtype} as its parameters:"
                f" convert the inputs with .to({self.dtype})"
            ) from error

    def _longest(self, size: int) -> Pair:
        """The first ``size`` samples in one batch, or fewer if every batch is shorter."""
        longest = self.first(size)
        for pair in self.chunks(size):
            longest = pair if len(pair[0]) > len(longest[0]) else longest
            if len(longest[0]) == size:
                break
        return longest

    def _derivatives(self, inputs: Tensor, targets: Tensor) -> list[Tensor]:
        """Outputs, gradient and one Hessian-vector product."""
        outputs, loss = self.evaluate(inputs, targets)
        gradient = self.flat_gradient(loss, create_graph=True)
        # This vector gives every parameter a weight without drawing random numbers.
        vector = torch.arange(1, self.size + 1, dtype=self.dtype, device=self.device).cos()
        return [outputs.detach(), gradient.detach(), self.flat_gradient(gradient @ vector)]


def _device(parameters: dict[str, nn.Parameter]) -> torch.device:
    return next(iter(parameters.values())).device
