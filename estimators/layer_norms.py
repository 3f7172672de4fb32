"""Per-sample gradients of one layer's parameters, and their squared norms, from what the layer saw and was sent back.

For a call z = layer(a) and a gradient delta [n, ...] of any function in z, sample by sample: the weight's gradient of
a linear layer is delta_n'a_n, so its squared norm is ||delta_n||^2 ||a_n||^2; a convolution is linear in the patches of
a_n. No gradient of a whole batch is formed (Goodfellow, 2015, for linear layers; Dangel et al., 2020, for others).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Set
from functools import partial

import torch
from torch import Tensor, nn

from estimators.pooled_relus import PooledGradient
from estimators.sample_products import ProductNorms, Rows, Sign, squared_norms

# From so many channels on, patches are copied fastest in runs of channels, below it in runs of pixels.
_CHANNEL_RUN = 16
_ONE = slice(1)


class LayerCall(ABC):
    """One call of a layer on n samples, and sums over columns (gradients in its output) of squared norms."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    @abstractmethod
    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        """The gradients [n, *shape] of the layer's parameters, by their name in the layer."""

    def add(self, delta: Tensor | PooledGradient, sign: Sign, wanted: Set[str], columns: int) -> None:
        """One more column.

        Args:
            delta: [n, ...], shaped like the layer's output.
            sign: of its norms, [n] or one for all.
            wanted: names of parameters whose norms are.
            columns: how many there will be, about: it decides how the norms are computed.
        """
        for name, gradient in self.gradients(_whole(delta)).items():
            if name in wanted:
                self._count(name, squared_norms(gradient), sign)

    def take(self) -> dict[str, Tensor]:
        """The sums [n], float64, by parameter, of the columns since they were last taken."""
        sums, self._sums = self._sums, {}
        return sums

    def _count(self, name: str, norms: Tensor, sign: Sign) -> None:
        norms = sign * norms
        self._sums[name] = self._sums[name] + norms if name in self._sums else norms


def _whole(delta: Tensor | PooledGradient) -> Tensor:
    return delta if isinstance(delta, Tensor) else delta.whole()


def layer_call(layer: nn.Module, inputs: Tensor) -> LayerCall | None:
    """What is known of a call; None for kinds and settings of layers with no rule here, or whose weight is computed."""
    if "forward" in layer.__dict__ or not isinstance(layer._parameters.get("weight"), nn.Parameter):
        return None
    # Exact types: a subclass may compute anything.
    kind = type(layer)
    if isinstance(layer, nn.Linear):
        if kind is not nn.Linear or inputs.ndim < 2:
            return None
        return _LinearCall(inputs) if inputs.ndim == 2 else _SequenceCall(inputs)
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return _ConvolutionCall(layer, inputs) if inputs.ndim == _CONVOLUTIONS.get(kind) else None
    if isinstance(layer, nn.Embedding):
        plain = kind is nn.Embedding and layer.max_norm is None and not layer.scale_grad_by_freq
        return _EmbeddingCall(layer, inputs) if plain else None
    return _NormCall(layer, inputs) if kind in _NORMS else None


class _LinearCall(LayerCall):
    """z = a W' + b on inputs [n, features]: one outer product a sample."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self._inputs, self._input_norms = inputs, squared_norms(inputs)

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        return {"weight": delta.unsqueeze(2) * self._inputs.unsqueeze(1), "bias": delta}

    def add(self, delta: Tensor | PooledGradient, sign: Sign, wanted: Set[str], columns: int) -> None:
        norms = squared_norms(_whole(delta))
        self._count("weight", norms * self._input_norms, sign)
        self._count("bias", norms, sign)


class _ProductCall(LayerCall):
    """The weight's gradient is D_n U_n: of matrices made of delta_n, and others made of a_n."""

    def __init__(self, rows: Rows, inputs: int, groups: int = 1) -> None:
        super().__init__()
        #: U [n * groups, positions, inputs] of some samples. No method: the products hold it, and would hold this call.
        self.rows = rows
        #: Of a group: columns of U.
        self.inputs = inputs
        self.groups = groups
        self._products: ProductNorms | None = None

    @abstractmethod
    def columns(self, delta: Tensor) -> Tensor:
        """D [n * groups, outputs, positions]."""

    @abstractmethod
    def bias(self, delta: Tensor) -> Tensor:
        """The bias's gradients [n, outputs]."""

    def add(self, delta: Tensor | PooledGradient, sign: Sign, wanted: Set[str], columns: int) -> None:
        if "bias" in wanted:
            # Whatever is not an entry of a pooled gradient is zero.
            entries = delta if isinstance(delta, Tensor) else delta.entries
            self._count("bias", squared_norms(self.bias(entries)), sign)
        if "weight" not in wanted:
            return
        if self._products is None:
            self._products = ProductNorms(self.rows, self.inputs, columns, self.groups)
        if isinstance(delta, PooledGradient) and self._products.one_by_one(*self.columns(delta.whole(_ONE)).shape[1:]):
            pooled = delta
            self._products.add_pieces(lambda samples: self.columns(pooled.whole(samples)), len(delta.entries), sign)
        else:
            self._products.add(self.columns(_whole(delta)), sign)

    def take(self) -> dict[str, Tensor]:
        sums = super().take()
        total = 0.0 if self._products is None else self._products.take()
        return {**sums, "weight": total} if isinstance(total, Tensor) else sums


class _SequenceCall(_ProductCall):
    """z = a W' + b on inputs [n, ..., features]: an outer product for each position."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__(inputs.flatten(1, -2).__getitem__, inputs.shape[-1])

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        return {"weight": self.columns(delta) @ self.rows(slice(None)), "bias": self.bias(delta)}

    def columns(self, delta: Tensor) -> Tensor:
        return delta.flatten(1, -2).mT

    def bias(self, delta: Tensor) -> Tensor:
        return delta.flatten(1, -2).sum(dim=1)


class _ConvolutionCall(_ProductCall):
    """A convolution of inputs [n, channels, ...]: each group is linear in its patches."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, inputs: Tensor) -> None:
        size = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        super().__init__(partial(_patches, layer, inputs), size, layer.groups)
        self._layer = layer

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        layer = self._layer
        weight, kernel = self.columns(delta) @ self.rows(slice(None)), layer.kernel_size
        inputs = layer.in_channels // layer.groups
        if _by_channel(layer):
            weight = weight.unflatten(-1, (*kernel, inputs)).movedim(-1, 2)
        shape = (len(delta), layer.out_channels, inputs, *kernel)
        return {"weight": weight.reshape(shape), "bias": self.bias(delta)}

    def columns(self, delta: Tensor) -> Tensor:
        groups, outputs = self._layer.groups, self._layer.out_channels
        return delta.reshape(len(delta) * groups, outputs // groups, -1)

    def bias(self, delta: Tensor) -> Tensor:
        return delta.flatten(2).sum(dim=2)


def _by_channel(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> bool:
    """Whether a row of patches has the channels of a pixel side by side, not the pixels of a channel."""
    return layer.in_channels // layer.groups >= _CHANNEL_RUN


def _patches(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, inputs: Tensor, samples: slice) -> Tensor:
    """[n * groups, positions, inputs of a group * kernel] of some samples: one copy, whatever stride and dilation."""
    seen, by_channel = inputs[samples], _by_channel(layer)
    channels, kernel = layer.in_channels // layer.groups, math.prod(layer.kernel_size)
    n = len(seen)
    # The layer's own list for functional.pad: right for "same", where the two sides differ, as well.
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = nn.functional.pad(seen, layer._reversed_padding_repeated_twice, mode=mode)
    padded = padded.movedim(1, -1).contiguous() if by_channel else padded.contiguous().movedim(1, -1)
    view: Tensor = padded.unflatten(-1, (layer.groups, channels))
    dimensions = len(layer.kernel_size)
    for axis, (size, stride, dilation) in enumerate(
        zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), start=1
    ):
        view = view.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    # Now [n, positions..., groups, channels, kernel...].
    positions, group = range(1, 1 + dimensions), 1 + dimensions
    channel, kernels = group + 1, range(group + 2, view.ndim)
    if by_channel:
        view = view.permute(0, group, *positions, *kernels, channel)
        return view.reshape(n * layer.groups, -1, kernel * channels)
    view = view.permute(0, group, channel, *kernels, *positions)
    return view.reshape(n * layer.groups, channels * kernel, -1).mT


class _NormCall(LayerCall):
    """z = weight * normalised + bias, where the normalisation has no parameters: batch (eval), layer and group norm."""

    def __init__(self, layer: nn.Module, inputs: Tensor) -> None:
        super().__init__()
        if isinstance(layer, nn.LayerNorm):
            self._normalised = nn.functional.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
            # Summed over everything between the sample and the normalised dimensions.
            self._summed = tuple(range(1, inputs.ndim - len(layer.normalized_shape)))
            return
        if isinstance(layer, nn.GroupNorm):
            self._normalised = nn.functional.group_norm(inputs, layer.num_groups, eps=layer.eps)
        else:
            assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
            self._normalised = nn.functional.batch_norm(inputs, layer.running_mean, layer.running_var, eps=layer.eps)
        self._summed = tuple(range(2, inputs.ndim))

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        weight = delta * self._normalised
        return {"weight": self._sum(weight), "bias": self._sum(delta)}

    def _sum(self, values: Tensor) -> Tensor:
        return values.sum(dim=self._summed) if self._summed else values


class _EmbeddingCall(LayerCall):
    """Rows of the weight, by index [n, ...]; the row of padding has no gradient."""

    def __init__(self, layer: nn.Embedding, indices: Tensor) -> None:
        super().__init__()
        self._layer, self._indices = layer, indices.reshape(len(indices), -1)

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        gradient = delta.new_zeros(len(delta), *self._layer.weight.shape)
        index = self._indices.unsqueeze(2).expand(-1, -1, delta.shape[-1])
        return {"weight": gradient.scatter_add_(1, index, self._masked(delta))}

    def add(self, delta: Tensor | PooledGradient, sign: Sign, wanted: Set[str], columns: int) -> None:
        delta = self._masked(_whole(delta))
        same = self._indices.unsqueeze(2) == self._indices.unsqueeze(1)
        self._count("weight", ((delta @ delta.mT) * same).sum(dim=(1, 2), dtype=torch.float64), sign)

    def _masked(self, delta: Tensor) -> Tensor:
        delta = delta.reshape(*self._indices.shape, -1)
        if self._layer.padding_idx is None:
            return delta
        return delta * (self._indices != self._layer.padding_idx).unsqueeze(2)


# Dimensions of the inputs.
_CONVOLUTIONS: dict[type[nn.Module], int] = {nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5}
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm)
