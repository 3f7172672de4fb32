"""Activations, dropout, batch norm and initial weights of `cnn` and `mlp`."""

import pytest
import torch
from torch import Tensor, nn

from orchestrator.study.parts.model_config import Activation
from orchestrator.training.models.networks.layers import activation
from tests.training.models.built import IMAGES, built

both = pytest.mark.parametrize("name", ["cnn", "mlp"])


@both
def test_dropout_has_the_configured_probability(name: str) -> None:
    model = built(IMAGES, name, dropout=0.3)
    assert [layer.p for layer in model if isinstance(layer, nn.Dropout)] == [0.3, 0.3]


@both
def test_no_option_but_the_scale_changes_initial_weights(name: str) -> None:
    def weights(**settings: object) -> list[Tensor]:
        layers = built(IMAGES, name, 4, **settings)
        return [layer.weight for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]

    for settings in ({"dropout": 0.2, "batch_norm": True}, {"activation": "tanh"}, {"init_scale": 1.0}):
        assert all(map(torch.equal, weights(), weights(**settings)))


@both
def test_the_scale_multiplies_the_weights_of_linear_and_convolutional_layers_only(name: str) -> None:
    plain, scaled = (built(IMAGES, name, batch_norm=True, init_scale=scale).state_dict() for scale in (1.0, 0.25))
    multiplied = {key for key, tensor in plain.items() if not torch.equal(tensor, scaled[key])}
    assert all(torch.equal(0.25 * plain[key], scaled[key]) for key in multiplied)
    # Weights of batch norm have one dimension.
    assert multiplied == {key for key, tensor in plain.items() if tensor.ndim > 1}


@both
def test_kaiming_weights_have_variance_two_over_fan_in_and_biases_are_zero(name: str) -> None:
    plain = built(IMAGES, name, init="kaiming_normal", batch_norm=True)
    scaled = built(IMAGES, name, init="kaiming_normal", batch_norm=True, init_scale=0.25)
    pairs = zip(plain.modules(), scaled.modules(), strict=True)
    layers = [pair for pair in pairs if isinstance(pair[0], nn.Conv2d | nn.Linear)]
    for layer, quarter in layers:
        count = layer.weight.numel()
        # Four standard errors of the variance of normal draws.
        assert float(layer.weight.var()) * layer.weight[0].numel() == pytest.approx(2, rel=4 * (2 / count) ** 0.5)
        assert torch.equal(0.25 * layer.weight, quarter.weight)
        assert not layer.bias.any()
    assert len(layers) == {"cnn": 5, "mlp": 3}[name]
    assert all(float(layer.weight.min()) == 1 for layer in plain if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", lambda x: x.clamp(min=0)),
        ("leaky_relu", lambda x: torch.where(x > 0, x, 0.01 * x)),
        ("gelu", lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2),
        ("silu", lambda x: x / (1 + torch.exp(-x))),
        ("tanh", lambda x: (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1)),
        ("softplus", lambda x: torch.log(1 + torch.exp(x))),
    ],
)
def test_activations(name: Activation, expected: object) -> None:
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    torch.testing.assert_close(activation(name)(x), expected(x))  # type: ignore[operator]
