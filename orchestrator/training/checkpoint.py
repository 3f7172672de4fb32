"""Checkpoints: the state of a trial after an epoch, as bytes that can be loaded on any device."""

import io
from typing import Any

import torch
from torch import Tensor, nn, optim

from orchestrator.study.config import TrialConfig
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.models.build import build_model
from orchestrator.training.optimizers.user_optimizer import INITIAL_LR


def snapshot(epoch: int, model: nn.Module, optimizer: optim.Optimizer) -> bytes:
    """Returns the checkpoint after an epoch: weights, buffers and the optimizer's state."""
    state = optimizer.state_dict()
    groups = [{**group, "lr": _number(group["lr"])} if "lr" in group else group for group in state["param_groups"]]
    buffer = io.BytesIO()
    content = {"epoch": epoch, "model": model.state_dict(), "optimizer": {**state, "param_groups": groups}}
    torch.save(content, buffer)
    return buffer.getvalue()


def restore(checkpoint: bytes, model: nn.Module, optimizer: optim.Optimizer) -> int:
    """Loads a checkpoint into a model and its optimizer on any device. Returns the epoch of the checkpoint.

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
    epoch: int = state["epoch"]
    return epoch


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
