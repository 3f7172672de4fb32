"""lambda_max and trace of a stored network in float64."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.curvature.references import compute
from benchmarks.curvature.snapshots import Snapshot
from estimators import HessianOperator, hessian_trace


def reference(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Returns lambda_max and the exact trace of a piecewise linear network's cross-entropy, in float64.

    Args:
        model: the network; its weights may have been recorded in float32.
        images: the normalised images [n, ...] on which the Hessian was measured.
        labels: their classes [n].

    Raises:
        ValueError: if the trace of this network is not exact.
    """
    model = model.eval()
    lambda_max = compute(Snapshot("cnn", "sgd", 0, "race", model), images, labels).lambda_max
    double = HessianOperator(copy.deepcopy(model).double(), cross_entropy, (images.double(), labels))
    trace = hessian_trace(double, generator=torch.Generator().manual_seed(0))
    if not trace.exact:
        raise ValueError(f"the reference trace is not exact: {trace.reason}")
    return lambda_max, trace.value
