"""The loss of a trial, which it minimises and whose Hessian is measured."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Tag, field_validator

from orchestrator.study.parts.fields import Config, PositiveFloat, Share
from orchestrator.study.parts.user_code_config import OWN_CODE, UserCodeConfig, named, tag


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

    @field_validator("factor", mode="before")
    @classmethod
    def _number_or_mean(cls, factor: object) -> object:
        if factor != "mean" and (not isinstance(factor, int | float) or isinstance(factor, bool) or factor <= 0):
            raise ValueError("must be a number above 0, or mean")
        return factor


class BinaryCrossEntropyConfig(Config):
    """Binary cross-entropy of several labels per sample, in nats: the mean over labels. Outputs are logits."""

    name: Literal["binary_cross_entropy"]


class OwnLossConfig(UserCodeConfig):
    """A function `loss(outputs, targets)` that returns the mean over samples. Other keys are passed to it."""


Loss = Annotated[
    Annotated[CrossEntropyConfig, Tag("cross_entropy")]
    | Annotated[MseConfig, Tag("mse")]
    | Annotated[BinaryCrossEntropyConfig, Tag("binary_cross_entropy")]
    | Annotated[OwnLossConfig, Tag(OWN_CODE)],
    Discriminator(tag),
    BeforeValidator(named),
]
"""Losses: built in, or the user's own. A mapping with a name and options, or only the name."""
