"""The estimators of the paper and their successors. Their keys are fields of `Record`.

Their other settings are fields of `MeasurementConfig`, as in the first version of sweep files.
"""

from typing import Literal

from orchestrator.study.quantities.quantity_config import QuantityConfig


class LanczosConfig(QuantityConfig):
    """The largest and the smallest eigenvalue of the Hessian, by Lanczos iteration."""

    name: Literal["lanczos"]
    cost = "5 to 10 products"


class ExactTraceConfig(QuantityConfig):
    """The trace of the Hessian without sampling, or with probes for its part beside the Gauss-Newton matrix."""

    name: Literal["exact_trace"]
    cost = "one backward pass per output"


class SampledTraceConfig(QuantityConfig):
    """The trace of the Hessian from one random vector per sample."""

    name: Literal["sampled_trace"]
    cost = "one gradient"


class Algorithm1Config(QuantityConfig):
    """The paper's Algorithm 1: power iteration and Hutchinson's trace with Gaussian probes."""

    name: Literal["algorithm1"]
    cost = "20 products"
