"""Undoes what the user's functions change in the training that a measurement interrupts."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn, optim

from orchestrator.training.measurement.context import Training

_LIBC = ctypes.CDLL(None)
_COPIES: WeakKeyDictionary[nn.Module | optim.Optimizer, list[Tensor]] = WeakKeyDictionary()
"""Memory for the copies, reused at every record, because new memory takes longer than copying."""


@dataclass
class Undone:
    """What was undone."""

    changed: bool = False
    """Whether weights, buffers or the optimizer's state had been changed."""


@contextmanager
def training_unchanged(model: nn.Module, training: Training | None) -> Iterator[Undone]:
    """Undoes on exit what changed in weights, buffers, gradients, modes, the optimizer and torch's generators.

    The optimizer is copied when `Training.optimizer` is first used, because most functions do not use it and the state
    of Adam takes twice the memory of the weights. The function may keep a reference to it, so at later records it is
    copied before the call.
    """
    undone = Undone()
    copies: list[_ModelCopy | _OptimizerCopy] = [_ModelCopy(model)]
    cpu_state = torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if next(_tensors(model), cpu_state).is_cuda else []
    protected = (
        training.before_use(lambda optimizer: copies.append(_OptimizerCopy(optimizer)), known=_COPIES)
        if training
        else nullcontext()
    )
    try:
        with protected:
            yield undone
    finally:
        for copy in copies:
            undone.changed |= copy.restore()
        torch.set_rng_state(cpu_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)


class _ModelCopy:
    """A copy of weights and buffers. Gradients are set aside, so that functions cannot add to them."""

    def __init__(self, model: nn.Module) -> None:
        self._tensors = _TensorCopies(model, list(_tensors(model)))
        self._modes = [(module, module.training) for module in model.modules()]
        self._gradients = [(parameter, parameter.grad, parameter.requires_grad) for parameter in model.parameters()]
        for parameter, _, _ in self._gradients:
            parameter.grad = None

    def restore(self) -> bool:
        """Returns whether weights or buffers were changed."""
        changed = self._tensors.restore()
        for parameter, gradient, required in self._gradients:
            parameter.grad = gradient
            parameter.requires_grad_(required)
        for module, training in self._modes:
            module.training = training
        return changed


class _OptimizerCopy:
    """A copy of an optimizer's settings and state, including the tensors in it."""

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self._optimizer, self._state, self._groups = optimizer, optimizer.state, optimizer.param_groups
        self._values = {parameter: dict(values) for parameter, values in optimizer.state.items()}
        self._settings = [(group, {**group, "params": [*group["params"]]}) for group in optimizer.param_groups]
        held = (value for values in self._values.values() for value in values.values())
        self._tensors = _TensorCopies(optimizer, [value for value in held if isinstance(value, Tensor)])

    def restore(self) -> bool:
        """Returns whether the state was changed. Changed settings are restored, too."""
        replaced = self._is_replaced()
        if replaced:
            self._optimizer.state = self._state
            self._state.clear()
            self._state.update({parameter: dict(values) for parameter, values in self._values.items()})
        self._optimizer.param_groups = self._groups
        self._groups[:] = [group for group, _ in self._settings]
        for group, settings in self._settings:
            group.clear()
            group.update(settings)
        return self._tensors.restore() or replaced

    def _is_replaced(self) -> bool:
        """Whether the state has other values. An empty entry appears if the state of a parameter is read."""
        if self._optimizer.state is not self._state:
            return True
        before, now = (
            {key: values for key, values in state.items() if values} for state in (self._values, self._state)
        )
        return before.keys() != now.keys() or any(not _identical(before[key], now[key]) for key in before)


def _identical(before: dict[Any, Any], now: dict[Any, Any]) -> bool:
    return before.keys() == now.keys() and all(value is now[key] for key, value in before.items())


class _TensorCopies:
    """Copies of tensors."""

    def __init__(self, owner: nn.Module | optim.Optimizer, tensors: Sequence[Tensor]) -> None:
        # The detached tensor keeps the memory if `data` is replaced.
        self._originals = [(tensor, tensor.detach()) for tensor in tensors]
        self._copies = _COPIES.get(owner, [])
        if [(copy.shape, copy.dtype) for copy in self._copies] != [(tensor.shape, tensor.dtype) for tensor in tensors]:
            self._copies = [torch.empty_like(original) for _, original in self._originals]
        _COPIES[owner] = self._copies
        for copy, (_, original) in zip(self._copies, self._originals, strict=True):
            copy.copy_(original)

    @torch.no_grad()
    def restore(self) -> bool:
        """Restores memory and values of the tensors that have others. Returns whether there were any."""
        changed = False
        for copy, (tensor, original) in zip(self._copies, self._originals, strict=True):
            if not _same_memory(tensor, original):
                tensor.data = original
                changed = True
            if not _same(original, copy):
                original.copy_(copy)
                changed = True
        return changed


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _same_memory(tensor: Tensor, original: Tensor) -> bool:
    same_layout = tensor.shape == original.shape and tensor.stride() == original.stride()
    return same_layout and tensor.dtype == original.dtype and tensor.data_ptr() == original.data_ptr()


def _same(tensor: Tensor, copy: Tensor) -> bool:
    """Whether two tensors have the same bits. torch's own comparison takes three times as long on a CPU."""
    if tensor.is_cpu and tensor.is_contiguous() and copy.is_contiguous():
        return not _LIBC.memcmp(_pointer(tensor), _pointer(copy), ctypes.c_size_t(tensor.nbytes))
    return bool(torch.equal(tensor, copy) or ((tensor == copy) | (tensor.isnan() & copy.isnan())).all())


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
