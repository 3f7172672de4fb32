"""Squared norms of per-sample gradients of one layer, from its inputs and the gradients with respect to its outputs.

Let z = layer(a), and let delta [n, ...] be the gradient of a function with respect to z. The weight gradient of a
linear layer for sample n is delta_n'a_n, and its squared norm is ||delta_n||^2 ||a_n||^2. A convolution is linear in
the patches of a_n. The per-sample gradients themselves are never formed (Goodfellow, 2015, for linear layers; Dangel et
al., 2020, for others).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence, Set
from functools import partial

import torch
from torch import Tensor, nn

from estimators.kernels.max_pool import PooledGradients
from estimators.per_sample.output_gradients import Columns, Sign
from estimators.per_sample.products import Factors, InputMatrices, ProductNorms, norms_at_positions, squared_norms

# With at least this many channels, patches are copied faster if the channels of a pixel are adjacent.
_CHANNELS_LAST_FROM = 16

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
# Number of dimensions of the inputs.
_CONVOLUTIONS: dict[type[nn.Module], int] = {nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5}
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm)


class LayerCall(ABC):
    """One call of a layer on n samples. Sums squared norms over columns (gradients with respect to its output)."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    @abstractmethod
    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        """Maps parameter names of the layer to their gradients [n, *shape] for one column [n, ...]."""

    def factors(self, delta: Tensor) -> Factors | None:
        """The gradients of the weight for one column, as products of matrices; None if they have no such form."""
        return None

    def add(self, columns: Columns, wanted: Set[str]) -> None:
        """Adds the squared norms of the gradients of the wanted parameters."""
        for delta, sign in zip(columns, columns.signs, strict=True):
            for name, gradient in self.gradients(delta).items():
                if name in wanted:
                    self._add(name, squared_norms(gradient).unsqueeze(1), [sign])

    def take(self) -> dict[str, Tensor]:
        """Maps parameter names to their sums [n], float64, and resets the sums."""
        sums, self._sums = self._sums, {}
        return sums

    def _add(self, name: str, norms: Tensor, signs: Sequence[Sign]) -> None:
        if all(isinstance(sign, float) and sign == 1.0 for sign in signs):
            total = norms.sum(dim=1)
        else:
            total = torch.stack([sign * norms[:, column] for column, sign in enumerate(signs)]).sum(dim=0)
        self._sums[name] = self._sums[name] + total if name in self._sums else total


def layer_call(layer: nn.Module, inputs: Tensor) -> LayerCall | None:
    """The rule for a call. None if the layer or its settings have no rule, or if the weight is not a parameter."""
    if "forward" in layer.__dict__ or not isinstance(layer._parameters.get("weight"), nn.Parameter):
        return None
    # Exact types, since a subclass may override the computation.
    if type(layer) is nn.Linear and inputs.ndim > 1:
        return _LinearCall(inputs) if inputs.ndim == 2 else _SequenceCall(inputs)
    if isinstance(layer, Convolution) and inputs.ndim == _CONVOLUTIONS.get(type(layer)):
        return _ConvolutionCall(layer, inputs)
    if type(layer) is nn.Embedding and layer.max_norm is None and not layer.scale_grad_by_freq:
        return _EmbeddingCall(layer, inputs)
    return _NormCall(layer, inputs) if type(layer) in _NORMS else None


class _LinearCall(LayerCall):
    """z = a W' + b on inputs [n, features]: one outer product per sample."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self._inputs, self._input_norms = inputs, squared_norms(inputs)

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        return {"weight": delta.unsqueeze(2) * self._inputs.unsqueeze(1), "bias": delta}

    def factors(self, delta: Tensor) -> Factors:
        return Factors(delta.unsqueeze(2), self._inputs.unsqueeze(1))

    def add(self, columns: Columns, wanted: Set[str]) -> None:
        norms = torch.stack([squared_norms(delta) for delta in columns], dim=1)
        self._add("weight", norms * self._input_norms.unsqueeze(1), columns.signs)
        self._add("bias", norms, columns.signs)


class _ProductCall(LayerCall):
    """A layer whose weight gradient is D_n U_n, with D_n built from delta_n and U_n built from a_n."""

    def __init__(self, inputs: InputMatrices) -> None:
        super().__init__()
        # Must not refer to this call: the products hold the inputs, and a reference cycle would delay freeing them.
        self.inputs = inputs
        self._products: ProductNorms | None = None

    @abstractmethod
    def matrices(self, deltas: Tensor) -> Tensor:
        """The matrices D [n * groups, columns, outputs, positions]."""

    @abstractmethod
    def bias(self, delta: Tensor) -> Tensor:
        """The gradients [n, outputs] of the bias."""

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        weight = self.matrices(delta.unsqueeze(1))[:, 0] @ self.inputs.rows(slice(None))
        return {"weight": weight, "bias": self.bias(delta)}

    def add(self, columns: Columns, wanted: Set[str]) -> None:
        if "weight" in wanted:
            if self._products is None:
                self._products = ProductNorms(self.inputs, columns.total)
            norms = self._products.norms(
                lambda part: self.matrices(columns.stacked(part)), columns.samples, columns.scratch
            )
            self._add("weight", norms, columns.signs)
        if "bias" in wanted:
            norms = torch.stack([squared_norms(self.bias(delta)) for delta in columns.entries()], dim=1)
            self._add("bias", norms, columns.signs)


class _SequenceCall(_ProductCall):
    """z = a W' + b on inputs [n, ..., features]: one outer product per position."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__(InputMatrices(inputs.flatten(1, -2).__getitem__, inputs.shape[-1]))

    def factors(self, delta: Tensor) -> Factors:
        return Factors(delta.flatten(1, -2).mT, self.inputs.rows(slice(None)))

    def matrices(self, deltas: Tensor) -> Tensor:
        return deltas.flatten(2, -2).mT

    def bias(self, delta: Tensor) -> Tensor:
        return delta.flatten(1, -2).sum(dim=1)


class _ConvolutionCall(_ProductCall):
    """A convolution of inputs [n, channels, ...]. Each group is linear in its patches."""

    def __init__(self, layer: Convolution, inputs: Tensor) -> None:
        size = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        super().__init__(InputMatrices(partial(_patches, layer, inputs), size, layer.groups))
        self._layer = layer

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        layer, gradients = self._layer, super().gradients(delta)
        weight, kernel = gradients["weight"], layer.kernel_size
        inputs = layer.in_channels // layer.groups
        if _channels_last_patches(layer):
            weight = weight.unflatten(-1, (*kernel, inputs)).movedim(-1, 2)
        shape = (len(delta), layer.out_channels, inputs, *kernel)
        return {**gradients, "weight": weight.reshape(shape)}

    def add(self, columns: Columns, wanted: Set[str]) -> None:
        deltas = columns.deltas
        if isinstance(deltas, PooledGradients) and self._gathering_is_smaller(deltas):
            self._add_entries(columns, deltas)
        else:
            super().add(columns, wanted)

    def _gathering_is_smaller(self, deltas: PooledGradients) -> bool:
        """Whether the patches at the pool's maxima take less memory than all columns with their zeros."""
        _, _, *windows = deltas.indices.shape
        return math.prod(windows) * self.inputs.inputs < len(deltas.columns) * math.prod(deltas.window.size[1:])

    def _add_entries(self, columns: Columns, deltas: PooledGradients) -> None:
        biases: list[Tensor] = []

        def entries(part: slice) -> Tensor:
            by_output = deltas.stacked_entries(part, columns.scratch).flatten(3)
            biases.append(squared_norms(by_output.sum(dim=3).mT, dims=2))
            return by_output

        norms = norms_at_positions(self.inputs, entries, deltas.indices.flatten(2), columns.scratch)
        self._add("weight", norms, columns.signs)
        self._add("bias", torch.cat(biases), columns.signs)

    def matrices(self, deltas: Tensor) -> Tensor:
        by_group: Tensor = deltas.flatten(3).unflatten(2, (self._layer.groups, -1))
        return by_group.transpose(1, 2).flatten(0, 1)

    def bias(self, delta: Tensor) -> Tensor:
        return delta.flatten(2).sum(dim=2)


def _channels_last_patches(layer: Convolution) -> bool:
    """Whether the channels of a pixel are adjacent in a patch. Otherwise the pixels of a channel are."""
    return layer.in_channels // layer.groups >= _CHANNELS_LAST_FROM


def _patches(layer: Convolution, inputs: Tensor, samples: slice) -> Tensor:
    """Patches [m * groups, positions, channels of a group * kernel] of a slice of m samples, made with one copy."""
    inputs, channels_last = inputs[samples], _channels_last_patches(layer)
    channels, kernel = layer.in_channels // layer.groups, math.prod(layer.kernel_size)
    matrices = len(inputs) * layer.groups
    # The padding as an argument of functional.pad. For "same" it may differ between the two sides.
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = nn.functional.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode)
    padded = padded.movedim(1, -1).contiguous() if channels_last else padded.contiguous().movedim(1, -1)
    view: Tensor = padded.unflatten(-1, (layer.groups, channels))
    dimensions = len(layer.kernel_size)
    for axis, (size, stride, dilation) in enumerate(
        zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), start=1
    ):
        view = view.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    # Now [m, positions..., groups, channels, kernel...].
    positions, group = range(1, 1 + dimensions), 1 + dimensions
    channel, kernels = group + 1, range(group + 2, view.ndim)
    if channels_last:
        return view.permute(0, group, *positions, *kernels, channel).reshape(matrices, -1, kernel * channels)
    return view.permute(0, group, channel, *kernels, *positions).reshape(matrices, channels * kernel, -1).mT


class _NormCall(LayerCall):
    """z = weight * normalised + bias, for batch norm (in eval mode), layer norm and group norm."""

    def __init__(self, layer: nn.Module, inputs: Tensor) -> None:
        super().__init__()
        if isinstance(layer, nn.LayerNorm):
            self._normalised = nn.functional.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
            # Sum over the dimensions between the sample dimension and the normalised dimensions.
            self._summed = tuple(range(1, inputs.ndim - len(layer.normalized_shape)))
            return
        if isinstance(layer, nn.GroupNorm):
            self._normalised = nn.functional.group_norm(inputs, layer.num_groups, eps=layer.eps)
        else:
            assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
            self._normalised = nn.functional.batch_norm(inputs, layer.running_mean, layer.running_var, eps=layer.eps)
        self._summed = tuple(range(2, inputs.ndim))

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        return {"weight": self._sum(delta * self._normalised), "bias": self._sum(delta)}

    def _sum(self, values: Tensor) -> Tensor:
        return values.sum(dim=self._summed) if self._summed else values


class _EmbeddingCall(LayerCall):
    """Rows of the weight, by index [n, ...]. The padding row has no gradient."""

    def __init__(self, layer: nn.Embedding, indices: Tensor) -> None:
        super().__init__()
        self._layer, self._indices = layer, indices.reshape(len(indices), -1)

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        gradient = delta.new_zeros(len(delta), *self._layer.weight.shape)
        index = self._indices.unsqueeze(2).expand(-1, -1, delta.shape[-1])
        return {"weight": gradient.scatter_add_(1, index, self._masked(delta))}

    def factors(self, delta: Tensor) -> Factors:
        return Factors(self._indices.long(), self._masked(delta))

    def add(self, columns: Columns, wanted: Set[str]) -> None:
        same = self._indices.unsqueeze(2) == self._indices.unsqueeze(1)
        for delta, sign in zip(columns, columns.signs, strict=True):
            masked = self._masked(delta)
            norms = ((masked @ masked.mT) * same).sum(dim=(1, 2), dtype=torch.float64)
            self._add("weight", norms.unsqueeze(1), [sign])

    def _masked(self, delta: Tensor) -> Tensor:
        delta = delta.reshape(*self._indices.shape, -1)
        if self._layer.padding_idx is None:
            return delta
        return delta * (self._indices != self._layer.padding_idx).unsqueeze(2)
