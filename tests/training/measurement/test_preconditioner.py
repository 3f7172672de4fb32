"""Preconditioners against hand-written float64 updates, thresholds against torch's own optimizers on a quadratic."""

import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn, optim

from estimators import HessianOperator, dense_hessian, lanczos
from orchestrator.study.parts.optimizer_config import Optimizer
from orchestrator.study.stability import coupled_weight_decay, stability_threshold
from orchestrator.training.measurement.preconditioner import in_geometry, preconditioner
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.optimizers.device_adagrad import DeviceAdagrad
from orchestrator.training.optimizers.update import Update

ADAPTER: TypeAdapter[Optimizer] = TypeAdapter(Optimizer)
KINDS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd"},
    "momentum": {"name": "sgd", "momentum": 0.9},
    "nesterov": {"name": "sgd", "momentum": 0.8, "nesterov": True},
    "adam": {"name": "adam", "beta2": 0.99},
    "adamw": {"name": "adamw", "weight_decay": 0.1},
    "adagrad": {"name": "adagrad", "initial_accumulator": 0.01},
    "rmsprop": {"name": "rmsprop", "alpha": 0.9},
}
EXTRAS: dict[str, dict[str, Any]] = {
    **KINDS,
    "sgd with decay": {"name": "sgd", "weight_decay": 0.2},
    "nesterov with decay": {"name": "sgd", "momentum": 0.8, "nesterov": True, "weight_decay": 0.2},
    "adam with decay": {"name": "adam", "weight_decay": 0.2},
    "adagrad with decays": {"name": "adagrad", "weight_decay": 0.2, "lr_decay": 0.1},
    "rmsprop with momentum and decay": {"name": "rmsprop", "momentum": 0.7, "weight_decay": 0.2},
    "adam without momentum": {"name": "adam", "beta1": 0.0},
}


def config(fields: dict[str, Any], **more: Any) -> Optimizer:
    return ADAPTER.validate_python({"lr": 0.01, **fields, **more})


class Problem:
    """A tanh network in float64 and its full-batch loss."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        self.data = torch.randn(12, 3).double(), torch.randn(12, 2).double()
        self.operator = HessianOperator(self.model, nn.functional.mse_loss, self.data)

    def loss(self) -> Tensor:
        return nn.functional.mse_loss(self.model(self.data[0]), self.data[1])

    def train(self, chosen: Optimizer, optimizer: optim.Optimizer, steps: int) -> list[Tensor]:
        """Takes steps and returns the gradients that the optimizer got, and the one at the last weights."""
        update, seen = Update(self.model, optimizer, chosen), []
        for step in range(steps + 1):
            gradient = self.operator.gradient()
            if chosen.gradient_clip is not None:
                gradient *= min(1.0, chosen.gradient_clip / (float(gradient.norm()) + 1e-6))
            weights = torch.cat([p.detach().reshape(-1) for p in self.model.parameters()])
            seen.append(gradient + coupled_weight_decay(chosen) * weights)
            if step < steps:
                update(self.loss)
        return seen


def by_hand(chosen: Any, gradients: list[Tensor]) -> Tensor:
    """P from the gradients of all steps so far, the current one last."""
    count, zero = len(gradients), torch.zeros_like(gradients[0])
    match chosen.name:
        case "sgd":
            return torch.ones_like(zero)
        case "adam" | "adamw":
            weights = [(1 - chosen.beta2) * chosen.beta2 ** (count - 1 - i) for i in range(count)]
            average = sum((w * g * g for w, g in zip(weights, gradients, strict=True)), zero)
            root = (average / (1 - chosen.beta2**count)).sqrt() + chosen.eps
            return (1 - chosen.beta1**count) * root
        case "adagrad":
            return (chosen.initial_accumulator + sum((g * g for g in gradients), zero)).sqrt() + chosen.eps
        case _:
            weights = [(1 - chosen.alpha) * chosen.alpha ** (count - 1 - i) for i in range(count)]
            return sum((w * g * g for w, g in zip(weights, gradients, strict=True)), zero).sqrt() + chosen.eps


@pytest.mark.parametrize("steps", [0, 1, 7])
@pytest.mark.parametrize("kind", EXTRAS)
def test_it_is_the_hand_written_one_and_includes_the_current_gradient(kind: str, steps: int) -> None:
    problem, chosen = Problem(), config(EXTRAS[kind])
    optimizer = build_optimizer(chosen, problem.model.parameters())
    gradients = problem.train(chosen, optimizer, steps)
    found = preconditioner(chosen, optimizer, problem.operator.gradient())
    assert found is not None
    torch.testing.assert_close(found, by_hand(chosen, gradients), rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "adagrad", "rmsprop"])
def test_it_predicts_the_next_step(kind: str) -> None:
    """Without momentum, the next step is -lr g / P."""
    problem, chosen = Problem(), config({**KINDS[kind], "weight_decay": 0.0})
    if kind.startswith("adam"):
        chosen = config({**KINDS[kind], "weight_decay": 0.0, "beta1": 0.0})
    optimizer = build_optimizer(chosen, problem.model.parameters())
    problem.train(chosen, optimizer, 3)
    gradient = problem.operator.gradient()
    diagonal = preconditioner(chosen, optimizer, gradient)
    before = torch.cat([p.detach().reshape(-1) for p in problem.model.parameters()])
    Update(problem.model, optimizer, chosen)(problem.loss)
    after = torch.cat([p.detach().reshape(-1) for p in problem.model.parameters()])
    torch.testing.assert_close(after - before, -0.01 * gradient / diagonal, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("coarse_fraction", [None, 0.5])
@pytest.mark.parametrize("kind", EXTRAS)
def test_sharpness_is_that_of_the_dense_matrix(kind: str, coarse_fraction: float | None) -> None:
    problem, chosen = Problem(), config(EXTRAS[kind])
    optimizer = build_optimizer(chosen, problem.model.parameters())
    problem.train(chosen, optimizer, 5)
    diagonal = preconditioner(chosen, optimizer, problem.operator.gradient())
    assert diagonal is not None
    op = in_geometry(problem.operator, chosen, diagonal)
    found = lanczos(op, op.size, 1e-9, generator=torch.Generator().manual_seed(0), coarse_fraction=coarse_fraction)
    hessian = dense_hessian(problem.model, nn.functional.mse_loss, problem.data)
    hessian += coupled_weight_decay(chosen) * torch.eye(len(hessian))
    scale = diagonal.pow(-0.5)
    expected = torch.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1]
    assert found.lambda_max == pytest.approx(float(expected), rel=1e-6)


def test_the_adagrad_of_cuda_devices_has_the_same_state() -> None:
    problem, chosen = Problem(), config(KINDS["adagrad"])
    optimizer = DeviceAdagrad(problem.model.parameters(), torch.tensor(0.01).double(), 0.0, 0.0, 0.01, 1e-10)
    gradients = problem.train(chosen, optimizer, 3)
    found = preconditioner(chosen, optimizer, problem.operator.gradient())
    torch.testing.assert_close(found, by_hand(chosen, gradients), rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("clip", [1e-3, 1e3])
def test_the_gradient_is_clipped_as_in_training(clip: float) -> None:
    problem, chosen = Problem(), config(KINDS["adam"], gradient_clip=clip, weight_decay=0.1)
    optimizer = build_optimizer(chosen, problem.model.parameters())
    gradients = problem.train(chosen, optimizer, 3)
    found = preconditioner(chosen, optimizer, problem.operator.gradient())
    torch.testing.assert_close(found, by_hand(chosen, gradients), rtol=1e-8, atol=0.0)


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).double()
    model[0].weight.requires_grad_(False)
    chosen = config(KINDS["rmsprop"])
    optimizer = build_optimizer(chosen, model.parameters())
    found = preconditioner(chosen, optimizer, torch.arange(1.0, 6.0).double())
    assert found is not None
    torch.testing.assert_close(found, torch.arange(1.0, 6.0).double() * math.sqrt(0.1) + 1e-8)


@pytest.mark.parametrize("fields", [{"name": "torch.optim:NAdam"}, {"name": "adam", "sam": {"rho": 0.1}}])
def test_an_unknown_update_has_no_preconditioner(fields: dict[str, Any]) -> None:
    chosen = config(fields)
    parameter = nn.Parameter(torch.ones(2))
    assert preconditioner(chosen, build_optimizer(chosen, [parameter]), torch.ones(2)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_optimizer_is_left_unchanged(kind: str) -> None:
    problem, chosen = Problem(), config(KINDS[kind])
    optimizer = build_optimizer(chosen, problem.model.parameters())
    for steps in (0, 2):
        problem.train(chosen, optimizer, steps)
        before = [{name: torch.as_tensor(value).clone() for name, value in s.items()} for s in optimizer.state.values()]
        preconditioner(chosen, optimizer, problem.operator.gradient())
        after = list(optimizer.state.values())
        assert len(after) == len(before)
        for one, other in zip(before, after, strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(value, torch.as_tensor(other[name])) for name, value in one.items())


# Thresholds: torch's optimizers on w'Hw / 2. The state holds averages of squares that barely change: gradients are tiny
# and the averages are set to large values with slow decay. P is then constant and differs between coordinates.
SLOW: dict[str, dict[str, Any]] = {
    **EXTRAS,
    "adam": {"name": "adam", "beta2": 1 - 1e-9},
    "adam with decay": {"name": "adam", "beta2": 1 - 1e-9, "weight_decay": 0.2},
    "adam without momentum": {"name": "adam", "beta1": 0.0, "beta2": 1 - 1e-9},
    "adamw": {"name": "adamw", "beta2": 1 - 1e-9, "weight_decay": 0.5},
    "adamw with a large decay": {"name": "adamw", "beta2": 1 - 1e-9, "weight_decay": 2.0},
    "adagrad with decays": {"name": "adagrad", "weight_decay": 0.2},
    "rmsprop": {"name": "rmsprop", "alpha": 1 - 1e-9},
    "rmsprop with momentum and decay": {"name": "rmsprop", "alpha": 1 - 1e-9, "momentum": 0.7, "weight_decay": 0.2},
}
SQUARES = torch.tensor([0.5, 4.0, 1.0, 9.0], dtype=torch.float64)


class Quadratic:
    """w'Hw / 2 at tiny weights, with an optimizer whose averages of squares are `SQUARES`."""

    def __init__(self, fields: dict[str, Any], lr: float) -> None:
        draw = torch.Generator().manual_seed(1)
        rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=draw))
        self.hessian = rotation @ torch.diag(torch.tensor([0.1, 1.0, 2.0, 5.0]).double()) @ rotation.T
        self.weights = nn.Parameter(1e-60 * torch.randn(4, dtype=torch.float64, generator=draw))
        self.config = config(fields, lr=lr)
        self.optimizer = build_optimizer(self.config, [self.weights])
        self._step()  # creates the state
        state = self.optimizer.state[self.weights]
        for name in ("exp_avg_sq", "sum", "square_avg"):
            if name in state:
                state[name].copy_(SQUARES)
        if "exp_avg" in state:
            state["step"].fill_(1e12)  # the bias corrections are then 1

    def _step(self) -> None:
        self.weights.grad = self.hessian @ self.weights.detach()
        self.optimizer.step()

    def sharpness(self) -> float:
        diagonal = preconditioner(self.config, self.optimizer, self.hessian @ self.weights.detach())
        assert diagonal is not None
        scale = diagonal.pow(-0.5)
        shifted = self.hessian + coupled_weight_decay(self.config) * torch.eye(4)
        return float(torch.linalg.eigvalsh(scale[:, None] * shifted * scale)[-1])

    def growth(self) -> float:
        """By how much the weights grow between step 300 and step 900."""
        for _ in range(300):
            self._step()
        before = float(self.weights.detach().norm())
        for _ in range(600):
            self._step()
        return float(self.weights.detach().norm()) / before


def learning_rate_at(fields: dict[str, Any], sharpness: float, ratio: float) -> float:
    """The learning rate at which the sharpness is `ratio` times the threshold, by bisection."""
    low, high = 1e-9, 1e6
    for _ in range(200):
        middle = math.sqrt(low * high)
        threshold = stability_threshold(config(fields), middle).value
        assert threshold is not None
        low, high = (middle, high) if threshold * ratio > sharpness else (low, middle)
    return low


@pytest.mark.parametrize("kind", SLOW)
def test_torchs_optimizers_converge_below_the_threshold_and_diverge_above(kind: str) -> None:
    sharpness = Quadratic(SLOW[kind], 1e-12).sharpness()
    below, above = (Quadratic(SLOW[kind], learning_rate_at(SLOW[kind], sharpness, r)) for r in (0.99, 1.01))
    # The first step, before the averages are set, hardly changes P.
    assert above.sharpness() == pytest.approx(sharpness, rel=1e-6)
    assert below.growth() < 0.7
    assert above.growth() > 1.4


def test_adagrads_decay_of_the_learning_rate() -> None:
    fields = {"name": "adagrad", "lr_decay": 0.5}
    for ratio, grows in ((0.98, False), (1.02, True)):
        quadratic = Quadratic(fields, 1.0)
        state, group = quadratic.optimizer.state[quadratic.weights], quadratic.optimizer.param_groups[0]
        state["step"].fill_(1e6)
        unit = stability_threshold(quadratic.config, 1.0, step=10**6).value
        assert unit is not None
        group["lr"] = ratio * unit / quadratic.sharpness()
        assert (quadratic.growth() > 1.0) == grows


@pytest.mark.parametrize(("ratio", "grows"), [(0.99, False), (1.01, True)])
def test_sam_shrinks_weights_below_its_edge_and_expands_them_above(ratio: float, grows: bool) -> None:
    """One step along an eigenvector, since the edge depends on the norm of the gradient."""
    weight, lr, rho, curvature = 0.3, 0.05, 0.2, 1.0
    for _ in range(60):  # the curvature whose ratio to the edge is `ratio`; the edge depends on ||g|| = curvature w
        edge = stability_threshold(config({"name": "sgd", "sam": {"rho": rho}}), lr, gradient_norm=curvature * weight)
        assert edge.value is not None
        curvature = math.sqrt(curvature * ratio * edge.value)
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, weight)
    chosen = config({"name": "sgd", "sam": {"rho": rho}}, lr=lr)
    optimizer = build_optimizer(chosen, model.parameters())
    Update(model, optimizer, chosen)(lambda: 0.5 * curvature * model.weight.square().sum())
    assert (abs(model.weight.item()) > weight) == grows
