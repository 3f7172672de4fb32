"""The rise of the loss along its gradient."""

from typing import Literal

from orchestrator.study.parts.fields import PositiveFloat
from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import QuantityConfig


class SamSharpnessConfig(QuantityConfig):
    """The rise of the loss in the direction of its gradient, which sharpness-aware minimisation penalises."""

    name: Literal["sam_sharpness"]
    rho: PositiveFloat | None = None
    """Length of the step. None: that of the optimizer's `sam`, else 0.05."""

    quantities = (
        Quantity(
            "sam/sharpness",
            "loss",
            r"$L(w+\rho g/\|g\|)-L(w)$",
            "rise of the training loss for a step of length rho along its gradient g (Foret et al., 2021)",
            "exact",
        ),
    )
    cost = "2 forward passes"
