"""The stability threshold in units of the Hessian's own eigenvalues, for optimizers without a preconditioner."""

import math

import pandas as pd

from orchestrator.store.frames import Frames
from orchestrator.study.config import TrialConfig
from orchestrator.study.parts.optimizer_config import SgdConfig
from orchestrator.study.stability import coupled_weight_decay, stability_threshold

THRESHOLD = "stability_threshold"


def plain_threshold(frames: Frames, epochs: pd.DataFrame) -> "pd.Series[float]":
    """The eigenvalue of the Hessian at which each record's trial becomes unstable; NaN if it is not known.

    Only SGD has one, because other optimizers rescale the Hessian. If the threshold was not measured, it is computed
    for a constant learning rate. The threshold applies to the Hessian with weight decay, and the measured eigenvalues
    exclude weight decay, so it is subtracted.
    """
    by_id = frames.sweep.by_id
    measured = epochs[THRESHOLD] if THRESHOLD in epochs else pd.Series(math.nan, epochs.index)
    values = [_threshold(by_id[key], value) for key, value in zip(epochs.trial_id, measured, strict=True)]
    return pd.Series(values, epochs.index, dtype="float64")


def _threshold(config: TrialConfig, measured: float) -> float:
    optimizer = config.optimizer
    if not isinstance(optimizer, SgdConfig):
        return math.nan
    value = measured if math.isfinite(measured) else _constant_rate_threshold(config, optimizer)
    return value - coupled_weight_decay(optimizer)


def _constant_rate_threshold(config: TrialConfig, optimizer: SgdConfig) -> float:
    if config.schedule.name != "constant" or config.schedule.warmup_epochs:
        return math.nan
    value = stability_threshold(optimizer, optimizer.lr).value
    return math.nan if value is None else value
