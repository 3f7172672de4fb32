"""Quantities that the user's own functions measure."""

import ctypes
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn, optim

from orchestrator.study.config import MeasurementConfig
from orchestrator.study.quantities.catalogue import DECLARED
from orchestrator.study.quantities.quantity import column_of
from orchestrator.study.quantities.settings.own_quantity import OwnQuantityConfig
from orchestrator.study.record import SCALARS, VECTORS, Value
from orchestrator.training.measurement.context import Context, Values
from orchestrator.training.user_code.extension_point import ExtensionPoint, UserCodeError, check_arguments

QUANTITY = ExtensionPoint("quantity", None, "a function measure(context)")
_KEY = re.compile(r"[A-Za-z][\w.-]*(/[\w.-]+)?")
_LIBC = ctypes.CDLL(None)
_COPIES: WeakKeyDictionary[nn.Module, list[Tensor]] = WeakKeyDictionary()
_TAKEN = frozenset(quantity.column for quantity in (*SCALARS, *VECTORS, *DECLARED))
_RESERVED = frozenset({"trial_id", "epoch", "step", "number"})
"""Names of other columns in tables and files."""
_FAMILIES = tuple(quantity for quantity in DECLARED if "{" in quantity.key)


def check_own_quantities(measurement: MeasurementConfig) -> None:
    """Checks that the user's functions exist and take their settings.

    Raises:
        ValueError: if one does not.
        UserCodeError: if a module raises.
    """
    for config in measurement.estimators:
        if isinstance(config, OwnQuantityConfig):
            function = QUANTITY.find(config.name)
            check_arguments(f"quantity {config.name!r}", function, (None,), config.arguments)


def measure_own_quantity(context: Context, config: OwnQuantityConfig) -> Values:
    """Returns the values of the user's function. Restores weights, buffers and torch's generators that it changed.

    Raises:
        ValueError: if the function does not exist, or does not return values by key.
        UserCodeError: if the function raises, or changed the model or the optimizer's state.
    """
    function = _function(config.name)
    optimizer = context.training.optimizer if context.training else None
    errors = QUANTITY.errors(config.name, f"called at record {context.number}")
    with _training_unchanged(config.name, context.model, optimizer), errors:
        found = function(context, **config.arguments)
    if not isinstance(found, Mapping):
        found = {config.name.partition(":")[2]: found}
    return {_checked_key(config.name, key): _value(config.name, key, value) for key, value in found.items()}


@cache
def _function(name: str) -> Callable[..., Any]:
    """Returns the user's function, which is imported once."""
    found: Callable[..., Any] = QUANTITY.find(name)
    return found


def _checked_key(name: str, key: object) -> str:
    if not isinstance(key, str) or not _KEY.fullmatch(key) or key.startswith("system/"):
        raise ValueError(
            f"quantity {name!r} returned the key {key!r}, expected letters, digits, '_', '-' and '.', with at most one "
            "'/': for example noise/scale"
        )
    column = column_of(key)
    if column in _RESERVED or column.endswith("_names"):
        raise ValueError(f"quantity {name!r} returned the key {key!r}, which tables need for other columns: rename it")
    if column in _TAKEN or any(family.member(column) for family in _FAMILIES):
        raise ValueError(f"quantity {name!r} returned {key!r}, the key of a built-in quantity: choose another key")
    return key


def _value(name: str, key: str, value: object) -> Value:
    """Returns a scalar, a vector or a mapping of Python floats."""
    if value is None:
        return None
    try:
        if isinstance(value, Mapping):
            return {str(part): _number(number) for part, number in value.items()}
        if isinstance(value, Tensor) and value.ndim:
            value = value.detach().tolist()
        if isinstance(value, Sequence) and not isinstance(value, str):
            return tuple(map(_number, value))
        return _number(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"quantity {name!r} returned {value!r:.60} for {key}, expected a number, a list or a mapping of numbers"
        ) from None


def _number(value: Any) -> float:
    return float(value.detach() if isinstance(value, Tensor) else value)


@contextmanager
def _training_unchanged(name: str, model: nn.Module, optimizer: optim.Optimizer | None) -> Iterator[None]:
    """Restores weights, buffers, modes, tensors of the optimizer's state and torch's generators on exit.

    Raises:
        UserCodeError: if the state differs, after restoring it.
    """
    tensors = [*model.parameters(), *model.buffers()]
    for state in optimizer.state.values() if optimizer else ():
        tensors += [value for value in state.values() if isinstance(value, Tensor)]
    copies = _copied(model, [tensor.detach() for tensor in tensors])
    gradients = [(parameter, parameter.grad, parameter.requires_grad) for parameter in model.parameters()]
    groups = [(group, dict(group)) for group in optimizer.param_groups] if optimizer else []
    for parameter, _, _ in gradients:
        parameter.grad = None
    modes = [(module, module.training) for module in model.modules()]
    streams = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if tensors and tensors[0].is_cuda else []
    try:
        with torch.enable_grad():
            yield
    finally:
        changed = [(tensor, copy) for tensor, copy in zip(tensors, copies, strict=True) if not _same(tensor, copy)]
        with torch.no_grad():
            for tensor, copy in changed:
                if tensor.shape == copy.shape and tensor.dtype == copy.dtype:
                    tensor.copy_(copy)
                else:
                    tensor.data = copy.clone()
        for parameter, gradient, required in gradients:
            parameter.grad = gradient
            parameter.requires_grad_(required)
        for group, values in groups:
            group.clear()
            group.update(values)
        for module, training in modes:
            module.training = training
        torch.set_rng_state(streams)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
    if changed:
        raise UserCodeError(
            f"quantity {name!r} changed weights, buffers or the optimizer's state, which were restored: work on a "
            "copy, for example copy.deepcopy(context.model)"
        )


def _copied(model: nn.Module, tensors: list[Tensor]) -> list[Tensor]:
    """Returns copies in memory that is reused at every record, because new memory takes longer than copying."""
    copies = _COPIES.get(model, [])
    if [(copy.shape, copy.dtype) for copy in copies] != [(tensor.shape, tensor.dtype) for tensor in tensors]:
        copies = _COPIES[model] = [torch.empty_like(tensor) for tensor in tensors]
    for copy, tensor in zip(copies, tensors, strict=True):
        copy.copy_(tensor)
    return copies


def _same(tensor: Tensor, copy: Tensor) -> bool:
    """Whether two tensors have the same bits. torch's own comparison takes three times as long on a CPU."""
    tensor = tensor.detach()
    if tensor.shape != copy.shape or tensor.dtype != copy.dtype:
        return False
    if tensor.is_cpu and tensor.is_contiguous() and copy.is_contiguous():
        return not _LIBC.memcmp(_pointer(tensor), _pointer(copy), ctypes.c_size_t(tensor.nbytes))
    return bool(torch.equal(tensor, copy) or ((tensor == copy) | (tensor.isnan() & copy.isnan())).all())


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
