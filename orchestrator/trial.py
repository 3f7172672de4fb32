"""The one place where the epoch loop meets the store: runs a trial from where it stands."""

import secrets
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pickle import UnpicklingError

import torch

from orchestrator.store.attempt import Attempt
from orchestrator.store.errors import StorageError
from orchestrator.store.gallery import Gallery
from orchestrator.store.ownership.claims import BY_HAND, Owner, SupersededError
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.sweep import SweepStore
from orchestrator.store.trial import Checkpoint, TrialStore, first_missing
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.study.data_config import Data
from orchestrator.study.record import EpochRecord
from orchestrator.study.sweep import Resources, Sweep
from orchestrator.training.data.datasets import ResidentData, load_data, load_source
from orchestrator.training.data.images import DataError
from orchestrator.training.data.noisy_images import noisy_images
from orchestrator.training.environment import describe, reproducible
from orchestrator.training.loop import TrainedEpoch, fitting_model, train
from orchestrator.training.models.user_code import code_files

_NOISE = (0.0, 0.1, 0.25)
"""As in the paper's Figure 4."""
_IMAGES = 4
_LOOK_AGAIN_SECONDS = 2.0
"""Between two looks at a trial that another sweep's driver is training."""


def run_trial(
    config: TrialConfig,
    store: TrialStore,
    resources: Resources,
    stop_requested: Callable[[], bool] = lambda: False,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    keeps: Callable[[int], bool] = lambda epoch: False,
    owner: Owner = BY_HAND,
    node: str = "",
    command: str | None = None,
) -> State:
    """Computes and commits the epochs of a trial that the store does not have.

    Ends as completed or diverged, or as interrupted where `stop_requested` says so after an epoch. An exception is
    noted with the attempt, and raised. The checkpoint of an epoch that `keeps` names stays, beside the last two.

    A trial that another sweep's driver is training is waited for, and then gone on from.

    Raises:
        SupersededError: where another attempt has taken the trial over, or the owner's driver has been succeeded. The
            trial has not failed by that, and nothing is left to do.
    """
    device = device_of(resources)
    while store.claims.rival(owner):
        if stop_requested():
            return State.INTERRUPTED
        time.sleep(_LOOK_AGAIN_SECONDS)
    started_ms = time.time_ns() // 1_000_000
    name = f"{started_ms}-{secrets.token_hex(3)}"
    claim = store.claim(owner, name)
    store.write_config(config)
    store.set_aside_damaged()
    attempt = Attempt(
        name=name,
        started_ms=started_ms,
        first_epoch=first_missing(store.epochs()),
        provenance=capture(code_files(config.model), command),
        environment=asdict(describe(device, resources.cpu)),
        claim=claim.number,
        node=node,
    )
    store.write_attempt(attempt)
    try:
        with reproducible(resources.cpu):
            data = load_data(config.data, device)
            ended = _run(config, store, data, device, attempt.name, stop_requested, on_epoch, keeps)
    except SupersededError:
        raise
    except KeyboardInterrupt:
        store.write_attempt(replace(attempt, ended=State.INTERRUPTED, reason="stopped within an epoch"))
        raise
    except Exception:
        store.write_attempt(replace(attempt, ended=State.FAILED, reason=traceback.format_exc()))
        raise
    store.write_attempt(replace(attempt, ended=ended))
    return ended


def _run(
    config: TrialConfig,
    store: TrialStore,
    data: ResidentData,
    device: torch.device,
    attempt: str,
    stop_requested: Callable[[], bool],
    on_epoch: Callable[[EpochRecord], None],
    keeps: Callable[[int], bool],
) -> State:
    if stop_requested():
        return State.INTERRUPTED
    known = store.epochs()
    refuse_other_data(store, known, data.digest)
    gaps = set(range(known[-1] if known else 0)).difference(known)
    damaged = store.damaged_timestamps()
    checkpoint = store.latest_checkpoint(below=min(gaps, default=None))
    record = store.read(checkpoint.epoch).record if checkpoint else None
    if record and record.diverged:
        return State.DIVERGED
    for trained in _trained(config, data, device, checkpoint, store):
        record = trained.record
        if record.epoch in damaged:
            record = replace(record, timestamp_ms=damaged[record.epoch])
        # Epochs whose checkpoint was damaged are computed again; their records stay as they were.
        committed = store.commit(record, trained.checkpoint, data.digest, attempt, keeps(record.epoch))
        if not committed and record.epoch not in known:
            # Another process has committed this epoch meanwhile: go on from its state, not beside it.
            return _run(config, store, data, device, attempt, stop_requested, on_epoch, keeps)
        on_epoch(record)
        if record.epoch == max(gaps, default=None):  # all are filled: on from the newest checkpoint
            return _run(config, store, data, device, attempt, stop_requested, on_epoch, keeps)
        if record.epoch < config.epochs and not record.diverged and stop_requested():
            return State.INTERRUPTED
    return State.DIVERGED if record and record.diverged else State.COMPLETED


def _trained(
    config: TrialConfig, data: ResidentData, device: torch.device, checkpoint: Checkpoint | None, store: TrialStore
) -> Iterator[TrainedEpoch]:
    try:
        yield from train(config, data, device, checkpoint.content if checkpoint else None)
    except UnpicklingError:
        # Its digest is right, so this is what somebody has committed: more than numbers, which is not loaded.
        raise StorageError(
            f"the checkpoint of epoch {checkpoint.epoch if checkpoint else 0} of trial {store.trial_id} holds more "
            "than tensors and is not loaded: it could run code; delete it, and the one before is used"
        ) from None


def refuse_other_data(store: TrialStore, epochs: list[int], digest: str) -> None:
    """Raises DataError where the last of these committed epochs was computed on data of another digest."""
    if epochs and (begun_on := store.read(epochs[-1]).data_digest) != digest:
        raise DataError(
            f"trial {store.trial_id} was begun on data with digest {begun_on[:12]}, the data now has {digest[:12]}; "
            "restore the images, or start afresh in another --storage"
        )


def data_digest(config: TrialConfig, resources: Resources) -> str:
    """Of the data that a trial would see here. Where the trial follows in this process, it uses what was read."""
    return load_data(config.data, device_of(resources)).digest


def device_of(resources: Resources) -> torch.device:
    """Where a trial computes."""
    return torch.device("cuda" if resources.gpu > 0 and torch.cuda.is_available() else "cpu")


def note_images(sweep: Sweep, store: SweepStore) -> None:
    """Notes four test images of the first trial's data with a sweep, at the paper's strengths of noise; once."""
    if store.gallery() is None:
        data = load_data(sweep.trials[0].data, torch.device("cpu"))
        pixels, labels = noisy_images(data, _NOISE, _IMAGES)
        store.write_gallery(Gallery(_NOISE, labels, tuple(pixels.shape), pixels.numpy().tobytes()))


def prepare_data(sweep: Sweep) -> None:
    """Reads every data set of a sweep once, so that what is wrong with it is said before anything is scheduled.

    Raises:
        DataError: naming the file, folder or value.
    """
    largest: dict[Data, Data] = {}
    for config in dict.fromkeys(trial.data for trial in sweep.trials):
        whole = config.model_copy(update={"train_subset": None})
        if (config.train_subset or 0) >= (largest.get(whole, whole).train_subset or 0):
            largest[whole] = config
    # Where the largest subset of a set is not too large, none is.
    for config in largest.values():
        load_source(config)


def check_models(sweep: Sweep) -> None:
    """Builds every model of a sweep on its data, so that what does not fit is said before anything is scheduled.

    Raises:
        ValueError: with every model, batch size and augmentation that does not fit its data.
        ModelCodeError: where the code of a network of the user's own raises.
    """
    misfits = []
    for config in dict.fromkeys(trial.data for trial in sweep.trials):
        data = load_data(config, torch.device("cpu"))
        trials = [trial for trial in sweep.trials if trial.data == config]
        for trial in {(trial.model, trial.augmentation, trial.batch_size): trial for trial in trials}.values():
            try:
                fitting_model(trial, data)
            except ValueError as error:
                misfits.append(str(error))
    if misfits:
        raise ValueError("\n  ".join(dict.fromkeys(misfits)))
