"""Quantities that the user's own functions measure."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from orchestrator.study.config import MeasurementConfig
from orchestrator.study.quantities.catalogue import DECLARED
from orchestrator.study.quantities.quantity import column_of
from orchestrator.study.quantities.settings.own_quantity import OwnQuantityConfig
from orchestrator.study.record import SCALARS, VECTORS, Value
from orchestrator.training.measurement.context import Context, Values
from orchestrator.training.measurement.protection import training_unchanged
from orchestrator.training.user_code.extension_point import ExtensionPoint, UserCodeError, check_arguments
from orchestrator.training.user_code.global_generators import seeded_generators

QUANTITY = ExtensionPoint("quantity", None, "a function measure(context)")
_KEY = re.compile(r"[A-Za-z][\w.-]*(/[\w.-]+)?")
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
    """Returns the values of the user's function. Undoes what it changed in the training.

    The global generators of NumPy and Python are seeded for the call, so that reruns give the same values.

    Raises:
        ValueError: if the function does not exist, or does not return values by key.
        UserCodeError: if the function raises, or changed the model or the optimizer's state.
    """
    function = _function(config.name)
    errors = QUANTITY.errors(config.name, f"called at record {context.number}")
    seeded = seeded_generators(context.stream(config.name).initial_seed())
    with training_unchanged(context.model, context.training) as undone, seeded, torch.enable_grad(), errors:
        found = function(context, **config.arguments)
    if undone.changed:
        raise UserCodeError(
            f"quantity {config.name!r} changed weights, buffers or the optimizer's state, which were restored: work on "
            "a copy, for example copy.deepcopy(context.model)"
        )
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
