"""A trial's state after an epoch, as bytes: the same from every device, and for every device."""

import io
from typing import Any

import torch
from torch import Tensor, nn, optim


def snapshot(epoch: int, model: nn.Module, optimizer: optim.Optimizer) -> bytes:
    """What the epochs after this one are computed from."""
    state = optimizer.state_dict()
    groups = [{name: _number(value) for name, value in group.items()} for group in state["param_groups"]]
    buffer = io.BytesIO()
    content = {"epoch": epoch, "model": model.state_dict(), "optimizer": {**state, "param_groups": groups}}
    torch.save(content, buffer)
    return buffer.getvalue()


def restore(checkpoint: bytes, model: nn.Module, optimizer: optim.Optimizer) -> int:
    """Puts a model and its optimizer where a checkpoint stands, on the device that they are on; returns its epoch.

    The optimizer keeps its settings, which come from the trial's config and suit its device.
    """
    # To the CPU first: some counts stay there, which only the optimizer knows.
    state = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    saved = state["optimizer"]
    groups = [
        {**{name: value for name, value in own.items() if name != "params"}, "params": group["params"]}
        for own, group in zip(optimizer.param_groups, saved["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({**saved, "param_groups": groups})
    epoch: int = state["epoch"]
    return epoch


def _number(value: Any) -> Any:
    """A setting without the device it lies on."""
    return value.item() if isinstance(value, Tensor) else value
