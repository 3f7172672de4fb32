"""The state that a training step may change.

Replaying a CUDA graph repeats changes of device memory, but not changes that Python code makes on the host.
"""

import copy
import pickle
import random
import sys
from typing import Any

import torch
from torch import Tensor, nn, optim

_MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))
"""Attributes that every `nn.Module` has, such as parameters, buffers and hooks."""


class DeviceState:
    """A copy of weights, buffers, the optimizer's state and the device's random stream."""

    def __init__(self, model: nn.Module, optimizer: optim.Optimizer, device: torch.device) -> None:
        self._optimizer, self._device = optimizer, device
        self._held = {parameter: dict(values) for parameter, values in optimizer.state.items()}
        of_optimizer = (value for values in self._held.values() for value in values.values())
        self._tensors = [*model.parameters(), *model.buffers(), *(v for v in of_optimizer if isinstance(v, Tensor))]
        self._copies = [tensor.detach().clone() for tensor in self._tensors]
        self._random = torch.cuda.get_rng_state(device)

    @torch.no_grad()
    def restore(self) -> None:
        """Copies the state back into the same memory and drops gradients."""
        self._optimizer.zero_grad()
        for parameter in [*self._optimizer.state]:
            if parameter not in self._held:
                del self._optimizer.state[parameter]
        for parameter, values in self._held.items():
            self._optimizer.state[parameter] = dict(values)
        for tensor, held in zip(self._tensors, self._copies, strict=True):
            tensor.copy_(held)
        torch.cuda.set_rng_state(self._random, self._device)

    def holds(self) -> bool:
        """Returns whether the current state equals the copy bit for bit. Synchronizes with the device."""
        same = [torch.equal(_bytes(now), _bytes(held)) for now, held in zip(self._tensors, self._copies, strict=True)]
        return all(same) and torch.equal(torch.cuda.get_rng_state(self._device), self._random)


class HostState:
    """A copy of the state that Python code may change: host random generators and module attributes.

    Raises:
        Exception: if an attribute cannot be copied or pickled.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        tensors = [*model.parameters(), *model.buffers()]
        known = {id(part): part for part in [*model.modules(), *tensors]}
        attributes = self._attributes()
        self._before = [pickle.dumps(own) for own in attributes]
        self._attributes_before: list[dict[str, Any]] = copy.deepcopy(attributes, known)
        self._generator_states = _generator_states()

    def changes(self) -> str:
        """Returns a short description of the first change since the copy, or an empty string if nothing changed."""
        if not _same_states(self._generator_states, _generator_states()):
            return "the model draws random numbers on the CPU"
        for (name, module), before, own in zip(
            self._model.named_modules(), self._before, self._attributes(), strict=True
        ):
            if pickle.dumps(own) != before:
                return f"the model changes an attribute of {type(module).__name__} {name!r}".removesuffix(" ''")
        return ""

    def restore(self) -> None:
        """Restores the copied state."""
        torch.set_rng_state(self._generator_states[0])
        random.setstate(self._generator_states[1])
        if numpy := sys.modules.get("numpy"):
            numpy.random.set_state(self._generator_states[2])
        for module, own in zip(self._model.modules(), self._attributes_before, strict=True):
            for name in vars(module).keys() - own.keys() - _MODULE_ATTRIBUTES:
                del vars(module)[name]
            vars(module).update(own)

    def _attributes(self) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in vars(module).items() if name not in _MODULE_ATTRIBUTES}
            for module in self._model.modules()
        ]


def _generator_states() -> tuple[Tensor, Any, Any]:
    """Returns the states of the CPU random generators of torch, Python and NumPy."""
    numpy = sys.modules.get("numpy")
    return torch.get_rng_state(), random.getstate(), numpy.random.get_state(legacy=True) if numpy else None


def _same_states(one: tuple[Tensor, Any, Any], other: tuple[Tensor, Any, Any]) -> bool:
    return torch.equal(one[0], other[0]) and one[1] == other[1] and pickle.dumps(one[2]) == pickle.dumps(other[2])


def _bytes(tensor: Tensor) -> Tensor:
    # Bytes are compared, since NaN is not equal to itself.
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
