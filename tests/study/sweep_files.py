"""Sweep files for tests, and the issues that loading them reports."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.study.parts.optimizer_config import SgdConfig
from orchestrator.study.sweep import load_sweep
from orchestrator.study.sweep_file_error import SweepFileError

BASE = """\
name: x
trial:
  data: {name: digits}
  optimizer: {name: sgd, lr: 0.05}
  epochs: 2
"""


TOP = "valid here: description, expect, grid, keep_checkpoints, name, resources, sample, trial"


TRIAL = (
    "valid here: augmentation, batch_size, data, epochs, evaluate_every, loss, measurement, model, optimizer, "
    "record_every, schedule, seed, steps, stop"
)


OPTIMIZERS = "adagrad, adam, adamw, package.module:name, rmsprop, sgd"


DATA = "cifar10, cifar100, digits, fashion_mnist, image_folder, mnist, package.module:name, sorting, svhn, table, text"


SGD = "valid here: gradient_clip, lr, momentum, name, nesterov, sam, weight_decay"


ADAM = "valid here: beta1, beta2, eps, gradient_clip, lr, name, sam, weight_decay"


MEASUREMENT = (
    "valid here: algorithm1_every, algorithm1_iterations, algorithm1_probes, estimators, every, fraction,"
    " lanczos_coarse_fraction, lanczos_products, lanczos_tolerance"
)


Write = Callable[..., str]


def problems(source: str, *overrides: str) -> list[str]:
    """The issues of a sweep file, one per line."""
    with pytest.raises(SweepFileError) as caught:
        load_sweep(source, overrides)
    header, *lines = str(caught.value).split("\n  ")
    count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
    assert header == f"{source}: {count}, nothing was started"
    assert len(lines) == len(caught.value.issues)
    return lines


def optimizer(trial: Any) -> SgdConfig:
    assert isinstance(trial.optimizer, SgdConfig)
    return trial.optimizer


GRID = BASE + "grid: {optimizer.lr: [0.1, 0.2], seed: [0, 1]}\n"
