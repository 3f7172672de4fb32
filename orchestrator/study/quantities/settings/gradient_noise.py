"""The covariance of per-sample gradients."""

from typing import Literal

from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import QuantityConfig


class GradientNoiseConfig(QuantityConfig):
    """The trace of the covariance of per-sample gradients."""

    name: Literal["gradient_noise"]

    quantities = (
        Quantity(
            "gradient/noise_trace",
            "loss^2",
            "trace of the gradient covariance",
            "sum of ||g_i - g||^2 over the n samples of the measurement subset, divided by n - 1",
            "gradient/noise_trace_standard_error",
        ),
        Quantity(
            "gradient/noise_trace_standard_error",
            "loss^2",
            "standard error of the trace of the gradient covariance",
            "for samples drawn independently",
        ),
    )
    cost = "about 10 forward passes"
