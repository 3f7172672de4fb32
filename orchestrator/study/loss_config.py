"""The loss of a trial, which it minimises and whose Hessian is measured."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from orchestrator.study.fields import Config, PositiveFloat, Share


class CrossEntropyConfig(Config):
    """Cross-entropy of class indices, in nats. For tokens: the mean over the positions that have a target."""

    name: Literal["cross_entropy"]
    label_smoothing: Share = 0.0


class MseConfig(Config):
    """Squared error: `factor` times the sum over outputs, then the mean over samples. Class labels become one-hot.

    `factor: mean` takes the mean over outputs, as torch does.
    """

    name: Literal["mse"]
    factor: PositiveFloat | Literal["mean"] = 0.5


class BinaryCrossEntropyConfig(Config):
    """Binary cross-entropy of several labels per sample, in nats: the mean over labels. Outputs are logits."""

    name: Literal["binary_cross_entropy"]


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Loss = Annotated[
    Annotated[CrossEntropyConfig | MseConfig | BinaryCrossEntropyConfig, Field(discriminator="name")],
    BeforeValidator(_named),
]
"""A mapping with a name and options, or only the name."""
