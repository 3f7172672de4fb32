"""The curvature of minibatch losses along their own gradients."""

from typing import Literal

from orchestrator.study.parts.fields import PositiveInt
from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import QuantityConfig

_INTERVAL = "95% interval over minibatches, corrected for skewness; its coverage is lower with fewer than 20"


class BatchSharpnessConfig(QuantityConfig):
    """The curvature of minibatch losses along their own gradients, for minibatches of the trial's size."""

    name: Literal["batch_sharpness"]
    batches: PositiveInt = 32
    """Maximum number of disjoint minibatches; fewer if the training set is smaller."""

    quantities = (
        Quantity(
            "stability/batch_sharpness",
            "loss",
            "batch sharpness",
            "mean over minibatches of g'Hg / g'g, with the minibatch's own g and H (Andreyev and Beneventano, 2024)",
            "stability/batch_sharpness_standard_error",
        ),
        Quantity(
            "stability/batch_sharpness_standard_error",
            "loss",
            "standard error of the batch sharpness",
            "over minibatches; 0 for full batches",
        ),
        Quantity(
            "stability/batch_sharpness_low",
            "loss",
            "lower end of the batch sharpness",
            _INTERVAL,
            is_error=True,
        ),
        Quantity(
            "stability/batch_sharpness_high",
            "loss",
            "upper end of the batch sharpness",
            _INTERVAL,
            is_error=True,
        ),
        Quantity(
            "stability/batch_sharpness_samples", "loss", "g'Hg / g'g", "g'Hg / g'g of each minibatch", is_error=True
        ),
    )
    cost = "a gradient and a product over the drawn minibatches"
