"""The curvature of minibatch losses along their own gradients."""

from typing import Literal

from orchestrator.study.parts.fields import PositiveInt
from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import QuantityConfig


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
    )
    cost = "a gradient and a product over the drawn minibatches"
