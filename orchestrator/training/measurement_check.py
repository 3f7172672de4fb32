"""Tries a measurement on a few samples, so that a network that cannot be measured is found before its sweep begins."""

import torch
from torch import nn

from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.parts.model_config import Model, TorchvisionConfig
from orchestrator.study.quantities.settings.own_quantity import OwnQuantityConfig
from orchestrator.study.record import Record
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.loss import Loss
from orchestrator.training.measurement.context import Training
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.models.user_code import NETWORK
from orchestrator.training.optimizers.build import build_optimizer

_SAMPLES = 4
"""The number of samples on which the estimators test that samples do not influence each other."""
_SMALLEST = {"lanczos_products": 2, "algorithm1_iterations": 1, "algorithm1_probes": 2}
"""Settings that make a measurement short. What the estimators refuse does not depend on them."""


def shortened(measurement: MeasurementConfig) -> MeasurementConfig:
    """Returns a measurement of the same quantities with few products. Equal results need to be tried only once.

    The user's own quantities are left out. If one raises, only its values are missing.
    """
    built_in = tuple(each for each in measurement.estimators if not isinstance(each, OwnQuantityConfig))
    return measurement.at_every_record().model_copy(update={"fraction": 1.0, "estimators": built_in, **_SMALLEST})


def check_measurement(config: TrialConfig, model: nn.Module, loss: Loss, data: DataSplits) -> None:
    """Measures the untrained network of a trial on its first samples. Leaves the network unchanged.

    Args:
        config: the trial.
        model: its network, on the device of the data.
        loss: its loss.
        data: its data, or a stand-in.

    Raises:
        ValueError: if an estimator refuses the network or the loss, for example because an operation has no second
            derivative, or samples influence each other. Names the network, the reason and the fix.
        UserCodeError: if the user's own network raises another error while it is measured.
    """
    few = data.first(_SAMPLES, 0, 0)
    inputs, targets = few.measurement_subset(1.0)
    training = Training(config, build_optimizer(config.optimizer, model.parameters()), few)
    measurement = Measurement(shortened(config.measurement), config.seed, inputs, targets, loss)
    mode = model.training
    with torch.no_grad():
        value = float(loss.mean(model.eval()(inputs), targets))
    model.train(mode)
    try:
        measurement.complete(Record(0, timestamp_ms=0, loss_train=value), model, training)
    except ValueError as error:
        raise ValueError(f"{_name(config.model)} cannot be measured: {error}{_fix(config.model)}") from error
    except Exception:
        with NETWORK.errors(config.model.name, f"measured on {len(inputs)} samples"):
            raise


def _name(model: Model) -> str:
    return (
        f"model {model.name} ({model.architecture})" if isinstance(model, TorchvisionConfig) else f"model {model.name}"
    )


def _fix(model: Model) -> str:
    """What to do about a network whose code is not the user's."""
    return " Choose another architecture, such as resnet18." if isinstance(model, TorchvisionConfig) else ""
