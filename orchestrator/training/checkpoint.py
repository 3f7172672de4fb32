"""Checkpoints: the state of a trial at a record, as bytes that can be loaded on any device."""

import io
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim

from orchestrator.study.config import TrialConfig
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.models.build import build_model
from orchestrator.training.optimizers.user_optimizer import INITIAL_LR
from orchestrator.training.streams import NoiseState


@dataclass(frozen=True)
class Moment:
    """A moment of a trial, from which training continues."""

    number: int
    """Number of the record."""
    step: int | None = None
    """Optimizer steps so far; None in checkpoints of version 0.1."""
    noise: NoiseState | None = None
    """State of the global generators; None between two epochs, since every epoch seeds them."""
    epoch: float = 0
    """Epochs so far, for readers of the file."""


def snapshot(moment: Moment, model: nn.Module, optimizer: optim.Optimizer) -> bytes:
    """Returns a checkpoint: weights, buffers, the optimizer's state, and the moment of the trial."""
    state = optimizer.state_dict()
    groups = [{**group, "lr": _number(group["lr"])} if "lr" in group else group for group in state["param_groups"]]
    buffer = io.BytesIO()
    content = {
        "epoch": moment.epoch,
        "number": moment.number,
        "steps": moment.step,
        "noise": moment.noise,
        "model": model.state_dict(),
        "optimizer": {**state, "param_groups": groups},
    }
    torch.save(content, buffer)
    return buffer.getvalue()


def restore(checkpoint: bytes, model: nn.Module, optimizer: optim.Optimizer) -> Moment:
    """Loads a checkpoint into a model and its optimizer on any device. Returns the moment of the checkpoint.

    The optimizer keeps its own learning rate and flags, which depend on the device. Other values of parameter groups
    come from the checkpoint, because an optimizer may keep state there.
    """
    # Loads to the CPU. `load_state_dict` then moves the tensors, except step counts that an optimizer keeps on the CPU.
    state = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    saved = state["optimizer"]
    groups = [
        {**own, **group, **{key: own[key] for key in _own_keys(own)}}
        for own, group in zip(optimizer.param_groups, saved["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({**saved, "param_groups": groups})
    # Version 0.1 stored one checkpoint per epoch, and only its epoch.
    return Moment(state.get("number", state["epoch"]), state.get("steps"), state.get("noise"), state["epoch"])


def load_model(config: TrialConfig, data: DataSplits, device: torch.device, checkpoint: bytes) -> nn.Module:
    """Returns the trained model of a checkpoint on the given device."""
    model = build_model(config.model, data.signature, config.seed).to(device)
    model.load_state_dict(torch.load(io.BytesIO(checkpoint), map_location=device, weights_only=True)["model"])
    return model


def _own_keys(group: dict[str, Any]) -> set[str]:
    """Returns the keys of a parameter group that are not restored from a checkpoint."""
    # Schedules set the rate of built-in optimizers before every step. A user's class may change its rate itself.
    rate = set() if INITIAL_LR in group else {"lr"}
    return (rate | {"fused", "foreach", "capturable"}) & group.keys()


def _number(value: Any) -> Any:
    # On CUDA the learning rate is a tensor.
    return value.item() if isinstance(value, Tensor) else value
