"""Networks that are not piecewise linear in each parameter, although some of them look piecewise linear."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from tests.estimators.linearity.judged import Judged, net


class ReLU(nn.Module):
    """A softplus with a misleading name."""

    def forward(self, inputs: Tensor) -> Tensor:
        return F.softplus(inputs)


class Relu(torch.autograd.Function):
    """A GELU with a misleading name: its node in the graph is called ReluBackward."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return F.gelu(inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (inputs,) = ctx.saved_tensors
        return gradient * inputs.tanh()


class CurvedInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.mark_dirty(inputs)
        ctx.save_for_backward(inputs)
        return inputs.mul_(2.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (inputs,) = ctx.saved_tensors
        return gradient * inputs


def alias_made_curved(m: Any, x: Tensor) -> Tensor:
    hidden = m.a(x)
    kept = hidden[:, :3]
    hidden[:, 1:].tanh_()
    return m.b(torch.cat([kept, x[:, :1]], dim=1))


def rounded_in_part(m: Any, x: Tensor) -> Tensor:
    hidden = m.a(x).sin()
    hidden[:, :1].round_()
    return m.b(hidden)


def custom_in_place(m: Any, x: Tensor) -> Tensor:
    hidden = m.a(x)
    CurvedInPlace.apply(hidden[:, :2])  # type: ignore[no-untyped-call]
    return m.b(hidden)


def self_made_weights(m: Any, x: Tensor) -> Tensor:
    return m.a(x) @ m.b(m.a.weight)


def attention(m: Any, x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(m.a(x), m.b(x), m.c(x)).mean(dim=1)


def multihead(m: Any, x: Tensor) -> Tensor:
    return m.attention(x, x, x)[0].mean(dim=1)


def squeeze_excite(m: Any, x: Tensor) -> Tensor:
    hidden = F.relu(m.a(x))
    return m.b(hidden * torch.sigmoid(m.gate(hidden.mean(dim=1, keepdim=True))))


def hooked_gradient(m: Any, x: Tensor) -> Tensor:
    hidden = m.a(x)
    hidden.register_hook(torch.sin)
    return m.b(F.relu(hidden))


def hooked_node(m: Any, x: Tensor) -> Tensor:
    hidden = m.a(x)
    hidden.grad_fn.register_prehook(lambda gradients: tuple(g.sin() for g in gradients))
    return m.b(F.relu(hidden))


def forward_hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[1].register_forward_hook(lambda module, args, output: torch.tanh(output))
    return model


def batch_norm_in_training() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


# Each network with words that its reason must contain.
CURVED = [
    Judged(
        "functional GELU",
        net(lambda m, x: m.b(F.gelu(m.a(x)))),
        "gelu acts on a tensor that depends on a.weight and a.bias",
    ),
    Judged("SiLU", net(lambda m, x: m.b(m.act(m.a(x))), act=nn.SiLU), "silu acts"),
    Judged("hard swish", net(lambda m, x: m.b(F.hardswish(m.a(x)))), "hardswish acts"),
    Judged("tanh", net(lambda m, x: m.b(m.a(x).tanh())), "tanh acts"),
    Judged("softplus called ReLU", net(lambda m, x: m.b(m.act(m.a(x))), act=ReLU), "softplus acts"),
    Judged(
        "ReLU whose output a hook replaces", forward_hooked, "tanh acts on a tensor that depends on 0.weight and 0.bias"
    ),
    Judged("gated linear unit", net(lambda m, x: m.b(F.glu(m.a(x))), 3, 4, b=lambda: nn.Linear(2, 2)), "glu acts"),
    Judged("gate by hand", net(lambda m, x: m.b((h := m.a(x)) * torch.sigmoid(h))), "sigmoid acts"),
    Judged(
        "attention", net(attention, b=lambda: nn.Linear(3, 4), c=lambda: nn.Linear(3, 2)), "softmax acts", shape=(2, 3)
    ),
    Judged(
        "multi-head attention",
        net(multihead, attention=lambda: nn.MultiheadAttention(4, 2, batch_first=True)),
        "",
        shape=(3, 4),
    ),
    Judged(
        "a weight composed with itself",
        net(lambda m, x: m.b(m.a(F.relu(m.a(x)))), 3, 3, 2),
        "addmm multiplies two tensors that both depend on a.weight",
    ),
    Judged(
        "square",
        net(lambda m, x: m.b((h := m.a(x)) * h)),
        "mul multiplies two tensors that both depend on a.weight and a.bias",
    ),
    Judged("power", net(lambda m, x: m.b(m.a(x) ** 2)), "pow with exponent=2 acts"),
    Judged(
        "einsum with itself",
        net(lambda m, x: torch.einsum("ni,nj->nij", h := m.a(x), h).flatten(1)[:, :2]),
        "multiplies two tensors that both depend on a.weight",
    ),
    Judged("batch norm in train mode", batch_norm_in_training, "native_batch_norm with training=True acts on a tensor"),
    Judged(
        "instance norm",
        net(lambda m, x: F.instance_norm(m.up(x)).relu().mean((2, 3)), up=lambda: nn.Conv2d(2, 2, 2)),
        "native_batch_norm with training=True",
        (2, 3, 3),
    ),
    Judged(
        "layer norm between layers",
        net(lambda m, x: m.b(m.norm(m.a(x))), norm=lambda: nn.LayerNorm(4)),
        "native_layer_norm acts",
    ),
    Judged("RMS norm", net(lambda m, x: m.b(F.rms_norm(m.a(x), (4,)))), "acts on a tensor"),
    Judged("softmax inside", net(lambda m, x: m.b(m.a(x).softmax(1))), "softmax acts"),
    Judged(
        "log-softmax at the end",
        net(lambda m, x: F.log_softmax(m.b(F.relu(m.a(x))), 1)),
        "log_softmax acts on a tensor that depends on b.weight, b.bias and 2 more",
    ),
    Judged("normalised outputs", net(lambda m, x: F.normalize(m.b(F.relu(m.a(x))))), "linalg_vector_norm acts"),
    Judged("division by a tensor", net(lambda m, x: x[:, :2] / (m.b(F.relu(m.a(x))).abs() + 1.0)), "div acts"),
    Judged(
        "weight norm",
        net(lambda m, x: m.b(m.a(x).relu()), a=lambda: parametrizations.weight_norm(nn.Linear(3, 4))),
        "weight_norm_interface acts on a tensor that depends on a.parametrizations.weight.original1",
    ),
    Judged(
        "spectral norm",
        net(lambda m, x: m.b(m.a(x).relu()), a=lambda: parametrizations.spectral_norm(nn.Linear(3, 4))),
        "a.parametrizations.weight.original",
    ),
    Judged(
        "embedding tied to the head",
        net(lambda m, x: m.table(x).relu().sum(1) @ m.table.weight.T, table=lambda: nn.Embedding(3, 4)),
        "mm multiplies two tensors that both depend on table.weight",
        (),
    ),
    Judged("squeeze and excite", net(squeeze_excite, gate=lambda: nn.Linear(1, 4)), "sigmoid acts"),
    Judged(
        "custom function called Relu",
        net(lambda m, x: m.b(Relu.apply(m.a(x)).relu().round() + Relu.apply(m.a(x)).relu())),
        "the custom autograd.Function behind ReluBackward acts",
    ),
    Judged(
        "custom function in place on a view",
        net(custom_in_place),
        "the custom autograd.Function behind CurvedInPlaceBackward acts",
    ),
    Judged("rounded in part", net(rounded_in_part), "sin acts on a tensor that depends on a.weight and a.bias"),
    Judged(
        "curved through an alias", net(alias_made_curved), "tanh acts on a tensor that depends on a.weight and a.bias"
    ),
    Judged(
        "checkpoint of GELU",
        net(lambda m, x: m.b(checkpoint(lambda y: F.gelu(m.a(y)), x, use_reentrant=False))),
        "gelu acts",
    ),
    Judged("LSTM", net(lambda m, x: m.cell(x)[0][:, -1], cell=lambda: nn.LSTM(3, 2, batch_first=True)), "", (3, 3)),
    Judged(
        "ReLU network that recurs",
        net(lambda m, x: m.cell(x)[0][:, -1], cell=lambda: nn.RNN(3, 4, nonlinearity="relu", batch_first=True)),
        "multiplies two tensors that both depend on cell.weight_hh_l0",
        (3, 3),
    ),
    Judged(
        "weights made from themselves",
        net(self_made_weights, 3, 4, 2, b=lambda: nn.Linear(3, 2)),
        "mm multiplies two tensors that both depend on a.weight",
    ),
    Judged(
        "one slope for two PReLUs",
        net(lambda m, x: m.b(m.slope(m.slope(m.a(x)))), slope=nn.PReLU),
        "prelu_kernel multiplies two tensors that both depend on slope.weight",
    ),
    Judged("cumulative product", net(lambda m, x: m.b(m.a(x).repeat(1, 2).cumprod(1)[:, 2:6])), "cumprod acts"),
    Judged("exp in one branch", net(lambda m, x: m.b(torch.where((h := m.a(x)) > 0, h, h.exp()))), "exp acts"),
    Judged(
        "absolute value of complex numbers",
        net(lambda m, x: m.b(torch.fft.fft(m.a(x)).abs())),
        "abs of complex numbers acts",
    ),
    Judged("mapped by vmap", net(lambda m, x: m.b(torch.func.vmap(F.gelu)(m.a(x)))), "gelu acts"),
    Judged("gradient hook", net(hooked_gradient), "registers backward hooks"),
    Judged("hook on a node", net(hooked_node), "registers backward hooks"),
]

# The diagonal is zero, but `linearity` cannot detect it: it tracks whole parameters and does not rely on names.
NOT_SEEN = [
    Judged(
        "halves of one layer multiplied",
        net(lambda m, x: m.b((h := m.a(x))[:, :2] * h[:, 2:]), 3, 4, b=lambda: nn.Linear(2, 2)),
        "mul multiplies",
    ),
    Judged(
        "reentrant checkpoint",
        net(lambda m, x: m.b(checkpoint(F.relu, m.a(x), use_reentrant=True))),
        "the custom autograd.Function behind CheckpointFunctionBackward",
    ),
]
