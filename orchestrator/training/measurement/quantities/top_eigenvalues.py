"""The largest eigenvalues of the Hessian."""

import math

import torch
from torch import Tensor

from estimators import TopEigenvalues
from orchestrator.study.quantities.settings.top_eigenvalues import TopEigenvaluesConfig
from orchestrator.study.record import Value
from orchestrator.training.measurement.context import Context, Values


def measure_top_eigenvalues(context: Context, _: TopEigenvaluesConfig) -> Values:
    """Returns the eigenvalues with their errors, and the gradient's share in the space of their eigenvectors.

    The first one is also the best estimate of lambda_max, since it belongs to a larger space than that of `lanczos`.
    """
    found = context.top_eigenvalues
    assert found is not None, "it is due"
    largest = {"hessian/lambda_max": float(found.values[0]), "hessian/lambda_max_residual": float(found.residuals[0])}
    return {**largest, **_eigenvalues(found), **_gradient_share(found, context.gradient)}


def _eigenvalues(found: TopEigenvalues) -> dict[str, Value]:
    values: dict[str, Value] = {}
    rows = zip(found.values.tolist(), found.residuals.tolist(), found.errors.tolist(), strict=True)
    for number, (value, residual, error) in enumerate(rows, start=1):
        values[f"hessian/lambda_{number}"] = value
        values[f"hessian/lambda_{number}_residual"] = residual
        values[f"hessian/lambda_{number}_error"] = None if math.isinf(error) else error
    return values


def _gradient_share(found: TopEigenvalues, gradient: Tensor) -> dict[str, Value]:
    """Returns ||V'g||^2 / ||g||^2 and its error. Projectors of spaces at an angle differ by the sine of that angle."""
    whole = float(gradient.square().sum())
    share = float((found.vectors.T @ gradient).square().sum()) / whole if whole > 0 else math.nan
    sine = float(torch.linalg.vector_norm(found.residuals)) / found.gap if found.gap > 0 else math.inf
    return {"hessian/gradient_share": share, "hessian/gradient_share_error": sine if sine < 1 else None}
