"""Losses and accuracies of a model."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from orchestrator.training.evaluation import evaluation_batch
from orchestrator.training.models.build import build_model
from tests.training.test_loop import state, trained
from tests.training.trials import CPU, few_digits, small_trial


def test_losses_and_accuracies_equal_the_formulas() -> None:
    last = trained(epochs=2)[-1]
    data = few_digits()
    model = build_model(small_trial().model, data.signature, 0)
    model.load_state_dict(state(last))
    model.eval()
    with torch.no_grad():
        inputs, labels = data.measurement_subset(0.05)
        assert last.record.loss_train == pytest.approx(float(cross_entropy(model(inputs), labels)), rel=1e-5)
        test = data.normalise(data.test.inputs)
        accuracy = float((model(test).argmax(1) == data.test.targets).double().mean())
        ood = float((model(test + data.ood_noise).argmax(1) == data.test.targets).double().mean())
        validation = model(data.normalise(data.validation.inputs))
    assert last.record.accuracy_test == pytest.approx(accuracy, abs=1e-12)
    assert last.record.accuracy_ood == pytest.approx(ood, abs=1e-12)
    loss = float(cross_entropy(validation, data.validation.targets))
    assert last.record.loss_validation == pytest.approx(loss, rel=1e-5)


def test_the_evaluation_batch_depends_on_device_and_shape() -> None:
    cuda = torch.device("cuda")
    assert evaluation_batch(CPU, (3, 32, 32)) == evaluation_batch(CPU, (3, 224, 224)) == 100
    assert [evaluation_batch(cuda, (3, size, size)) for size in (8, 32, 224, 5000)] == [2500, 2500, 51, 1]
