"""Tests `linearity` against dense second derivatives: exact requires a zero diagonal."""

import pytest
import torch
from torch import Tensor, nn

from estimators import linearity
from tests.estimators.linearity.curved_networks import CURVED, NOT_SEEN
from tests.estimators.linearity.harmless_networks import HARMLESS
from tests.estimators.linearity.judged import Judged, Written, net
from tests.estimators.linearity.second_derivatives import curvature_diagonal, trace_gap, trainable


def diagonal(case: Judged, model: nn.Module) -> float:
    return float(curvature_diagonal(model(case.inputs()), trainable(model)).abs().max())


def gap(case: Judged, model: nn.Module) -> float:
    return abs(trace_gap(model(case.inputs()), trainable(model)))


@pytest.mark.parametrize("case", HARMLESS, ids=lambda case: case.name)
def test_harmless_networks_are_exact(case: Judged) -> None:
    model = case.model()
    found = linearity(model, case.inputs())
    assert found.exact, found.reason
    assert found.reason.startswith(
        "every operation between the parameters and the outputs keeps them piecewise linear in each: "
    )
    assert diagonal(case, model) < 1e-9
    assert gap(case, model) < 1e-9


@pytest.mark.parametrize("case", CURVED, ids=lambda case: case.name)
def test_curved_networks_are_not_exact(case: Judged) -> None:
    model = case.model()
    found = linearity(model, case.inputs())
    assert not found.exact
    assert case.reason in found.reason
    # Either is enough: cross-entropy cancels the curvature of a log-softmax, and a hook may leave the outputs
    # unchanged.
    assert max(diagonal(case, model), gap(case, model)) > 1e-4


@pytest.mark.parametrize("case", NOT_SEEN, ids=lambda case: case.name)
def test_networks_not_recognised_as_harmless_are_not_exact(case: Judged) -> None:
    found = linearity(case.model(), case.inputs())
    assert not found.exact
    assert case.reason in found.reason


def test_halves_of_one_layer_have_a_zero_diagonal() -> None:
    assert diagonal(NOT_SEEN[0], NOT_SEEN[0].model()) < 1e-9


def test_outputs_that_depend_on_no_parameter_are_exact() -> None:
    model = Written(lambda m, x: m.a(x).tanh().detach() + x[:, :2].tanh(), a=nn.Linear(3, 2))
    found = linearity(model, torch.ones(2, 3))
    assert found.exact
    assert found.reason == "the outputs depend on no parameter that requires grad"


def test_a_reason_names_the_last_two_parameters() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2))
    assert linearity(model, torch.ones(2, 3)).reason == (
        "sigmoid acts on a tensor that depends on 2.weight, 2.bias and 2 more, and is not known to be piecewise linear"
        " in it"
    )


def test_a_reason_names_the_first_operation() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2))
    assert linearity(model, torch.ones(2, 3)).reason.startswith("tanh acts on a tensor that depends on 0.weight")


def test_a_frozen_parameter_is_a_constant() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    assert not linearity(model, torch.ones(2, 3)).exact
    model[0].requires_grad_(False)
    assert linearity(model, torch.ones(2, 3)).exact
    model[0].bias.requires_grad_(True)
    assert "depends on 0.bias," in linearity(model, torch.ones(2, 3)).reason


def test_tensors_outside_the_model_are_constants() -> None:
    outside = torch.ones(3, requires_grad=True)
    model = Written(lambda m, x: m.a(x * outside.tanh()), a=nn.Linear(3, 2))
    assert linearity(model, torch.ones(2, 3)).exact


def test_result_applies_to_the_code_path_of_the_inputs() -> None:
    model = Written(lambda m, x: m.a(x).tanh() if x.sum() > 0 else m.a(x), a=nn.Linear(3, 2))
    assert not linearity(model, torch.ones(2, 3)).exact
    assert linearity(model, -torch.ones(2, 3)).exact


def test_result_applies_to_the_current_mode() -> None:
    for layer in (nn.BatchNorm1d(4), nn.Dropout(0.5), nn.RReLU()):
        model = nn.Sequential(nn.Linear(3, 4), layer, nn.Linear(4, 2))
        assert not linearity(model, torch.ones(2, 3)).exact
        assert linearity(model.eval(), torch.ones(2, 3)).exact


def test_active_dropout_is_reported_as_random() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    assert linearity(model, torch.ones(2, 3)).reason == (
        "the forward pass draws random numbers, so every pass has a different Hessian"
    )


def test_graphs_deeper_than_the_python_stack_are_supported() -> None:
    def chain(m: Written, x: Tensor) -> Tensor:
        hidden = m.get_submodule("a")(x)
        for _ in range(5000):
            hidden = hidden + 1.0
        return hidden

    assert linearity(net(chain, 3, 2)(), torch.ones(2, 3)).exact


def test_it_uses_at_most_two_samples() -> None:
    seen = []

    def forward(m: Written, x: Tensor) -> Tensor:
        seen.append(len(x))
        return m.get_submodule("a")(x)

    model = net(forward, 3, 2)()
    for count in (1, 2, 100):
        assert linearity(model, torch.ones(count, 3)).exact
    assert seen == [1, 2, 2]


def test_it_works_without_gradients_and_in_inference_mode() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2))
    with torch.no_grad():
        assert not linearity(model, torch.ones(2, 3)).exact
    with torch.inference_mode():
        assert not linearity(model, torch.ones(2, 3)).exact


def test_the_model_is_left_bitwise_unchanged() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    linearity(model, torch.ones(2, 3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(module.training for module in model.modules())


def test_invalid_inputs_and_models_are_rejected() -> None:
    for inputs, found in ((torch.ones(0, 3), r"shape \(0, 3\)"), (torch.ones(()), r"shape \(\)"), ([1.0], "type list")):
        with pytest.raises(
            ValueError, match=rf"inputs have {found}, expected a tensor with at least one row: pass a few"
        ):
            linearity(nn.Linear(3, 2), inputs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no parameter of the model requires grad.*call requires_grad_\(True\)"):
        linearity(nn.Linear(3, 2).requires_grad_(False), torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"outputs for 2 samples have type tuple, expected a tensor with 2 rows"):
        linearity(nn.LSTM(3, 2), torch.ones(2, 1, 3))
