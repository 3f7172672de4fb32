"""The network of a trial."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from orchestrator.study.parts.fields import Config, PositiveFloat, PositiveInt, Share
from orchestrator.study.parts.user_code_config import OWN_CODE, Scalar, UserCodeConfig, tag

Activation = Literal["relu", "leaky_relu", "gelu", "silu", "tanh", "softplus"]
Init = Literal["default", "kaiming_normal"]
"""Initial weights. ``default``: those of torch. ``kaiming_normal``: normal, of variance 2 / fan-in, with biases 0."""


class CnnConfig(Config):
    """The paper's CNN: two 3x3 convolutions of 32 channels, each with activation and 2x2 max pool; two hidden layers.

    The hidden layers have 400 units. `batch_norm` adds batch norm before every activation, `dropout` adds dropout after
    every hidden layer.
    """

    name: Literal["cnn"]
    dropout: Share = 0.0
    batch_norm: bool = False
    activation: Activation = "relu"
    init: Init = "default"
    init_scale: PositiveFloat = 1.0
    """Factor on the initial weights (not the biases) of every linear and convolutional layer, including the last."""


class MlpConfig(Config):
    """Hidden layers on the flattened input, which may have any shape; the other settings are as in `CnnConfig`."""

    name: Literal["mlp"]
    hidden: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = (400, 400)
    dropout: Share = 0.0
    batch_norm: bool = False
    activation: Activation = "relu"
    init: Init = "default"
    init_scale: PositiveFloat = 1.0


class ResnetConfig(Config):
    """The ResNet for CIFAR-10 of He et al. (2016): three stages of (depth - 2) / 6 blocks of two 3x3 convolutions.

    The stages have `width`, 2 `width` and 4 `width` channels. Group norm has groups of gcd(8, channels) channels.
    """

    name: Literal["resnet"]
    depth: PositiveInt = 20
    width: PositiveInt = 16
    norm: Literal["batch", "group"] = "batch"

    @field_validator("depth")
    @classmethod
    def _whole_blocks(cls, depth: int) -> int:
        if depth < 8 or depth % 6 != 2:
            below = max(8, depth - (depth - 2) % 6)
            near = f"{below}" if depth < 8 else f"{below} or {below + 6}"
            raise ValueError(f"must be 6 n + 2 (8, 14, 20, ...), for three stages of n blocks; set it to {near}")
        return depth


class _AttentionConfig(Config):
    name: str
    width: PositiveInt = 64
    depth: PositiveInt = 4
    heads: PositiveInt = 4
    dropout: Share = 0.0

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            divisors = [heads for heads in range(1, self.width + 1) if self.width % heads == 0]
            nearest = min(divisors, key=lambda heads: abs(heads - self.heads))
            raise ValueError(
                f"heads is {self.heads}, expected a divisor of width, which is {self.width}; set heads to {nearest}, "
                f"or width to a multiple of {self.heads}"
            )
        return self


class VitConfig(_AttentionConfig):
    """A vision transformer on patches of `patch` x `patch` pixels, with the mean over patches before the last layer.

    It has learned positions and `depth` blocks with layer norm before attention (pre-norm).
    """

    name: Literal["vit"]
    patch: PositiveInt = 4


class TransformerConfig(_AttentionConfig):
    """A causal transformer over tokens with learned positions and layer norm before attention (pre-norm)."""

    name: Literal["transformer"]
    tied: bool = False
    """Whether the output layer uses the weights of the token embedding."""


class LstmConfig(Config):
    """An embedding, `depth` LSTM layers of `width` units, and a linear output at every position.

    For classes of sequences, the output is that of the last position. `gru` and `transformer` do the same.
    """

    name: Literal["lstm"]
    width: PositiveInt = 128
    depth: PositiveInt = 2


class GruConfig(Config):
    """As `LstmConfig`, with GRU layers."""

    name: Literal["gru"]
    width: PositiveInt = 128
    depth: PositiveInt = 2


_SET_BY_THE_TRIAL = {
    "weights": "a trial starts from random weights",
    "num_classes": "it follows from the data",
    "aux_logits": "a trial has a single loss",
}


class TorchvisionConfig(Config):
    """A classification network of torchvision without pretrained weights.

    All other keys are passed to the architecture as keyword arguments.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar] = Field(init=False)

    name: Literal["torchvision"]
    architecture: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _sets_only_free_arguments(self) -> Self:
        for key in self.arguments:
            if key in _SET_BY_THE_TRIAL:
                raise ValueError(f"{key} cannot be set, because {_SET_BY_THE_TRIAL[key]}; remove {key}")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for the architecture."""
        return dict(self.__pydantic_extra__ or {})


class ModuleConfig(UserCodeConfig):
    """A user-defined network.

    `input_shape` (of a sample), `outputs` (their number) and `vocabulary` (size, or None if inputs are not tokens) are
    also passed to the class if it has such parameters. `shape` and `classes` are other names of the first two.
    """


Model = Annotated[
    Annotated[CnnConfig, Tag("cnn")]
    | Annotated[MlpConfig, Tag("mlp")]
    | Annotated[ResnetConfig, Tag("resnet")]
    | Annotated[VitConfig, Tag("vit")]
    | Annotated[TransformerConfig, Tag("transformer")]
    | Annotated[LstmConfig, Tag("lstm")]
    | Annotated[GruConfig, Tag("gru")]
    | Annotated[TorchvisionConfig, Tag("torchvision")]
    | Annotated[ModuleConfig, Tag(OWN_CODE)],
    Discriminator(tag),
]
"""Networks: built in, or the user's own."""
