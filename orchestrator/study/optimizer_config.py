"""The optimizer and learning rate schedule of a trial."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.study.fields import Config, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share


class SgdConfig(Config):
    """Stochastic gradient descent, with heavy-ball or Nesterov momentum if momentum > 0."""

    name: Literal["sgd"]
    lr: PositiveFloat
    momentum: Share = 0.0
    weight_decay: NonNegativeFloat = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; set momentum, for example to 0.9, or remove nesterov")
        return self


class AdamConfig(Config):
    """Adam (Kingma and Ba, 2015). Weight decay is L2 regularization: `weight_decay * w` is added to the gradient."""

    name: Literal["adam"]
    lr: PositiveFloat
    beta1: Share = 0.9
    beta2: Share = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0


class AdamWConfig(Config):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    name: Literal["adamw"]
    lr: PositiveFloat
    beta1: Share = 0.9
    beta2: Share = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


class AdagradConfig(Config):
    """AdaGrad (Duchi, Hazan and Singer, 2011)."""

    name: Literal["adagrad"]
    lr: PositiveFloat
    lr_decay: NonNegativeFloat = 0.0
    initial_accumulator: NonNegativeFloat = 0.0
    eps: PositiveFloat = 1e-10
    weight_decay: NonNegativeFloat = 0.0


class RmspropConfig(Config):
    """RMSprop (Tieleman and Hinton, 2012)."""

    name: Literal["rmsprop"]
    lr: PositiveFloat
    alpha: Share = 0.99
    eps: PositiveFloat = 1e-8
    momentum: Share = 0.0
    weight_decay: NonNegativeFloat = 0.0


Optimizer = Annotated[SgdConfig | AdamConfig | AdamWConfig | AdagradConfig | RmspropConfig, Field(discriminator="name")]


class _Schedule(Config):
    name: str
    warmup_epochs: NonNegativeInt = 0
    """Number of epochs in which the learning rate rises linearly to its full value, step by step."""


class ConstantSchedule(_Schedule):
    """A constant learning rate after the warm-up."""

    name: Literal["constant"]


class CosineSchedule(_Schedule):
    """Cosine annealing from the learning rate `lr` to `final * lr` (Loshchilov and Hutter, 2017)."""

    name: Literal["cosine"]
    final: Annotated[float, Field(ge=0, le=1)] = 0.0


class StepSchedule(_Schedule):
    """Multiplies the learning rate by `factor` after every `every` epochs."""

    name: Literal["step"]
    every: PositiveInt
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1


Schedule = Annotated[ConstantSchedule | CosineSchedule | StepSchedule, Field(discriminator="name")]
