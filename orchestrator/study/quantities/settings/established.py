"""The estimators of the paper and their successors. Their keys are fields of `Record`.

Their other settings are fields of `MeasurementConfig`, as in the first version of sweep files.
"""

from typing import Literal

from orchestrator.study.quantities.quantity_config import QuantityConfig

_TRACE = ("hessian/trace", "hessian/trace_standard_error", "hessian/gauss_newton_trace")


class LanczosConfig(QuantityConfig):
    """The largest and the smallest eigenvalue of the Hessian, by Lanczos iteration."""

    name: Literal["lanczos"]
    record_keys = (
        "hessian/lambda_max",
        "hessian/lambda_max_residual",
        "hessian/lambda_min",
        "hessian/lambda_min_residual",
    )
    cost = "5 to 10 products"


class ExactTraceConfig(QuantityConfig):
    """The trace of the Hessian: exact, or with probes for the difference to the Gauss-Newton trace."""

    name: Literal["exact_trace"]
    record_keys = _TRACE
    cost = "one backward pass per output"


class SampledTraceConfig(QuantityConfig):
    """The trace of the Hessian from one random vector per sample."""

    name: Literal["sampled_trace"]
    record_keys = _TRACE
    cost = "one gradient"


class Algorithm1Config(QuantityConfig):
    """The paper's Algorithm 1: power iteration and Hutchinson's trace with Gaussian probes."""

    name: Literal["algorithm1"]
    record_keys = (
        "algorithm1/max_eigenvalue",
        "algorithm1/trace",
        "algorithm1/trace_std",
        "hessian/trace",
        "hessian/trace_standard_error",
        "hessian/lambda_max",
        "hessian/lambda_max_residual",
    )
    cost = "20 products"
