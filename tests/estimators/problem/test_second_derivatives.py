"""Wrong derivatives are refused, and correct ones of random networks are accepted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from estimators import HessianOperator, dense_hessian, exact_trace
from estimators.problem.isolation import measuring
from estimators.problem.second_derivatives import check_second_derivatives
from tests.estimators.cases import (
    SelfAttention,
    assert_relatively_close,
    labelled_vectors,
    random_vector,
    seeded,
    smooth,
    vectors,
)

F = nn.functional


class SavesAnIntermediate(torch.autograd.Function):
    """exp(x). Its backward treats the saved exponential as a constant."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.exponential = inputs.exp()
        result: Tensor = ctx.exponential.clone()
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        result: Tensor = gradient * ctx.exponential
        return result


class OnceDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return inputs.sin()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (inputs,) = ctx.saved_tensors
        result: Tensor = gradient * inputs.cos()
        return result


class Applied(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(3, 4), nn.Linear(4, 2), function

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.function(self.first(inputs)))
        return outputs


def with_weight_norm() -> nn.Module:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(4, 2))


def with_old_weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))


def with_last_hook() -> nn.Module:
    """The hook doubles every gradient, so the Hessian is symmetric but twice too large."""
    model = smooth()
    model.register_full_backward_pre_hook(lambda _, gradients: tuple(2.0 * g for g in gradients))
    return model


def with_inner_hook() -> nn.Module:
    model = smooth()
    model[1].register_full_backward_hook(lambda _, gradients, __: tuple(2.0 * g for g in gradients))
    return model


WRONG = {
    "weight_norm": (with_weight_norm, r"weight_norm is wrong: compute g \* v / v.norm"),
    "old weight_norm": (with_old_weight_norm, r"weight_norm is wrong: compute g \* v / v.norm"),
    "saved intermediate": (lambda: Applied(SavesAnIntermediate.apply), "custom autograd.Function SavesAnIntermediate"),
    "once_differentiable": (
        lambda: Applied(OnceDifferentiable.apply),
        "custom autograd.Function OnceDiff",
    ),
    "hook on a layer": (with_inner_hook, "'1' has a backward hook: remove it while measuring"),
    "hook on the model": (with_last_hook, "the loss changes by .* its gradient predicts .*has a backward hook"),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("estimator", [HessianOperator, dense_hessian])
@pytest.mark.parametrize("kind", WRONG)
def test_wrong_derivatives_are_refused(estimator, kind: str, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    build, message = WRONG[kind]
    inputs, targets = vectors()
    with pytest.raises(ValueError, match=message):
        estimator(build().to(dtype), F.mse_loss, (inputs.to(dtype), targets.to(dtype)))


def test_weight_norm_written_out_is_accepted_and_equals_finite_differences() -> None:
    class Normalised(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 4)
            self.g = nn.Parameter(torch.rand(4, 1))

        def forward(self, input: Tensor) -> Tensor:
            return F.linear(input, self.g * self.weight / self.weight.norm(dim=1, keepdim=True), self.bias)

    model = nn.Sequential(Normalised(), nn.Tanh(), nn.Linear(4, 2)).double()
    op = HessianOperator(model, F.mse_loss, vectors())
    vector, start = random_vector(op), nn.utils.parameters_to_vector(model.parameters()).detach()
    gradients = []
    for step in (1e-5, -1e-5):
        nn.utils.vector_to_parameters(start + step * vector, model.parameters())
        gradients.append(op.gradient())
    nn.utils.vector_to_parameters(start, model.parameters())
    assert_relatively_close(op @ vector, (gradients[0] - gradients[1]) / 2e-5, 1e-7)


def test_traces_without_second_derivatives_accept_weight_norm() -> None:
    model = with_weight_norm().double()
    assert exact_trace(model, F.mse_loss, vectors()).value > 0


@pytest.mark.parametrize("name", ["max_norm", "scale_grad_by_freq"])
@pytest.mark.parametrize("estimator", [HessianOperator, exact_trace])
def test_embeddings_without_a_constant_gradient_are_refused(estimator, name: str) -> None:  # type: ignore[no-untyped-def]
    options: dict[str, Any] = {name: 1e6 if name == "max_norm" else True}
    model = nn.Sequential(nn.Embedding(9, 3, **options), nn.Flatten(), nn.Linear(3, 2)).double()
    data = torch.arange(7).unsqueeze(1), vectors(7)[1]
    with pytest.raises(ValueError, match=f"Embedding '0' has {name}=.*expected .*: set its {name} to"):
        estimator(model, F.mse_loss, data)


def test_a_loss_without_a_second_derivative_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot be differentiated twice \(.*multi_margin.* is not implemented\)"):
        HessianOperator(smooth().double(), nn.MultiMarginLoss(p=2), labelled_vectors())


def test_the_check_leaves_the_default_dtype_and_the_model_alone() -> None:
    model = with_inner_hook()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match="backward hook"):
        check_second_derivatives(
            model, F.mse_loss, [n for n, _ in model.named_parameters()], torch.ones(2, 3), torch.ones(2, 2)
        )
    assert torch.get_default_dtype() is torch.float32
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.last = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        state = torch.zeros(1, len(inputs), 5)
        outputs: Tensor = self.last(self.recurrent(inputs, (state, state))[0][:, -1])
        return outputs


def image_network(pool: nn.Module, activation: nn.Module, norm: bool) -> nn.Module:
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6) if norm else nn.Identity(), activation, pool]
    return nn.Sequential(*layers, nn.Conv2d(6, 6, 3), activation, nn.Flatten(), nn.Linear(24, 3)).eval()


def mlp(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 40), activation, nn.Linear(40, 40), activation, nn.Linear(40, 3))


RIGHT = {
    "relu": lambda: mlp(nn.ReLU()),
    "gelu": lambda: mlp(nn.GELU()),
    "max pool": lambda: image_network(nn.MaxPool2d(2), nn.ReLU(), False),
    "batch norm": lambda: image_network(nn.AvgPool2d(2), nn.ReLU(), True),
    "lstm": lambda: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (16, 4)), Recurrent()),
    "attention": lambda: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (16, 4)), SelfAttention(), nn.Linear(2, 3)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", RIGHT)
def test_random_networks_are_accepted(kind: str, dtype: torch.dtype) -> None:
    for seed in range(6):
        torch.manual_seed(seed)
        model = RIGHT[kind]().to(dtype)
        inputs = torch.rand(2, 1, 8, 8, generator=seeded(seed)).to(dtype)
        if seed % 2:
            # Black images and zero biases put the network exactly on its kinks.
            inputs[0] = 0.0
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.mul_(0.0 if name.endswith("bias") else 10.0 ** (seed - 3))
        names = [name for name, _ in model.named_parameters()]
        with measuring(model, torch.device("cpu")):
            check_second_derivatives(model, F.cross_entropy, names, inputs, torch.tensor([0, 2]))


def test_a_minimum_and_a_row_without_gradient_are_accepted() -> None:
    model = nn.Sequential(nn.Embedding(6, 3, padding_idx=2), nn.Flatten(), nn.Linear(15, 3))
    tokens = torch.tensor([[2, 1, 0, 2, 3], [1, 2, 2, 4, 4]])
    with torch.no_grad():
        model[2].bias.copy_(torch.tensor([40.0, 0.0, 0.0]))
    names = [name for name, _ in model.named_parameters()]
    check_second_derivatives(model, F.cross_entropy, names, tokens, torch.tensor([0, 0]))
    check_second_derivatives(model, F.mse_loss, names, tokens, model(tokens).detach())


def test_a_step_across_a_kink_is_no_fault() -> None:
    """With these 10^5 activations, a step of 1e-7 crosses a kink."""
    torch.manual_seed(6)
    first = nn.Conv2d(3, 64, 3, padding=1)
    others = [nn.Conv2d(64, 64, 3, padding=1) for _ in range(2)]
    model = nn.Sequential(
        *(first, nn.ReLU(), others[0], nn.ReLU(), nn.MaxPool2d(2), others[1], nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64 * 256, 10)),
    )
    inputs, targets = torch.randn(2, 3, 32, 32), torch.randint(10, (2,))
    names = [name for name, _ in model.named_parameters()]
    check_second_derivatives(model, F.cross_entropy, names, inputs, targets)
