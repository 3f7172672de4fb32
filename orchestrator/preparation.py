"""Reads the data, and builds and measures the models of a sweep, to report errors before anything is scheduled."""

import torch

from orchestrator.store.gallery import Gallery
from orchestrator.store.sweep import SweepStore
from orchestrator.study.config import TrialConfig
from orchestrator.study.parts.data_config import Data, NoiseShift, OwnData
from orchestrator.study.parts.user_code_config import UserCodeConfig
from orchestrator.study.sweep import Sweep
from orchestrator.training.cost import cost_key
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data, load_source, source_digest
from orchestrator.training.data.images.noisy_images import noisy_images
from orchestrator.training.loop import fitting_model
from orchestrator.training.loss import build_loss, check_loss
from orchestrator.training.measurement.quantities.own_quantity import check_own_quantities
from orchestrator.training.measurement_check import check_measurement, shortened
from orchestrator.training.models.training_check import check_training
from orchestrator.training.optimizers.resume_check import check_optimizer
from orchestrator.training.out_of_memory import named_if_too_large

_NOISE = (0.0, 0.1, 0.25)
"""Standard deviations of the Gaussian noise in the paper's Figure 4."""
_IMAGES = 4
_SMALLER = "make the model smaller, or use a machine with more memory"


def prepare_data(sweep: Sweep) -> None:
    """Reads every data set of a sweep once.

    Raises:
        DataError: if data is missing or damaged, or a subset is too large. Names the file, folder or value.
    """
    largest: dict[Data, Data] = {}
    for config in dict.fromkeys(trial.data for trial in sweep.trials):
        whole = config.model_copy(update={"train_subset": None})
        if (config.train_subset or 0) >= (largest.get(whole, whole).train_subset or 0):
            largest[whole] = config
    for config in largest.values():  # if the largest subset is available, so are smaller ones
        load_source(config)


def check_models(sweep: Sweep) -> None:
    """Builds every model of a sweep on its data, and every optimizer that the sweep file names as a class.

    Every combination of model, loss and estimators is measured once, on a few samples.

    Raises:
        ValueError: if the user's own function returns different data in a second call. Also if losses, models, batch
            sizes or augmentations do not fit their data, optimizers do not fit the model, or a model cannot be
            trained or measured; the message names all of these.
        UserCodeError: if the user's own network, loss, optimizer or module of a quantity raises.
    """
    misfits = []
    for config in dict.fromkeys(trial.data for trial in sweep.trials):
        data = load_data(config, torch.device("cpu"))
        _check_repeatable(config, data.digest)
        trials = [trial for trial in sweep.trials if trial.data == config]
        measured: set[tuple[object, ...]] = set()
        for trial in {_checked_settings(trial): trial for trial in trials}.values():
            first = _measurement_settings(trial) not in measured
            measured.add(_measurement_settings(trial))
            try:
                with named_if_too_large(f"model {trial.model.name}", _SMALLER):
                    _check_model(trial, data, measure=first)
            except ValueError as error:
                misfits.append(str(error))
    if misfits:
        raise ValueError("\n  ".join(dict.fromkeys(misfits)))


def _check_model(trial: TrialConfig, data: DataSplits, measure: bool) -> None:
    model, loss = fitting_model(trial, data), build_loss(trial.loss, data)
    check_optimizer(trial, model.parameters())
    check_loss(trial.loss, loss, model, data)
    check_training(trial, model, loss, data)
    check_own_quantities(trial.measurement)
    if measure:
        check_measurement(trial, model, loss, data)


def _check_repeatable(config: Data, digest: str) -> None:
    """Checks that the user's own function returns the same data in a second call, because every trial calls it."""
    if isinstance(config, OwnData) and source_digest(config, decode=True) != digest:
        raise ValueError(
            f"data {config.name!r} returned different data when it was called again: seed its random numbers, for "
            "example with numpy.random.default_rng(0), or every trial would have other data"
        )


def _checked_settings(trial: TrialConfig) -> tuple[object, ...]:
    """Returns the settings that are checked. Built-in optimizers fit every model."""
    length = (trial.steps, trial.schedule) if trial.steps is not None else ()
    named = (trial.optimizer, trial.schedule) if isinstance(trial.optimizer, UserCodeConfig) else ()
    measured, estimators = _measurement_settings(trial), trial.measurement.estimators
    return trial.model, *measured, estimators, trial.augmentation, trial.batch_size, trial.stop, *named, *length


def _measurement_settings(trial: TrialConfig) -> tuple[object, ...]:
    """Returns the settings that determine how a model is measured, and whether it can be measured."""
    return cost_key(trial.model), trial.loss, shortened(trial.measurement)


def store_gallery(sweep: Sweep, store: SweepStore) -> None:
    """Stores four test images of the first trial's data at the paper's levels of noise, unless they are stored.

    Stores nothing if the data has no images of classes.
    """
    config = sweep.trials[0].data
    if "shift" in type(config).model_fields:  # a shift of another strength would scale the noise of the gallery too
        config = config.model_copy(update={"shift": NoiseShift()})
    data = load_data(config, torch.device("cpu"))
    if store.gallery() is None and data.has_images and data.classes:
        pixels, labels = noisy_images(data, _NOISE, _IMAGES)
        store.write_gallery(Gallery(_NOISE, labels, tuple(pixels.shape), pixels.numpy().tobytes()))
