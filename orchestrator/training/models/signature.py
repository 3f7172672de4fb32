"""What a network reads and returns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Signature:
    """The shapes of a network's inputs and outputs. They follow from the data."""

    input_shape: tuple[int, ...]
    """Shape of one sample: (channels, height, width), (features,), or (positions,) for tokens."""
    outputs: int
    """Number of classes, regression targets or labels. For targets per token, the size of the output vocabulary."""
    vocabulary: int | None = None
    """Number of different input tokens. None if the inputs are not tokens."""
    per_sequence: bool = False
    """Whether a network of tokens returns outputs per sequence instead of per position."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the outputs of one sample: (outputs,), or (positions, outputs) if every token has a target."""
        per_sample = self.vocabulary is None or self.per_sequence
        return (self.outputs,) if per_sample else (*self.input_shape, self.outputs)

    @property
    def inputs(self) -> str:
        """What the inputs are, for messages: ``images of shape (3, 32, 32)``."""
        if self.vocabulary is not None:
            return f"token sequences of shape {self.input_shape} with a vocabulary of {self.vocabulary}"
        kind = {1: "feature vectors", 3: "images"}.get(len(self.input_shape), "inputs")
        return f"{kind} of shape {self.input_shape}"


def image_shape(signature: Signature, network: str) -> tuple[int, int, int]:
    """Returns channels, height and width. Raises ValueError if the inputs are not images."""
    if signature.vocabulary is not None or len(signature.input_shape) != 3:
        raise ValueError(
            f"model {network} needs images of shape (channels, height, width), but the data has {signature.inputs}: "
            f"use data of images, or the model {_fitting(signature)}"
        )
    channels, height, width = signature.input_shape
    return channels, height, width


def token_shape(signature: Signature, network: str) -> tuple[int, int]:
    """Returns the number of positions and the size of the vocabulary. Raises ValueError if inputs are not tokens."""
    if signature.vocabulary is None or len(signature.input_shape) != 1:
        raise ValueError(
            f"model {network} needs sequences of tokens, but the data has {signature.inputs}: use data of token "
            f"sequences, or the model {_fitting(signature)}"
        )
    return signature.input_shape[0], signature.vocabulary


def check_numeric(signature: Signature, network: str) -> None:
    """Raises ValueError if the inputs are tokens."""
    if signature.vocabulary is not None:
        raise ValueError(
            f"model {network} needs numeric inputs such as images or features, but the data has {signature.inputs}: "
            f"use numeric data, or the model {_fitting(signature)}"
        )


def _fitting(signature: Signature) -> str:
    """The built-in networks for these inputs."""
    if signature.vocabulary is not None:
        return "transformer, lstm or gru"
    return "cnn, mlp, resnet, vit or torchvision" if len(signature.input_shape) == 3 else "mlp"
