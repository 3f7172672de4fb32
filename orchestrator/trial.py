"""Runs a trial: computes the records that are not stored yet and commits them one by one."""

import secrets
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pickle import UnpicklingError

import torch

from orchestrator.store.attempt import Attempt
from orchestrator.store.background_commits import BackgroundCommits
from orchestrator.store.errors import StorageError
from orchestrator.store.ownership.claims import BY_HAND, Owner, SupersededError
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.recorded_code import changed_code, recorded_code
from orchestrator.store.trial import Checkpoint, TrialStore, first_missing
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data
from orchestrator.training.data.samples import DataError
from orchestrator.training.environment import describe, reproducible
from orchestrator.training.loop import TrainedRecord, train
from orchestrator.training.user_code.own_code import code_digests, own_code

_RIVAL_POLL_SECONDS = 2.0


class ChangedCodeError(ValueError):
    """The user's own code differs from the code behind the stored records of a trial."""


class MissingGpuError(ValueError):
    """A trial requests a GPU, and torch finds none on its machine."""


@dataclass(frozen=True)
class TrialOptions:
    """Options of running a trial. Only `resources` can affect the computed numbers."""

    resources: Resources
    stop_requested: Callable[[], bool] = lambda: False
    """Called before the first record and after every record; True interrupts the trial."""
    until: int | None = None
    """Number of the record after which the trial is interrupted; None: it is not."""
    on_record: Callable[[Record], None] = lambda record: None
    """Called with each computed record."""
    keeps: Callable[[int], bool] = lambda number: False
    """Returns whether to keep the checkpoint of a record. The last two are always kept."""
    owner: Owner = BY_HAND
    """The sweep and driver that train the trial."""
    node: str = ""
    """The node on which the trial runs, as named by the engine."""
    command: str | None = None
    """The command line stored as provenance; None: that of this process."""
    accept_changed_code: bool = False
    """Whether to continue the trial even if the user's own code changed since its stored records."""


def run_trial(config: TrialConfig, store: TrialStore, options: TrialOptions) -> State:
    """Computes and commits the records that the store does not have.

    If another sweep or process is training the trial, this waits for it and then continues from its records.

    Returns:
        COMPLETED, DIVERGED or INTERRUPTED. An exception is stored with the attempt and raised again.

    Raises:
        ChangedCodeError: if the user's own code changed since the stored records and this is not accepted.
        MissingGpuError: if the trial requests a GPU and torch finds none.
        SupersededError: if another attempt has taken over the trial, or another driver has replaced the owner's. This
            is not a failure, and this process has nothing left to do.
    """
    while store.claims.rival(options.owner):
        if options.stop_requested():
            return State.INTERRUPTED
        time.sleep(_RIVAL_POLL_SECONDS)
    device = device_of(options.resources)
    attempt = _begin_attempt(config, store, options, device)
    try:
        with reproducible(options.resources.cpu):
            data = load_data(config.data, device)
            attempt = replace(attempt, data=data.description)
            store.write_attempt(attempt)
            state = _Training(config, store, data, device, attempt.name, options).run()
    except SupersededError:
        raise
    except KeyboardInterrupt:
        store.write_attempt(replace(attempt, ended=State.INTERRUPTED, reason="stopped between two records"))
        raise
    except Exception:
        store.write_attempt(replace(attempt, ended=State.FAILED, reason=traceback.format_exc()))
        raise
    store.write_attempt(replace(attempt, ended=state))
    return state


def _begin_attempt(config: TrialConfig, store: TrialStore, options: TrialOptions, device: torch.device) -> Attempt:
    """Checks the user's code, claims the trial, sets damaged files aside, and stores the start of an attempt."""
    code = own_code(config)
    accepted = accepted_code(store, code_digests(code), options.accept_changed_code)
    started_ms = time.time_ns() // 1_000_000
    name = f"{started_ms}-{secrets.token_hex(3)}"
    claim = store.claim(options.owner, name)
    store.write_config(config)
    store.set_aside_damaged()
    attempt = Attempt(
        name=name,
        started_ms=started_ms,
        first_record=first_missing(store.numbers()),
        provenance=capture(code, options.command, accepted),
        environment=asdict(describe(device, options.resources.cpu)),
        claim=claim.number,
        node=options.node,
    )
    store.write_attempt(attempt)
    return attempt


@dataclass(frozen=True)
class _Training:
    config: TrialConfig
    store: TrialStore
    data: DataSplits
    device: torch.device
    attempt: str
    options: TrialOptions

    def run(self) -> State:
        """Trains until no record is missing. Starts again from a checkpoint if records appear or gaps are filled."""
        until, records = self.options.until, self.config.records
        enough = until is not None and until < records and max(self.store.numbers(), default=-1) >= until
        while not enough and not self.options.stop_requested():
            if (state := self._train_from_checkpoint()) is not None:
                return state
        return State.INTERRUPTED

    def _train_from_checkpoint(self) -> State | None:
        """Trains from the newest checkpoint before the first missing record.

        Returns:
            The final state; None if training has to continue from another checkpoint.
        """
        known = self.store.numbers()
        refuse_other_data(self.store, known, self.data.digest)
        gaps = set(range(known[-1] if known else 0)).difference(known)
        end_times = self.store.damaged_timestamps()
        checkpoint = self.store.latest_checkpoint(below=min(gaps, default=None))
        record = self.store.read(checkpoint.number).record if checkpoint else None
        if record and (record.diverged or self.config.ends_at(record)):
            return _final(record)
        with BackgroundCommits(self._commit, set(known), self.options.on_record) as commits:
            for trained in self._trained_after(checkpoint):
                record = trained.record
                record = replace(record, timestamp_ms=end_times.get(record.number, record.timestamp_ms))
                if not commits.add(record, trained.checkpoint):
                    return None  # another process has just committed this record: continue from its state
                ended = record.number == self.config.records or record.diverged or self.config.ends_at(record)
                gaps_filled = record.number == max(gaps, default=None)
                stopped = not ended and (record.number == self.options.until or self.options.stop_requested())
                if gaps_filled or stopped:  # after a gap, continue from the newest checkpoint
                    return State.INTERRUPTED if commits.finish() and not gaps_filled else None
            return _final(record) if commits.finish() else None

    def _commit(self, record: Record, checkpoint: bytes) -> bool:
        """Commits a record. Returns False if it is committed already; then its record stays."""
        keep = self.options.keeps(record.number)
        return self.store.commit(record, checkpoint, self.data.digest, self.attempt, keep)

    def _trained_after(self, checkpoint: Checkpoint | None) -> Iterator[TrainedRecord]:
        try:
            yield from train(self.config, self.data, self.device, checkpoint.content if checkpoint else None)
        except UnpicklingError:
            # The digest is correct, so the file is not damaged. `load` accepts only tensors and numbers.
            raise StorageError(
                f"the checkpoint of record {checkpoint.number if checkpoint else 0} of trial {self.store.trial_id} "
                "contains objects other than tensors. It is not loaded, because it could run code. Delete it to use "
                "the previous one"
            ) from None


def _final(last: Record | None) -> State:
    return State.DIVERGED if last and last.diverged else State.COMPLETED


def refuse_other_data(store: TrialStore, numbers: list[int], digest: str) -> None:
    """Raises DataError if the last of these committed records was computed on data with another digest."""
    if numbers and (begun_on := store.read(numbers[-1]).data_digest) != digest:
        raise DataError(
            f"trial {store.trial_id} was begun on data with digest {begun_on[:12]}, the data now has {digest[:12]}; "
            "restore the data, or start afresh in another --storage"
        )


def accepted_code(store: TrialStore, code: dict[str, str], accept: bool) -> dict[str, str]:
    """Compares the user's code (digests by module) with the code behind the stored records.

    Returns:
        The changed modules and their recorded digests.

    Raises:
        ChangedCodeError: if a module changed and `accept` is False.
    """
    changed = changed_code(recorded_code(store), code)
    if changed and not accept:
        now = {module: code.get(module, "gone")[:12] for module in changed}
        found = "; ".join(f"{module} was {old[:12]}, is {now[module]}" for module, old in changed.items())
        raise ChangedCodeError(
            f"trial {store.trial_id} was begun with other code: {found}; restore it, use another --storage, or "
            "keep the stored records with --accept-changed-code, which is recorded in the trial's provenance"
        )
    return changed


def data_digest(config: TrialConfig, resources: Resources) -> str:
    """Returns the digest of the trial's data on this machine. The loaded data is reused by the next trial here."""
    return load_data(config.data, device_of(resources)).digest


def device_of(resources: Resources) -> torch.device:
    """Returns the device on which a trial computes.

    Raises:
        MissingGpuError: if the trial requests a GPU and torch finds none.
    """
    if resources.gpu_share == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise MissingGpuError(
            f"the trial requests gpu: {resources.gpu_share:g}, but torch finds no GPU on {socket.gethostname()}; "
            "check the driver and torch's CUDA build there, or use --set resources.gpu=0"
        )
    return torch.device("cuda")
