"""Curvature of a loss: the Hessian's extreme eigenvalues and trace, each with its uncertainty and its cost."""

from estimators.dense import dense_hessian
from estimators.hutchinson import hutchinson, required_probes
from estimators.lanczos import lanczos
from estimators.linearity import Linearity, linearity
from estimators.operators import HessianOperator, SymmetricOperator
from estimators.power import power_iteration
from estimators.results import HutchinsonResult, LanczosResult, PowerIterationResult

__all__ = [
    "HessianOperator",
    "HutchinsonResult",
    "LanczosResult",
    "Linearity",
    "PowerIterationResult",
    "SymmetricOperator",
    "dense_hessian",
    "hutchinson",
    "lanczos",
    "linearity",
    "power_iteration",
    "required_probes",
]
