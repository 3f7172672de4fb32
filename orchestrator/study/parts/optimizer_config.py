"""The optimizer and learning rate schedule of a trial."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from orchestrator.study.parts.fields import Config, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share
from orchestrator.study.parts.user_code_config import OWN_CODE, CodeName, UserCodeConfig, tag


class SamConfig(Config):
    """Sharpness-aware minimization (Foret et al., 2021): steps use the gradient at w + rho g / ||g||."""

    rho: PositiveFloat
    """Length of the ascent step along the gradient g of the batch at w. ||g|| is the 2-norm over all parameters."""


class _Optimizer(Config):
    name: str
    sam: SamConfig | None = None
    gradient_clip: PositiveFloat | None = None
    """Maximum 2-norm of the gradient over all parameters. A larger gradient is scaled to this norm before the step."""


class SgdConfig(_Optimizer):
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


class AdamConfig(_Optimizer):
    """Adam (Kingma and Ba, 2015). Weight decay is L2 regularization: `weight_decay * w` is added to the gradient."""

    name: Literal["adam"]
    lr: PositiveFloat
    beta1: Share = 0.9
    beta2: Share = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0


class AdamWConfig(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    name: Literal["adamw"]
    lr: PositiveFloat
    beta1: Share = 0.9
    beta2: Share = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


class AdagradConfig(_Optimizer):
    """AdaGrad (Duchi, Hazan and Singer, 2011)."""

    name: Literal["adagrad"]
    lr: PositiveFloat
    lr_decay: NonNegativeFloat = 0.0
    initial_accumulator: NonNegativeFloat = 0.0
    eps: PositiveFloat = 1e-10
    weight_decay: NonNegativeFloat = 0.0


class RmspropConfig(_Optimizer):
    """RMSprop (Tieleman and Hinton, 2012)."""

    name: Literal["rmsprop"]
    lr: PositiveFloat
    alpha: Share = 0.99
    eps: PositiveFloat = 1e-8
    momentum: Share = 0.0
    weight_decay: NonNegativeFloat = 0.0


class OptimizerClassConfig(_Optimizer, UserCodeConfig):
    """An optimizer class of torch or of the user: ``torch.optim:NAdam``. Lists are passed to it as tuples."""

    name: CodeName

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for the class."""
        return {key: tuple(value) if isinstance(value, list) else value for key, value in super().arguments.items()}


Optimizer = Annotated[
    Annotated[SgdConfig, Tag("sgd")]
    | Annotated[AdamConfig, Tag("adam")]
    | Annotated[AdamWConfig, Tag("adamw")]
    | Annotated[AdagradConfig, Tag("adagrad")]
    | Annotated[RmspropConfig, Tag("rmsprop")]
    | Annotated[OptimizerClassConfig, Tag(OWN_CODE)],
    Discriminator(tag),
]
"""Optimizers: built in, or any class."""


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
