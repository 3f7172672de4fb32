"""A checkpoint holds everything that the next epochs depend on."""

import pytest
import torch

from orchestrator.training.checkpoint import Moment, load_model, restore, snapshot
from orchestrator.training.models.build import build_model
from orchestrator.training.models.signature import Signature
from orchestrator.training.optimizers.build import build_optimizer
from tests.training.test_loop import NOISY_CNN, NOISY_MLP, NOTHING, OPTIMIZERS, state, trained
from tests.training.trials import CPU, digits, small_trial


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer["name"])
def test_checkpoint_contains_the_whole_optimizer_state(optimizer: dict[str, object]) -> None:
    first, last = trained(epochs=1, model=NOISY_MLP, optimizer=optimizer, measurement=NOTHING)
    model = build_model(small_trial(model=NOISY_MLP).model, Signature((1, 8, 8), 10), 7)
    restored = build_optimizer(small_trial(optimizer=optimizer).optimizer, model.parameters())
    moment = restore(last.checkpoint, model, restored)
    assert moment == Moment(number=1, step=5, epoch=1)
    assert snapshot(moment, model, restored) == last.checkpoint
    assert first.checkpoint != last.checkpoint
    steps = {float(state["step"]) for state in restored.state.values() if "step" in state}
    assert steps == (set() if optimizer["name"] == "sgd" else {5.0})  # 320 images in batches of 64


def test_checkpoint_contains_batch_norm_statistics() -> None:
    first, last = trained(epochs=1, model=NOISY_CNN, measurement=NOTHING)
    assert torch.equal(state(first)["1.running_mean"], torch.zeros(32))
    assert not torch.equal(state(last)["1.running_mean"], torch.zeros(32))
    assert int(state(last)["1.num_batches_tracked"]) == 5


def test_load_model_returns_the_trained_model() -> None:
    last = trained(epochs=1, model=NOISY_MLP, measurement=NOTHING)[-1]
    loaded = load_model(small_trial(model=NOISY_MLP, seed=5), digits(), CPU, last.checkpoint).state_dict()
    assert loaded.keys() == state(last).keys()
    assert all(torch.equal(tensor, state(last)[name]) for name, tensor in loaded.items())
