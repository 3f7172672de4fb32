"""Built-in networks, and checks of model outputs and batch sizes."""

import pytest
import torch
from torch import nn

from orchestrator.study.model_config import CnnConfig, MlpConfig
from orchestrator.training.models.networks import (
    Cnn,
    build_model,
    check_batches,
    check_outputs,
    evaluation_memory_format,
)
from orchestrator.training.streams import derived_seed

CNN = CnnConfig(name="cnn")
MLP = MlpConfig(name="mlp")
EVERYTHING = {"dropout": 0.2, "batch_norm": True}


def test_the_papers_network_has_about_a_million_parameters() -> None:
    model = build_model(CNN, (3, 32, 32), 10, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 994_154


def test_initial_weights_never_change() -> None:
    # A different order of layers or random draws would make stored trials irreproducible.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(3, "initial weights"))
        expected = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(2048, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10)),
        ).state_dict()
    state = build_model(CNN, (3, 32, 32), 10, seed=3).state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


@pytest.mark.parametrize("config", [CNN, CnnConfig(name="cnn", **EVERYTHING), MLP, MlpConfig(name="mlp", **EVERYTHING)])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (1, 28, 28), (3, 33, 47), (1, 4, 4)])
def test_models_are_built_from_the_shape_of_the_data(
    config: CnnConfig | MlpConfig, shape: tuple[int, int, int]
) -> None:
    model = build_model(config, shape, 7, seed=0)
    assert model(torch.zeros(5, *shape)).shape == (5, 7)


def kinds(config: CnnConfig | MlpConfig) -> list[str]:
    return [type(layer).__name__ for layer in build_model(config, (3, 8, 8), 10, seed=0)]


def test_order_of_layers() -> None:
    hidden = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    convolution = ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert kinds(CnnConfig(name="cnn", **EVERYTHING)) == [*convolution * 2, "Flatten", *hidden * 2, "Linear"]
    assert kinds(MlpConfig(name="mlp", **EVERYTHING)) == ["Flatten", *hidden * 2, "Linear"]
    assert kinds(MlpConfig(name="mlp", hidden=(5,))) == ["Flatten", "Linear", "ReLU", "Linear"]


def test_dropout_has_the_configured_probability() -> None:
    for config in (CnnConfig(name="cnn", dropout=0.3), MlpConfig(name="mlp", dropout=0.3)):
        model = build_model(config, (1, 8, 8), 10, seed=0)
        assert [layer.p for layer in model if isinstance(layer, nn.Dropout)] == [0.3, 0.3]


def test_hidden_layers_of_the_mlp_have_the_configured_sizes() -> None:
    model = build_model(MlpConfig(name="mlp", hidden=(7, 5, 3)), (3, 4, 2), 10, seed=0)
    sizes = [(layer.in_features, layer.out_features) for layer in model if isinstance(layer, nn.Linear)]
    assert sizes == [(24, 7), (7, 5), (5, 3), (3, 10)]
    assert sum(p.numel() for p in build_model(MLP, (3, 32, 32), 10, seed=0).parameters()) == 1_393_610


def test_batch_norm_and_dropout_do_not_change_initial_weights() -> None:
    def weights(config: CnnConfig | MlpConfig) -> list[torch.Tensor]:
        layers = build_model(config, (1, 8, 8), 10, seed=4)
        return [layer.weight for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]

    for plain, other in [(CNN, CnnConfig(name="cnn", **EVERYTHING)), (MLP, MlpConfig(name="mlp", **EVERYTHING))]:
        assert all(map(torch.equal, weights(plain), weights(other)))


def test_cnn_refuses_too_small_images() -> None:
    with pytest.raises(ValueError, match=r"at least 4x4 pixels, not 3x8"):
        build_model(CNN, (1, 8, 3), 10, seed=0)


def test_initial_weights_depend_only_on_the_seed() -> None:
    torch.manual_seed(1)
    first = build_model(CNN, (1, 8, 8), 10, seed=5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, other = (build_model(CNN, (1, 8, 8), 10, seed=seed) for seed in (5, 6))
    assert torch.equal(before, torch.get_rng_state())
    for ours, theirs, different in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, different)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Cnn((1, 8, 8), 7), r"\(2, 7\)"),
        (nn.Flatten(0), r"\(128,\)"),
        (nn.LSTM(8, 10), "tuple"),
    ],
)
def test_a_model_whose_output_does_not_fit_the_classes_is_refused(model: nn.Module, given: str) -> None:
    model.train()
    shape = (8, 8) if isinstance(model, nn.LSTM) else (1, 8, 8)
    with pytest.raises(
        ValueError, match=rf"'mine' gives {given} for 2 images .* the data has 10 classes, so \(2, 10\)"
    ):
        check_outputs(model, "mine", shape, 10)  # type: ignore[arg-type]
    assert model.training


@pytest.mark.parametrize(
    ("images", "batch_size", "message"),
    [
        (
            1294,
            1,
            "batches of 1 have a single image each, and model 'cnn' has batch norm, which needs at least 2 images",
        ),
        (
            129,
            64,
            "batches of 64 leave a last batch of 1 of 129 training images, .*: set another batch_size or data.tr",
        ),
        (1, 64, "leave a last batch of 1 of 1 training images"),
    ],
)
def test_batch_norm_refuses_a_batch_of_one_image(images: int, batch_size: int, message: str) -> None:
    model = build_model(CnnConfig(name="cnn", batch_norm=True), (1, 8, 8), 10, seed=0)
    with pytest.raises(ValueError, match=message):
        check_batches(model, "cnn", images, batch_size)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model.train()(torch.zeros(1, 1, 8, 8))  # the torch error that the check prevents
    check_batches(build_model(CNN, (1, 8, 8), 10, seed=0), "cnn", images, batch_size)


@pytest.mark.parametrize(("images", "batch_size"), [(130, 64), (128, 64), (2, 64), (127, 64)])
def test_larger_batches_are_accepted(images: int, batch_size: int) -> None:
    check_batches(build_model(CnnConfig(name="cnn", batch_norm=True), (1, 8, 8), 10, seed=0), "cnn", images, batch_size)


def test_only_the_cnn_is_evaluated_channels_last() -> None:
    layouts = [evaluation_memory_format(build_model(config, (1, 8, 8), 10, seed=0)) for config in (CNN, MLP)]
    assert layouts == [torch.channels_last, torch.contiguous_format]
