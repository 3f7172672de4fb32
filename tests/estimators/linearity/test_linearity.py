"""`exact` is never said where the diagonal of an output's second derivative is not zero, and mostly where it is."""

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
def test_curved_networks_are_not(case: Judged) -> None:
    model = case.model()
    found = linearity(model, case.inputs())
    assert not found.exact
    assert case.reason in found.reason
    # Either shows it: cross-entropy cancels the curvature of a log-softmax, and a hook need not bend the outputs.
    assert max(diagonal(case, model), gap(case, model)) > 1e-4


@pytest.mark.parametrize("case", NOT_SEEN, ids=lambda case: case.name)
def test_where_it_cannot_see_that_a_network_is_harmless_it_says_not_exact(case: Judged) -> None:
    found = linearity(case.model(), case.inputs())
    assert not found.exact
    assert case.reason in found.reason


def test_halves_of_one_layer_are_harmless_in_truth() -> None:
    assert diagonal(NOT_SEEN[0], NOT_SEEN[0].model()) < 1e-9


def test_outputs_without_parameters() -> None:
    model = Written(lambda m, x: m.a(x).tanh().detach() + x[:, :2].tanh(), a=nn.Linear(3, 2))
    found = linearity(model, torch.ones(2, 3))
    assert found.exact
    assert found.reason == "the outputs depend on no parameter that requires grad"


def test_parameters_named_in_a_reason_are_the_last_two() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2))
    assert linearity(model, torch.ones(2, 3)).reason == (
        "sigmoid acts on a tensor that depends on 2.weight, 2.bias and 2 more, and is not known to be piecewise linear"
        " in it"
    )


def test_the_first_operation_that_spoils_it_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2))
    assert linearity(model, torch.ones(2, 3)).reason.startswith("tanh acts on a tensor that depends on 0.weight")


def test_a_frozen_parameter_is_a_constant() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    assert not linearity(model, torch.ones(2, 3)).exact
    model[0].requires_grad_(False)
    assert linearity(model, torch.ones(2, 3)).exact
    model[0].bias.requires_grad_(True)
    assert "depends on 0.bias," in linearity(model, torch.ones(2, 3)).reason


def test_a_tensor_that_requires_grad_and_is_no_parameter_is_a_constant() -> None:
    outside = torch.ones(3, requires_grad=True)
    model = Written(lambda m, x: m.a(x * outside.tanh()), a=nn.Linear(3, 2))
    assert linearity(model, torch.ones(2, 3)).exact


def test_the_path_that_these_inputs_take_decides() -> None:
    model = Written(lambda m, x: m.a(x).tanh() if x.sum() > 0 else m.a(x), a=nn.Linear(3, 2))
    assert not linearity(model, torch.ones(2, 3)).exact
    assert linearity(model, -torch.ones(2, 3)).exact


def test_the_mode_decides() -> None:
    for layer in (nn.BatchNorm1d(4), nn.Dropout(0.5), nn.RReLU()):
        model = nn.Sequential(nn.Linear(3, 4), layer, nn.Linear(4, 2))
        assert not linearity(model, torch.ones(2, 3)).exact
        assert linearity(model.eval(), torch.ones(2, 3)).exact


def test_active_dropout_is_named_as_what_it_is() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    assert linearity(model, torch.ones(2, 3)).reason == (
        "the forward pass draws random numbers, so every pass has another Hessian"
    )


def test_graphs_deeper_than_the_stack() -> None:
    def chain(m: Written, x: Tensor) -> Tensor:
        hidden = m.get_submodule("a")(x)
        for _ in range(5000):
            hidden = hidden + 1.0
        return hidden

    assert linearity(net(chain, 3, 2)(), torch.ones(2, 3)).exact


def test_two_samples_are_enough_and_one_is() -> None:
    seen = []

    def forward(m: Written, x: Tensor) -> Tensor:
        seen.append(len(x))
        return m.get_submodule("a")(x)

    model = net(forward, 3, 2)()
    for count in (1, 2, 100):
        assert linearity(model, torch.ones(count, 3)).exact
    assert seen == [1, 2, 2]


def test_gradients_that_are_off_are_turned_on() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2))
    with torch.no_grad():
        assert not linearity(model, torch.ones(2, 3)).exact
    with torch.inference_mode():
        assert not linearity(model, torch.ones(2, 3)).exact


def test_nothing_is_left_behind() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    linearity(model, torch.ones(2, 3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(module.training for module in model.modules())


def test_what_cannot_be_measured_is_refused() -> None:
    for inputs, found in ((torch.ones(0, 3), r"shape \(0, 3\)"), (torch.ones(()), r"shape \(\)"), ([1.0], "type list")):
        with pytest.raises(
            ValueError, match=rf"inputs have {found}, expected a tensor with at least one row: pass a few"
        ):
            linearity(nn.Linear(3, 2), inputs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no parameter of the model requires grad.*call requires_grad_\(True\)"):
        linearity(nn.Linear(3, 2).requires_grad_(False), torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"outputs for 2 samples have type tuple, expected a tensor with 2 rows"):
        linearity(nn.LSTM(3, 2), torch.ones(2, 1, 3))
