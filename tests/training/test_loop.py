"""The epoch loop: epoch 0, resuming bit for bit, measuring without a trace, divergence."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from orchestrator.training.loop import TrainedEpoch, train
from orchestrator.training.models import build_model
from tests.training.trials import CPU, digits, small_trial

ADAM = {"name": "adam", "lr": 0.001, "weight_decay": 0.01}
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9}


def trained(checkpoint: bytes | None = None, **fields: object) -> list[TrainedEpoch]:
    return list(train(small_trial(**fields), digits(), CPU, checkpoint))


def state(epoch: TrainedEpoch) -> dict[str, torch.Tensor]:
    import io

    return torch.load(io.BytesIO(epoch.checkpoint), weights_only=True)["model"]


def test_epoch_0_is_the_untrained_model_measured_like_any_other() -> None:
    first, *rest = trained(epochs=1)
    assert [first.record.epoch, *(epoch.record.epoch for epoch in rest)] == [0, 1]
    assert first.record.metrics().keys() == rest[0].record.metrics().keys()
    untrained = build_model(small_trial().model, (1, 8, 8), 10, 0)
    assert all(torch.equal(tensor, state(first)[name]) for name, tensor in untrained.state_dict().items())


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_resuming_gives_the_very_same_bits(optimizer: dict[str, object]) -> None:
    whole = trained(epochs=3, optimizer=optimizer)
    resumed = trained(whole[1].checkpoint, epochs=3, optimizer=optimizer)
    assert [epoch.record.epoch for epoch in resumed] == [2, 3]
    for ours, theirs in zip(resumed, whole[2:], strict=True):
        assert ours.record.differences(theirs.record) == {}
        assert all(torch.equal(tensor, state(theirs)[name]) for name, tensor in state(ours).items())


def test_longer_trials_begin_as_shorter_ones() -> None:
    for ours, theirs in zip(trained(epochs=1), trained(epochs=2), strict=False):
        assert ours.record.differences(theirs.record) == {}


def test_measuring_or_not_the_weights_are_the_same() -> None:
    often = {"fraction": 0.05, "algorithm1_iterations": 3, "algorithm1_probes": 3}
    never = {"fraction": 0.02, "estimators": []}
    ours, theirs = (trained(measurement=measurement)[-1] for measurement in (often, never))
    assert all(torch.equal(tensor, state(theirs)[name]) for name, tensor in state(ours).items())


def test_the_record_says_what_the_model_does() -> None:
    last = trained(epochs=2)[-1]
    data = digits()
    model = build_model(small_trial().model, data.shape, 10, 0)
    model.load_state_dict(state(last))
    model.eval()
    with torch.no_grad():
        inputs, labels = data.measurement_subset(0.05)
        assert last.record.loss_train == pytest.approx(float(cross_entropy(model(inputs), labels)), rel=1e-5)
        test = data.normalise(data.test.pixels)
        accuracy = float((model(test).argmax(1) == data.test.labels).double().mean())
        ood = float((model(test + data.ood_noise).argmax(1) == data.test.labels).double().mean())
        validation = model(data.normalise(data.validation.pixels))
    assert last.record.accuracy_test == pytest.approx(accuracy, abs=1e-12)
    assert last.record.accuracy_ood == pytest.approx(ood, abs=1e-12)
    loss = float(cross_entropy(validation, data.validation.labels))
    assert last.record.loss_validation == pytest.approx(loss, rel=1e-5)


def test_it_learns() -> None:
    last = trained(epochs=4, optimizer=ADAM, measurement={"fraction": 0.5, "estimators": []})[-1].record
    assert last.accuracy_test is not None
    assert last.accuracy_test > 0.8


def test_a_loss_that_is_no_number_ends_the_trial_with_a_record_of_it() -> None:
    epochs = trained(epochs=5, optimizer={"name": "sgd", "lr": 1e12})
    last = epochs[-1].record
    assert last.diverged
    assert last.epoch < 5
    assert last.hessian_lambda_max is None
    assert last.accuracy_test is not None
    assert not epochs[0].record.diverged


def test_seeds_differ() -> None:
    assert "loss/train" in trained(seed=0)[-1].record.differences(trained(seed=1)[-1].record)
