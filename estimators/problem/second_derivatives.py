"""Compares autograd's derivatives with finite differences along one direction, on two samples in float64.

Autograd's second derivative can be wrong although its gradient is right. Examples are weight_norm (in torch itself) and
custom functions that save an intermediate result. Such a Hessian is usually not symmetric. Autograd returns J'v for the
Jacobian J of the gradient, and finite differences return Jv, so the comparison also tests symmetry.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from estimators.problem.checks import LossFunction, evaluate
from estimators.problem.precision import default_dtype
from estimators.problem.suspects import suspects

# Steps relative to the norm of each parameter. A step across a kink (ReLU, max pooling) fails, and a smaller one
# follows. Of the steps of 1e-7, two in 20 crossed a kink of a network of 10^5 activations; of 1e-9, none in 40.
_STEPS = (1e-7, 1e-9)
# Allowed error, relative to the product of the parameter, and to the largest product of any parameter.
_OF_PARAMETER, _OF_LARGEST = 1e-3, 1e-4
# Bound on the rounding of gradients in float64, relative to their scale.
_ROUNDING = 1e-14
# A new network may be exactly on kinks, since its biases are zero. The parameters are first moved away from them, by
# this much relative to their norms.
_OFFSET = 1e-3
# Phases of the offset. Only a fault at all of these points is reported, since one may be next to a kink.
_POINTS = (0.7, 2.1, 3.5)
# The norm assumed for parameters with a smaller norm, such as biases that are zero.
_SMALLEST_NORM = 0.1

Parts = list[Tensor]
Result = TypeVar("Result")


def check_second_derivatives(
    model: nn.Module, loss_fn: LossFunction, names: list[str], inputs: Tensor, targets: Tensor
) -> None:
    """Raises ValueError if loss, gradient and a Hessian-vector product are not derivatives of one another.

    They are evaluated next to the model's parameters, along a direction in which every entry affects the outputs
    (the row of an embedding's padding does not). Models and losses that do not run in float64, and results that are
    not finite, are not compared.

    Args:
        model: the model, which is left unchanged.
        loss_fn: a mean loss.
        names: the parameters to differentiate with respect to.
        inputs: a few samples.
        targets: their targets.
    """
    fault = None
    try:
        with default_dtype(torch.float64):
            for phase in _POINTS:
                function = _Function.in_double(model, loss_fn, names, inputs, targets, phase)
                comparison = function.at(function.parameters, partial(_Comparison.of, function))
                fault = None if comparison is None else comparison.fault()
                if fault is None:
                    break
    except Exception:  # Some models only run in their own dtype.
        _differentiate_twice(model, loss_fn, names, inputs, targets)
    if fault is not None:
        raise ValueError(fault)


def _differentiate_twice(
    model: nn.Module, loss_fn: LossFunction, names: list[str], inputs: Tensor, targets: Tensor
) -> None:
    """Raises ValueError if the loss cannot be differentiated twice in the model's own dtype."""
    parameters: Parts = [model.get_parameter(name) for name in names]
    _, loss = evaluate(model, loss_fn, inputs, targets)
    try:
        gradient = _gradient(loss, parameters, create_graph=True)
        _gradient(_dot(gradient, [_waves(p.detach()) for p in parameters]), parameters)
    except RuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"the loss cannot be differentiated twice ({reason}), expected operations with a second derivative:"
            f" replace the operation named here.{suspects(model, loss)}"
        ) from error


@dataclass(frozen=True, eq=False)
class _Function:
    """The mean loss as a function of the parameters."""

    model: nn.Module
    loss_fn: LossFunction
    names: list[str]
    parameters: Parts
    constants: dict[str, Tensor]
    """Buffers and frozen parameters."""
    inputs: Tensor
    targets: Tensor

    @classmethod
    def in_double(
        cls, model: nn.Module, loss_fn: LossFunction, names: list[str], inputs: Tensor, targets: Tensor, phase: float
    ) -> "_Function":
        """Converts all tensors to float64, and moves the parameters away from kinks."""
        copies = {name: _double(tensor) for name, tensor in (*model.named_parameters(), *model.named_buffers())}
        parameters = [_perturbed(copies.pop(name), phase).requires_grad_() for name in names]
        return cls(model, loss_fn, names, parameters, copies, _double(inputs), _double(targets))

    def at(self, parameters: Parts, compute: Callable[[], Result]) -> Result:
        """Returns the result of a computation in which the model has the given parameters."""
        # Copies, because the model may write to its buffers.
        tensors = {name: constant.clone() for name, constant in self.constants.items()}
        tensors |= zip(self.names, parameters, strict=True)
        # Backward passes are inside too, since they run parts of a checkpointed model again.
        context = _Context(self.model)
        result: Result = functional_call(context, {f"model.{name}": t for name, t in tensors.items()}, (compute,))
        return result

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """Outputs and loss. To be called in `at`."""
        return evaluate(self.model, self.loss_fn, self.inputs, self.targets)

    def differences(self, direction: Parts, step: float) -> tuple[float, Parts]:
        """Central differences of loss and gradient."""
        (ahead, gradient_ahead), (behind, gradient_behind) = (
            self._loss_and_gradient(direction, signed) for signed in (step, -step)
        )
        changes = [(a - b) / (2.0 * step) for a, b in zip(gradient_ahead, gradient_behind, strict=True)]
        return (ahead - behind) / (2.0 * step), changes

    def _loss_and_gradient(self, direction: Parts, step: float) -> tuple[float, Parts]:
        moved = [(p.detach() + step * d).requires_grad_() for p, d in zip(self.parameters, direction, strict=True)]

        def compute() -> tuple[float, Parts]:
            _, loss = self.evaluate()
            return float(loss.detach()), _gradient(loss, moved)

        return self.at(moved, compute)


class _Context(nn.Module):
    """Runs a computation as its forward pass, so that torch can substitute the parameters of the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], Result]) -> Result:
        """Returns the computation's result."""
        return compute()


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Autograd's derivatives along one direction, to be compared with finite differences.

    Gradients and products are multiplied by the norms of their parameters, which makes them comparable.
    """

    function: _Function
    direction: Parts
    norms: list[float]
    slope: float
    product: Parts
    scale: float
    """Norm of the gradient."""
    rounding: float
    """Bound on rounding errors of loss and gradient."""
    causes: str

    @classmethod
    def of(cls, function: _Function) -> "_Comparison | None":
        """Differentiates twice. Returns None if there is nothing to compare. To be called in `_Function.at`."""
        outputs, loss = function.evaluate()
        parameters = function.parameters
        norms = [max(float(p.detach().norm()), _SMALLEST_NORM) for p in parameters]
        gradient = _gradient(loss, parameters, create_graph=True)
        constant = [g.detach() for g in gradient]
        weights = torch.arange(1, outputs.numel() + 1, device=outputs.device).cos().reshape(outputs.shape)
        of_outputs = _gradient((outputs * weights).real.sum(), parameters)
        used = [(g != 0) | (o != 0) for g, o in zip(constant, of_outputs, strict=True)]
        direction = [d * u for d, u in zip(_direction(constant, norms), used, strict=True)]
        product = _gradient(_dot(gradient, direction), parameters)
        scale = _norm(constant, norms)
        rounding = _ROUNDING * (abs(float(loss.detach())) + scale + _norm(of_outputs, norms))
        if not math.isfinite(rounding) or not all(part.isfinite().all() for part in product):
            return None
        slope = float(_dot(constant, direction))
        return cls(function, direction, norms, slope, product, scale, rounding, suspects(function.model, loss))

    def fault(self) -> str | None:
        """How a derivative differs from its finite difference for every step; None if they agree for one."""
        found = ""
        for step in _STEPS:
            fault = self._fault(step)
            if fault is None:
                return None
            found = fault
        return f"{found}, expected equal ones: autograd is wrong or a hook changes gradients.{self.causes}"

    def _fault(self, step: float) -> str | None:
        slope, product = self.function.differences(self.direction, step)
        rounding = self.rounding / step
        if abs(slope - self.slope) > _OF_PARAMETER * self.scale + rounding:
            return f"the loss changes by {slope:.4g} along a direction and its gradient predicts {self.slope:.4g}"
        sizes = [float(part.norm()) * norm for part, norm in zip(self.product, self.norms, strict=True)]
        pairs = zip(self.function.names, product, self.product, self.norms, sizes, strict=True)
        for name, found, expected, norm, size in pairs:
            error = float((found - expected).norm())
            if error * norm > _OF_PARAMETER * size + _OF_LARGEST * max(sizes) + rounding:
                return (
                    f"the gradient of {name} changes by {float(found.norm()):.4g} along a direction and its second"
                    f" derivative predicts {float(expected.norm()):.4g} (norm of the difference: {error:.2g})"
                )
        return None


def _direction(gradient: Parts, norms: list[float]) -> Parts:
    """A direction that changes every parameter by about its norm and has a component along the gradient."""
    whole = _norm(gradient, norms) or 1.0
    pairs = zip(gradient, norms, strict=True)
    return [norm * (_waves(g) / math.sqrt(g.numel()) + (norm / whole) * g) for g, norm in pairs]


def _perturbed(parameter: Tensor, phase: float) -> Tensor:
    norm = max(float(parameter.norm()), _SMALLEST_NORM)
    return parameter + _OFFSET * norm / math.sqrt(parameter.numel()) * _waves(parameter, phase)


def _waves(like: Tensor, phase: float = 0.0) -> Tensor:
    """Numbers of both signs, without drawing random numbers."""
    numbers = torch.arange(1, like.numel() + 1, dtype=like.dtype, device=like.device)
    return torch.cos(numbers + phase).reshape(like.shape)


def _gradient(value: Tensor, parameters: Parts, create_graph: bool = False) -> Parts:
    if not value.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    parts = torch.autograd.grad(value, parameters, retain_graph=True, create_graph=create_graph, materialize_grads=True)
    return [part.to_dense() for part in parts]


def _dot(first: Parts, second: Parts) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)]).sum()


def _norm(parts: Parts, norms: list[float]) -> float:
    return float(torch.stack([part.norm() * norm for part, norm in zip(parts, norms, strict=True)]).norm())


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().double() if tensor.is_floating_point() else tensor.detach()
