"""Curvature of a loss: eigenvalues, spectral density and trace of the Hessian, each with its error and its cost."""

from estimators.eigenvalues.lanczos import LanczosResult, lanczos
from estimators.eigenvalues.power_iteration import PowerIterationResult, power_iteration
from estimators.eigenvalues.top_eigenvalues import TopEigenvalues, top_eigenvalues
from estimators.gradients.batch_sharpness import BatchSharpness, batch_sharpness
from estimators.gradients.gradient_curvature import gradient_curvature
from estimators.gradients.gradient_noise import GradientNoiseTrace, gradient_noise_trace
from estimators.linearity.linearity import Linearity, linearity
from estimators.operators.dense import dense_hessian
from estimators.operators.gauss_newton import GaussNewtonOperator
from estimators.operators.graphs.blocks import parameters_by_layer
from estimators.operators.hessian import HessianOperator
from estimators.operators.protocols import SymmetricOperator
from estimators.operators.transformed.preconditioned import PreconditionedOperator
from estimators.operators.transformed.shifted import ShiftedOperator
from estimators.spectrum.curves import Curve
from estimators.spectrum.spectral_density import Moment, SpectralDensity, spectral_density
from estimators.trace.gauss_newton import SampledGaussNewtonTrace, exact_trace, sampled_trace
from estimators.trace.hessian import HessianTrace, hessian_trace
from estimators.trace.hutchinson import HutchinsonResult, hutchinson
from estimators.trace.intervals import required_probes
from estimators.trace.relative_sharpness import RelativeSharpness, relative_sharpness
from estimators.trace.trace_pass import GaussNewtonTrace

__all__ = [
    "BatchSharpness",
    "Curve",
    "GaussNewtonOperator",
    "GaussNewtonTrace",
    "GradientNoiseTrace",
    "HessianOperator",
    "HessianTrace",
    "HutchinsonResult",
    "LanczosResult",
    "Linearity",
    "Moment",
    "PowerIterationResult",
    "PreconditionedOperator",
    "RelativeSharpness",
    "SampledGaussNewtonTrace",
    "ShiftedOperator",
    "SpectralDensity",
    "SymmetricOperator",
    "TopEigenvalues",
    "batch_sharpness",
    "dense_hessian",
    "exact_trace",
    "gradient_curvature",
    "gradient_noise_trace",
    "hessian_trace",
    "hutchinson",
    "lanczos",
    "linearity",
    "parameters_by_layer",
    "power_iteration",
    "relative_sharpness",
    "required_probes",
    "sampled_trace",
    "spectral_density",
    "top_eigenvalues",
]
