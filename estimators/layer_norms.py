"""Per-sample gradients of one layer's parameters, and their squared norms, from what the layer saw and was sent back.

For a call z = layer(a) and a gradient delta [n, ...] of any function in z, sample by sample: the weight's gradient of
a linear layer is delta_n'a_n, so its squared norm is ||delta_n||^2 ||a_n||^2; a convolution is linear in the patches of
a_n. No gradient of a whole batch is formed (Goodfellow, 2015, for linear layers; Dangel et al., 2020, for others).
"""

import math
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

# Bytes of per-sample gradients that are formed at a time.
_WORKSPACE = 32 * 2**20
# From so many channels on, patches are copied fastest in runs of channels, below it in runs of pixels.
_CHANNEL_RUN = 16


class LayerCall(Protocol):
    """One call of a layer on n samples."""

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        """The gradients [n, *shape] of the layer's parameters, by their name in the layer."""
        ...

    def squared_norms(self, delta: Tensor, columns: int) -> dict[str, Tensor]:
        """Their squared norms [n], float64; ``columns`` says how many deltas this call will be asked for."""
        ...


def layer_call(layer: nn.Module, inputs: Tensor) -> LayerCall | None:
    """What is known of a call; None for kinds and settings of layers with no rule here, or whose weight is computed."""
    if "forward" in layer.__dict__ or not isinstance(layer._parameters.get("weight"), nn.Parameter):
        return None
    # Exact types: a subclass may compute anything.
    kind = type(layer)
    if isinstance(layer, nn.Linear):
        return _LinearCall(layer, inputs) if kind is nn.Linear and inputs.ndim > 1 else None
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return _ConvolutionCall(layer, inputs) if inputs.ndim == _CONVOLUTIONS.get(kind) else None
    if isinstance(layer, nn.Embedding):
        plain = kind is nn.Embedding and layer.max_norm is None and not layer.scale_grad_by_freq
        return _EmbeddingCall(layer, inputs) if plain else None
    return _NormCall(layer, inputs) if kind in _NORMS else None


def cheapest(positions: int, inputs: int, outputs: int, columns: int) -> Literal["product", "gram"]:
    """How ||D U||^2 of D [outputs, positions] and U [positions, inputs] takes fewer multiplications.

    "product": as it stands, once a column. "gram": <D'D, UU'>, where UU' serves all columns.

    >>> cheapest(positions=256, inputs=288, outputs=32, columns=9), cheapest(4, 4608, 512, 9)
    ('product', 'gram')
    """
    product = columns * positions * inputs * outputs
    gram = positions * positions * (inputs + columns * outputs)
    return "gram" if gram < product else "product"


class _Products:
    """D_n U_n of the matrices U [n, positions, inputs] of all columns to come."""

    def __init__(self, rows: Tensor, rows_first: bool = False) -> None:
        self._rows, self._rows_first = rows, rows_first
        self._gram: Tensor | None = None

    def gradients(self, delta: Tensor) -> Tensor:
        """[n, outputs, inputs] from D [n, outputs, positions]."""
        return torch.bmm(delta, self._rows)

    def squared_norms(self, delta: Tensor, columns: int) -> Tensor:
        """||D_n U_n||^2 [n], float64."""
        (_, positions, inputs), outputs = self._rows.shape, delta.shape[1]
        if cheapest(positions, inputs, outputs, columns) == "gram":
            return self._through_gram(delta)
        step = max(1, _WORKSPACE // (inputs * outputs * delta.element_size()))
        parts = zip(delta.split(step), self._rows.split(step), strict=True)
        return torch.cat([_squared_norms(self._product(*part)) for part in parts])

    def _product(self, delta: Tensor, rows: Tensor) -> Tensor:
        # Few inputs make a narrow matrix, which is multiplied faster from the other side.
        return torch.bmm(rows.mT, delta.mT) if self._rows_first else torch.bmm(delta, rows)

    def _through_gram(self, delta: Tensor) -> Tensor:
        if self._gram is None:
            self._gram = torch.bmm(self._rows, self._rows.mT)
        return (torch.bmm(delta.mT, delta) * self._gram).sum(dim=(1, 2), dtype=torch.float64)


class _LinearCall:
    """z = a W' + b on inputs [n, ..., features]."""

    def __init__(self, layer: nn.Linear, inputs: Tensor) -> None:
        self._inputs, self._has_bias = inputs, layer.bias is not None
        self._products: _Products | None = None
        if inputs.ndim > 2:
            self._products = _Products(inputs.reshape(len(inputs), -1, inputs.shape[-1]))

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        delta = self._by_position(delta)
        weight = torch.bmm(delta, self._inputs.reshape(len(delta), -1, self._inputs.shape[-1]))
        return {"weight": weight, "bias": delta.sum(dim=2)}

    def squared_norms(self, delta: Tensor, columns: int) -> dict[str, Tensor]:
        if self._products is None:
            bias = _squared_norms(delta)
            return {"weight": bias * _squared_norms(self._inputs), "bias": bias}
        delta = self._by_position(delta)
        return {"weight": self._products.squared_norms(delta, columns), "bias": _squared_norms(delta.sum(dim=2))}

    def _by_position(self, delta: Tensor) -> Tensor:
        return delta.reshape(len(delta), -1, delta.shape[-1]).mT


class _ConvolutionCall:
    """A convolution of inputs [n, channels, ...]: each group is linear in its patches."""

    def __init__(self, layer: "nn.Conv1d | nn.Conv2d | nn.Conv3d", inputs: Tensor) -> None:
        self._layer, self._inputs = layer, inputs
        self._by_channel = layer.in_channels // layer.groups >= _CHANNEL_RUN
        self._unfolded: _Products | None = None

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        layer = self._layer
        flat = self._grouped(delta)
        weight, kernel = self._products().gradients(flat), layer.kernel_size
        inputs = layer.in_channels // layer.groups
        if self._by_channel:
            weight = weight.reshape(-1, *kernel, inputs).movedim(-1, 1)
        return {
            "weight": weight.reshape(len(delta), layer.out_channels, inputs, *kernel),
            "bias": delta.flatten(2).sum(dim=2),
        }

    def squared_norms(self, delta: Tensor, columns: int) -> dict[str, Tensor]:
        weight = self._products().squared_norms(self._grouped(delta), columns)
        return {
            "weight": weight.reshape(len(delta), -1).sum(dim=1),
            "bias": _squared_norms(delta.flatten(2).sum(dim=2)),
        }

    def _grouped(self, delta: Tensor) -> Tensor:
        """[n * groups, outputs, positions]."""
        groups, outputs = self._layer.groups, self._layer.out_channels
        return delta.reshape(len(delta) * groups, outputs // groups, -1)

    def _products(self) -> _Products:
        if self._unfolded is None:
            self._unfolded = _Products(self._patches(), rows_first=not self._by_channel)
        return self._unfolded

    def _patches(self) -> Tensor:
        """[n * groups, positions, inputs of a group * kernel]: one copy, whatever stride and dilation."""
        layer, n = self._layer, len(self._inputs)
        inputs, kernel = layer.in_channels // layer.groups, math.prod(layer.kernel_size)
        # The layer's own list for functional.pad: right for "same", where the two sides differ, as well.
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = nn.functional.pad(self._inputs, layer._reversed_padding_repeated_twice, mode=mode)
        padded = padded.movedim(1, -1).contiguous() if self._by_channel else padded.contiguous().movedim(1, -1)
        view: Tensor = padded.unflatten(-1, (layer.groups, inputs))
        dimensions = len(layer.kernel_size)
        for axis, (size, stride, dilation) in enumerate(
            zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), start=1
        ):
            view = view.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
        # Now [n, positions..., groups, inputs, kernel...].
        positions, group = range(1, 1 + dimensions), 1 + dimensions
        channel, kernels = group + 1, range(group + 2, view.ndim)
        if self._by_channel:
            view = view.permute(0, group, *positions, *kernels, channel)
            return view.reshape(n * layer.groups, -1, kernel * inputs)
        view = view.permute(0, group, channel, *kernels, *positions)
        return view.reshape(n * layer.groups, inputs * kernel, -1).mT


class _NormCall:
    """z = weight * normalised + bias, where the normalisation has no parameters: batch (eval), layer and group norm."""

    def __init__(self, layer: nn.Module, inputs: Tensor) -> None:
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

    def squared_norms(self, delta: Tensor, columns: int) -> dict[str, Tensor]:
        return {name: _squared_norms(gradient) for name, gradient in self.gradients(delta).items()}

    def _sum(self, values: Tensor) -> Tensor:
        return values.sum(dim=self._summed) if self._summed else values


class _EmbeddingCall:
    """Rows of the weight, by index [n, ...]; the row of padding has no gradient."""

    def __init__(self, layer: nn.Embedding, indices: Tensor) -> None:
        self._layer, self._indices = layer, indices.reshape(len(indices), -1)

    def gradients(self, delta: Tensor) -> dict[str, Tensor]:
        gradient = delta.new_zeros(len(delta), *self._layer.weight.shape)
        index = self._indices.unsqueeze(2).expand(-1, -1, delta.shape[-1])
        return {"weight": gradient.scatter_add_(1, index, self._masked(delta))}

    def squared_norms(self, delta: Tensor, columns: int) -> dict[str, Tensor]:
        delta = self._masked(delta)
        same = self._indices.unsqueeze(2) == self._indices.unsqueeze(1)
        return {"weight": (torch.bmm(delta, delta.mT) * same).sum(dim=(1, 2), dtype=torch.float64)}

    def _masked(self, delta: Tensor) -> Tensor:
        delta = delta.reshape(*self._indices.shape, -1)
        if self._layer.padding_idx is None:
            return delta
        return delta * (self._indices != self._layer.padding_idx).unsqueeze(2)


def _squared_norms(values: Tensor) -> Tensor:
    """[n], float64, of values [n, ...]."""
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return norms.double().square()


# Dimensions of the inputs.
_CONVOLUTIONS: dict[type[nn.Module], int] = {nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5}
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm)
