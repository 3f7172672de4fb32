"""The eager training step equals plain torch code, with and without augmentation."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.study.parts.data_config import AugmentationConfig
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.images.augmentation import draw_augmentation
from orchestrator.training.step import EagerStep
from tests.training.trials import CPU, digits, few_colour_digits
from tests.training.user_nets import Flattens, Views

INDEX = torch.tensor([5, 1, 300])


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return digits()


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def weights_after_plain_step(data: DataSplits, pixels: Tensor) -> Tensor:
    model = linear()
    optimizer = sgd(model)
    cross_entropy(model(data.normalise(pixels)), data.train.targets[INDEX]).backward()
    optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters())


def test_a_step_trains_on_the_normalised_images_at_the_given_positions(data: DataSplits) -> None:
    model = linear()
    EagerStep(model, sgd(model), data)(INDEX)
    expected = weights_after_plain_step(data, data.train.inputs[INDEX])
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), expected)


def test_the_augmentation_of_the_epoch_is_applied_until_it_is_turned_off(data: DataSplits) -> None:
    drawn = draw_augmentation(AugmentationConfig(flip=True, crop=2), len(data.train), 0, 1, CPU)
    assert drawn is not None
    augmented, plain = linear(), linear()
    step = EagerStep(augmented, sgd(augmented), data)
    step.begin_epoch(drawn)
    step(INDEX)
    expected = weights_after_plain_step(data, drawn.apply(data.train.inputs[INDEX], INDEX))
    assert torch.equal(nn.utils.parameters_to_vector(augmented.parameters()), expected)
    step = EagerStep(plain, sgd(plain), data)
    step.begin_epoch(drawn)
    step.begin_epoch(None)
    step(INDEX)
    assert torch.equal(
        nn.utils.parameters_to_vector(plain.parameters()), weights_after_plain_step(data, data.train.inputs[INDEX])
    )


def test_gradients_of_an_earlier_step_are_cleared(data: DataSplits) -> None:
    model = linear()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)
    EagerStep(model, sgd(model), data)(INDEX)
    expected = weights_after_plain_step(data, data.train.inputs[INDEX])
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), expected)


class _Shifting(nn.Sequential):
    """A network that changes its inputs in place."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.add_(1.0))


@pytest.mark.parametrize("kind", [nn.Sequential, _Shifting])
@pytest.mark.parametrize("augmentation", [None, AugmentationConfig(flip=True)])
def test_a_full_batch_is_the_same_in_every_step(
    data: DataSplits, kind: type[nn.Sequential], augmentation: AugmentationConfig | None
) -> None:
    def trained(full_batch: bool) -> Tensor:
        model = kind(*linear().children())
        step = EagerStep(model, sgd(model), data, full_batch=full_batch)
        for epoch in range(1, 4):
            if augmentation:
                step.begin_epoch(draw_augmentation(augmentation, len(data.train), 0, epoch, CPU))
            step(torch.arange(len(data.train)))
        return nn.utils.parameters_to_vector(model.parameters())

    assert torch.equal(trained(True), trained(False))


def test_a_full_batch_is_normalised_once(data: DataSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    model = linear()
    step = EagerStep(model, sgd(model), data, full_batch=True)
    calls, normalise = [], DataSplits.normalise
    monkeypatch.setattr(
        DataSplits, "normalise", lambda self, pixels: calls.append(len(pixels)) or normalise(self, pixels)
    )
    for _ in range(3):
        step(torch.arange(len(data.train)))
    assert calls == [len(data.train)]


@pytest.mark.parametrize("augmentation", [AugmentationConfig(), AugmentationConfig(flip=True, crop=2)])
@pytest.mark.parametrize(("kind", "memory_format"), [(Flattens, torch.channels_last), (Views, torch.contiguous_format)])
def test_images_have_the_memory_format_that_the_network_accepts(
    kind: type[Flattens], memory_format: torch.memory_format, augmentation: AugmentationConfig
) -> None:
    data = few_colour_digits()
    drawn = draw_augmentation(augmentation, len(data.train), 0, 1, CPU)
    pixels = data.train.inputs[INDEX] if drawn is None else drawn.apply(data.train.inputs[INDEX], INDEX)
    torch.manual_seed(0)
    model = kind()
    theirs = copy.deepcopy(model)
    cross_entropy(
        theirs(data.normalise(pixels).contiguous(memory_format=memory_format)), data.train.targets[INDEX]
    ).backward()
    sgd(theirs).step()
    step = EagerStep(model, sgd(model), data)
    step.begin_epoch(drawn)
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    step(INDEX)
    assert seen[0].is_contiguous(memory_format=memory_format)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), theirs.parameters(), strict=True))
