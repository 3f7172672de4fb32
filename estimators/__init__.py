"""Curvature of a loss: the Hessian's extreme eigenvalues and trace, each with its uncertainty and its cost."""

from estimators.dense import dense_hessian
from estimators.gauss_newton_operator import GaussNewtonOperator
from estimators.gauss_newton_trace import exact_trace, sampled_trace
from estimators.hessian_trace import hessian_trace
from estimators.hutchinson import hutchinson, required_probes
from estimators.lanczos import lanczos
from estimators.linearity import Linearity, linearity
from estimators.operators import HessianOperator
from estimators.power import power_iteration
from estimators.protocols import SymmetricOperator
from estimators.results import (
    GaussNewtonTrace,
    HessianTrace,
    HutchinsonResult,
    LanczosResult,
    PowerIterationResult,
    SampledGaussNewtonTrace,
)

__all__ = [
    "GaussNewtonOperator",
    "GaussNewtonTrace",
    "HessianOperator",
    "HessianTrace",
    "HutchinsonResult",
    "LanczosResult",
    "Linearity",
    "PowerIterationResult",
    "SampledGaussNewtonTrace",
    "SymmetricOperator",
    "dense_hessian",
    "exact_trace",
    "hessian_trace",
    "hutchinson",
    "lanczos",
    "linearity",
    "power_iteration",
    "required_probes",
    "sampled_trace",
]
