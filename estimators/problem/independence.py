"""Checks on a few samples that no sample influences another one, and that the model leaves its weights alone.

Products and traces split the data into chunks. That is correct only if the outputs of a sample, and their gradient, are
the same in every batch. The check compares behaviour, so it needs no list of layers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from estimators.problem.checks import evaluate_model
from estimators.problem.memory_format import relative_rounding

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
    # `estimators.sampled_trace` repeats samples, so a single one must not change beside a copy of itself.
    inputs = torch.cat([inputs, inputs]) if len(inputs) == 1 else inputs
    whole = _Batch.of(model, gradient, [inputs])
    for parts, change in (([inputs.flip(0)], "order"), ([inputs[:1], inputs[1:]], "split")):
        other = _Batch.of(model, gradient, parts, flip=change == "order")
        for what in ("outputs", "gradient"):
            found, expected = getattr(other, what), getattr(whole, what)
            if not _same(found, expected):
                raise ValueError(
                    f"the {what} of {len(inputs)} samples change by {_largest_change(found, expected):.3g} with"
                    f" the {change} of their batch, expected samples that do not influence each other, since data are"
                    " split into chunks: replace operations that mix the first dimension, such as batch statistics"
                    " or a recurrent layer without batch_first=True"
                )


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
