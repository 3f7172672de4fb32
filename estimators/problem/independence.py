"""Checks on a few samples that no sample influences another one, and that the model does not change its weights.

Products and traces split the data into chunks. That is correct only if the outputs of a sample, and their gradient, are
the same in every batch. The check compares behaviour, so it needs no list of layers.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from estimators.problem.checks import evaluate_model
from estimators.problem.memory_format import relative_rounding
from estimators.problem.precision import default_dtype

# Number of samples compared.
SAMPLES = 4

Gradient = Callable[[Tensor], Tensor]


def check_independent(model: nn.Module, gradient: Gradient, inputs: Tensor) -> None:
    """Raises ValueError if outputs or gradients of samples change with the order or the split of their batch.

    A value that is NaN in only one of two batches counts as a change.

    Args:
        model: the model.
        gradient: returns the gradient [size] of a scalar with respect to the parameters.
        inputs: a few samples [n, ...].
    """
    # `estimators.sampled_trace` repeats samples, so a single sample is compared in a batch with a copy of itself.
    inputs = torch.cat([inputs, inputs]) if len(inputs) == 1 else inputs
    change = _change(model, gradient, inputs)
    if change is not None and not _independent_in_float64(model, inputs):
        raise ValueError(
            f"{change}, expected samples that do not influence each other, since data are split into chunks: replace"
            " operations that mix the first dimension, such as batch statistics or a recurrent layer without"
            " batch_first=True"
        )


def _change(model: nn.Module, gradient: Gradient, inputs: Tensor) -> str | None:
    """Describes the first change of outputs or gradient; None if there is none."""
    whole = _Batch.of(model, gradient, [inputs])
    for parts, change in (([inputs.flip(0)], "order"), ([inputs[:1], inputs[1:]], "split")):
        other = _Batch.of(model, gradient, parts, flip=change == "order")
        for what in ("outputs", "gradient"):
            found, expected = getattr(other, what), getattr(whole, what)
            if not _same(found, expected):
                size = _largest_change(found, expected)
                return f"the {what} of {len(inputs)} samples change by {size:.3g} with the {change} of their batch"
    return None


def _independent_in_float64(model: nn.Module, inputs: Tensor) -> bool:
    """Whether a float64 copy of the model passes. False if the model does not run in float64.

    Near a kink, such as a tie in max pooling, float32 rounding can change the gradient of independent samples.
    """
    try:
        copied = copy.deepcopy(model).double()
        parameters = [parameter for parameter in copied.parameters() if parameter.requires_grad]

        def gradient(value: Tensor) -> Tensor:
            parts = torch.autograd.grad(value, parameters, materialize_grads=True)
            return torch.cat([part.to_dense().reshape(-1) for part in parts])

        with default_dtype(torch.float64):
            return _change(copied, gradient, inputs.double() if inputs.is_floating_point() else inputs) is None
    except Exception:  # Some models cannot be copied, or only run in their own dtype.
        return False


@contextmanager
def weights_unchanged(model: nn.Module) -> Iterator[None]:
    """Raises ValueError if the model rewrites its parameters inside the context. Their values are restored."""
    before = [(name, p, p._version, p.detach().clone()) for name, p in model.named_parameters()]
    try:
        yield
    finally:
        changed = [entry for entry in before if _rewritten(*entry[1:])]
        with torch.no_grad():
            for _, parameter, _, copy in changed:
                parameter.copy_(copy)
        if changed:
            # Replaces an error that the rewritten weights may have caused.
            raise ValueError(
                f"the forward pass rewrites parameter {changed[0][0]}, expected constant weights while measuring:"
                " set max_norm=None in Embedding layers, and move other writes to weights out of forward"
            )


@dataclass(frozen=True, eq=False)
class _Batch:
    """The outputs of samples, and the gradient of their products with fixed vectors."""

    outputs: Tensor
    gradient: Tensor

    @classmethod
    def of(cls, model: nn.Module, gradient: Gradient, parts: list[Tensor], flip: bool = False) -> "_Batch":
        """Evaluates each part alone. With ``flip`` the samples are in reverse order."""
        outputs = torch.cat([evaluate_model(model, part) for part in parts])
        outputs = outputs.flip(0) if flip else outputs
        # Vectors in output space, without drawing random numbers. The loss is not used, because it is not checked yet.
        weights = torch.arange(1, outputs.numel() + 1, dtype=outputs.dtype, device=outputs.device).cos()
        return cls(outputs.detach(), gradient((outputs * weights.reshape(outputs.shape)).real.sum()).detach())


def _rewritten(parameter: Tensor, version: int, copy: Tensor) -> bool:
    return parameter._version != version or not torch.allclose(parameter, copy, rtol=0.0, atol=0.0, equal_nan=True)


def _same(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    finite = expected.isfinite()
    if not torch.equal(finite, found.isfinite()):
        return False
    found, expected = found[finite], expected[finite]
    # The constant allows for the rounding of gradients that should be zero.
    floor = 10 * torch.finfo(expected.dtype).eps
    return not len(expected) or float((found - expected).abs().max()) <= (
        relative_rounding(expected.dtype) * float(expected.abs().max()) + floor
    )


def _largest_change(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max()) if found.shape == expected.shape else float("nan")
