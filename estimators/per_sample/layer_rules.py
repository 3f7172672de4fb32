"""Per-sample gradients of one layer's parameters, and their squared norms, from what the layer saw and was sent back.

For a call z = layer(a) and a gradient delta [n, ...] of any function in z, sample by sample: the weight's gradient of
a linear layer is delta_n'a_n, so its squared norm is ||delta_n||^2 ||a_n||^2; a convolution is linear in the patches of
a_n. No gradient of a whole batch is formed (Goodfellow, 2015, for linear layers; Dangel et al., 2020, for others).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence, Set
from functools import partial

import torch
from torch import Tensor, nn

from estimators.kernels.max_pool import PooledGradients
from estimators.per_sample.output_gradients import Columns, Sign
from estimators.per_sample.products import ProductNorms, Slices, norms_at_places, squared_norms

# From so many channels on, patches are copied fastest in runs of channels, below it in runs of pixels.
_CHANNEL_RUN = 16


class LayerCall(ABC):
    """One call of a layer on n samples, and sums over columns (gradients in its output) of squared norms."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    @abstractmethod
    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        """The gradients [n, *shape] of the layer's parameters, by their name in the layer, for one column [n, ...]."""

    def add(self, columns: Columns, wanted: Set[str]) -> None:
        """Some more columns, for the parameters whose names are wanted."""
        for delta, sign in zip(columns, columns.signs, strict=True):
            for name, gradient in self.gradients(delta).items():
                if name in wanted:
                    self._count(name, squared_norms(gradient).unsqueeze(1), [sign])

    def take(self) -> dict[str, Tensor]:
        """The sums [n], float64, by parameter, of the columns since they were last taken."""
        sums, self._sums = self._sums, {}
        return sums

    def _count(self, name: str, norms: Tensor, signs: Sequence[Sign]) -> None:
        """Norms [n, columns]."""
        if all(isinstance(sign, float) and sign == 1.0 for sign in signs):
            found = norms.sum(dim=1)
        else:
            found = torch.stack([sign * norms[:, column] for column, sign in enumerate(signs)]).sum(dim=0)
        self._sums[name] = self._sums[name] + found if name in self._sums else found


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

    def add(self, columns: Columns, wanted: Set[str]) -> None:
        norms = torch.stack([squared_norms(delta) for delta in columns], dim=1)
        self._count("weight", norms * self._input_norms.unsqueeze(1), columns.signs)
        self._count("bias", norms, columns.signs)


class _ProductCall(LayerCall):
    """The weight's gradient is D_n U_n: of matrices made of delta_n, and others made of a_n."""

    def __init__(self, rows: Slices, inputs: int, groups: int = 1) -> None:
        super().__init__()
        #: U [n * groups, positions, inputs] of some samples. No method: the products hold it, and would hold this call.
        self.rows = rows
        #: Of a group: columns of U.
        self.inputs = inputs
        self.groups = groups
        self._products: ProductNorms | None = None

    @abstractmethod
    def matrices(self, deltas: Tensor) -> Tensor:
        """D [n * groups, columns, outputs, positions]."""

    @abstractmethod
    def bias(self, delta: Tensor) -> Tensor:
        """The bias's gradients [n, outputs]."""

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        return {"weight": self.matrices(delta.unsqueeze(1))[:, 0] @ self.rows(slice(None)), "bias": self.bias(delta)}

    def add(self, columns: Columns, wanted: Set[str]) -> None:
        if "weight" in wanted:
            if self._products is None:
                self._products = ProductNorms(self.rows, self.inputs, columns.total, self.groups)
            found = self._products.of(lambda part: self.matrices(columns.some(part)), columns.samples, columns.scratch)
            self._count("weight", found, columns.signs)
        if "bias" in wanted:
            norms = [squared_norms(self.bias(delta)) for delta in columns.entries()]
            self._count("bias", torch.stack(norms, dim=1), columns.signs)


class _SequenceCall(_ProductCall):
    """z = a W' + b on inputs [n, ..., features]: an outer product for each position."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__(inputs.flatten(1, -2).__getitem__, inputs.shape[-1])

    def matrices(self, deltas: Tensor) -> Tensor:
        return deltas.flatten(2, -2).mT

    def bias(self, delta: Tensor) -> Tensor:
        return delta.flatten(1, -2).sum(dim=1)


class _ConvolutionCall(_ProductCall):
    """A convolution of inputs [n, channels, ...]: each group is linear in its patches."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, inputs: Tensor) -> None:
        size = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        super().__init__(partial(_patches, layer, inputs), size, layer.groups)
        self._layer = layer

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        layer, found = self._layer, super().gradients(delta)
        weight, kernel = found["weight"], layer.kernel_size
        inputs = layer.in_channels // layer.groups
        if _by_channel(layer):
            weight = weight.unflatten(-1, (*kernel, inputs)).movedim(-1, 2)
        shape = (len(delta), layer.out_channels, inputs, *kernel)
        return {**found, "weight": weight.reshape(shape)}

    def add(self, columns: Columns, wanted: Set[str]) -> None:
        deltas = columns.deltas
        if isinstance(deltas, PooledGradients) and self._met_by_few(deltas):
            self._add_entries(columns, deltas)
        else:
            super().add(columns, wanted)

    def _met_by_few(self, deltas: PooledGradients) -> bool:
        """Whether the rows of patches that a pool's entries meet take less memory than all columns with their zeros."""
        _, _, *windows = deltas.indices.shape
        return math.prod(windows) * self.inputs < len(deltas.columns) * math.prod(deltas.window.size[1:])

    def _add_entries(self, columns: Columns, deltas: PooledGradients) -> None:
        biases: list[Tensor] = []

        def entries(part: slice) -> Tensor:
            by_output = deltas.by_channel(part, columns.scratch).flatten(3)
            biases.append(squared_norms(by_output.sum(dim=3).mT, dims=2))
            return by_output

        places = deltas.indices.flatten(2)
        norms = norms_at_places(self.rows, entries, places, self.groups, self.inputs, columns.scratch)
        self._count("weight", norms, columns.signs)
        self._count("bias", torch.cat(biases), columns.signs)

    def matrices(self, deltas: Tensor) -> Tensor:
        by_group: Tensor = deltas.flatten(3).unflatten(2, (self._layer.groups, -1))
        return by_group.transpose(1, 2).flatten(0, 1)

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

    def add(self, columns: Columns, wanted: Set[str]) -> None:
        same = self._indices.unsqueeze(2) == self._indices.unsqueeze(1)
        for delta, sign in zip(columns, columns.signs, strict=True):
            masked = self._masked(delta)
            norms = ((masked @ masked.mT) * same).sum(dim=(1, 2), dtype=torch.float64)
            self._count("weight", norms.unsqueeze(1), [sign])

    def _masked(self, delta: Tensor) -> Tensor:
        delta = delta.reshape(*self._indices.shape, -1)
        if self._layer.padding_idx is None:
            return delta
        return delta * (self._indices != self._layer.padding_idx).unsqueeze(2)


# Dimensions of the inputs.
_CONVOLUTIONS: dict[type[nn.Module], int] = {nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5}
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm)
