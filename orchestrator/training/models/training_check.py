"""Checks, before a sweep starts, that the user's own network can be trained and that its training can be repeated."""

import torch
from torch import Tensor, nn

from orchestrator.study.config import TrialConfig
from orchestrator.study.parts.model_config import ModuleConfig
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.loss import Loss
from orchestrator.training.models.build import build_model
from orchestrator.training.models.user_code import NETWORK
from orchestrator.training.user_code.global_generators import global_generators

_SAMPLES = 4


def check_training(config: TrialConfig, model: nn.Module, loss: Loss, data: DataSplits) -> None:
    """Builds the user's own network again, and repeats a training pass on a few samples.

    Built-in networks need no check.

    Args:
        config: the trial.
        model: its untrained network, on the CPU. It stays unchanged.
        loss: its loss.
        data: its data, on any device.

    Raises:
        ValueError: if the second network has other weights, outputs do not fit or have no gradient, or the second pass
            gives other outputs.
        UserCodeError: if the network or the loss raises.
    """
    if not isinstance(config.model, ModuleConfig):
        return
    name = f"model {config.model.name!r}"
    networks = [build_model(config.model, data.signature, config.seed) for _ in range(2)]
    if not all(_same_weights(model, again) for again in networks):
        raise ValueError(
            f"{name} has other weights when it is built again: draw initial weights with torch, whose generator is "
            "seeded, or reruns would differ"
        )
    few = data.first(_SAMPLES, 0, 0).to(torch.device("cpu"))
    before = global_generators()
    first, second = (_training_pass(config.model, network, loss, few) for network in networks)
    if global_generators() != before or not torch.allclose(first, second, rtol=1e-4, equal_nan=True):
        raise ValueError(
            f"{name} draws random numbers in a training pass that are not seeded: draw them with torch, or reruns "
            "would differ"
        )


def _same_weights(model: nn.Module, other: nn.Module) -> bool:
    ours, theirs = ([*network.parameters(), *network.buffers()] for network in (model, other))
    return len(ours) == len(theirs) and all(map(_same, ours, theirs))


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _training_pass(config: ModuleConfig, model: nn.Module, loss: Loss, few: DataSplits) -> Tensor:
    """Returns the outputs of a pass in training mode, after their gradient was computed."""
    name, inputs = f"model {config.name!r}", few.normalise(few.train.inputs.clone())
    with torch.random.fork_rng(devices=[]), NETWORK.errors(config.name, "called in training mode"):
        torch.manual_seed(0)
        outputs: object = model.train()(inputs)
    expected = (len(inputs), *few.signature.output_shape)
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) != expected:
        given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(f"{name} gives {given} in training mode, expected {expected}: return the same as in eval mode")
    if outputs.requires_grad:
        loss.mean(outputs, few.train.targets).backward()
    if all(parameter.grad is None for parameter in model.parameters()):
        raise ValueError(
            f"{name} has outputs without a gradient: compute them from the parameters with torch operations, without "
            "torch.no_grad() and detach()"
        )
    return outputs.detach()
