"""A trial in the store. An epoch exists once its commit object exists.

- trials/<trial_id>/trial.json             the config
- trials/<trial_id>/epochs/00003.json      commit: the record and the digest of its checkpoint, one atomic object
- trials/<trial_id>/checkpoints/00003-*    written and durable before the commit (checkpoints.py)
- trials/<trial_id>/measurements/          curvature measured again from checkpoints (measurements.py)
- trials/<trial_id>/attempts/*.json        who ran it, where, with what, and how that ended
- trials/<trial_id>/claims/000001.json     who may write into it (claim.py)
- trials/<trial_id>/damaged/00003.json     an epoch's file as the medium had left it, set aside and computed again
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.store import names, strict_json, suspects
from orchestrator.store.attempt import Attempt as Attempt
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.checkpoints import Checkpoints
from orchestrator.store.commit import Commit as Commit
from orchestrator.store.commit import digest
from orchestrator.store.errors import DamagedError, StorageError
from orchestrator.store.ownership.claims import Claim, Claims, Owner, SupersededError
from orchestrator.store.provenance.provenance import write_attachments
from orchestrator.store.remeasurements import Remeasurements
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import EpochRecord

_EPOCH = re.compile(r"([0-9]{5,})\.json")


@dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch, as bytes whose digest is right."""

    epoch: int
    content: bytes
    data_digest: str
    damaged: tuple[int, ...] = ()
    """Later epochs whose checkpoints are missing or damaged; they are computed again, their records stay."""


class TrialStore:
    """What is stored of one trial. Once it has claimed the trial, every write asks first whether it still may."""

    def __init__(self, files: FileSystem, trial_id: str) -> None:
        self.trial_id = names.valid_trial_id(trial_id)
        self._files = files
        self._folder = f"trials/{trial_id}"
        self.remeasurements = Remeasurements(files, f"{self._folder}/measurements")
        self.claims = Claims(files, self._folder, self._has_ended)
        self._claim: Claim | None = None
        self._checkpoints = Checkpoints(files, f"{self._folder}/checkpoints", self.read)
        self._last: EpochRecord | None = None
        """Of the last commit made here: the next tells its time too."""

    def claim(self, owner: Owner, attempt: str) -> Claim:
        """Takes the trial over for an attempt: whoever had it stops before its next write.

        Raises:
            SupersededError: where the owner's own driver has been succeeded.
        """
        self._claim = self.claims.take(owner, attempt)
        return self._claim

    def check_claim(self) -> None:
        """Nothing, while the trial is this writer's, or nobody's.

        Raises:
            SupersededError: where a newer claim on the trial exists.
        """
        if self._claim:
            self.claims.check(self._claim)

    def write_config(self, config: TrialConfig) -> None:
        """Notes what the trial is, under its id."""
        assert config.trial_id == self.trial_id
        self.check_claim()
        content = strict_json.to_bytes(config.model_dump(mode="json"))
        self._files.write(f"{self._folder}/trial.json", content)

    def config(self) -> TrialConfig | None:
        """What the trial is, or None where the store has not heard of it.

        Raises:
            DamagedError: where the medium has damaged it.
        """
        name = f"{self._folder}/trial.json"
        content = self._files.read(name)
        try:
            return None if content is None else TrialConfig.model_validate_json(content)
        except ValueError:
            raise DamagedError(
                f"{self._files.root / name} is damaged: expected the config of a trial as JSON; "
                "delete it, the next run of a sweep with this trial writes it again"
            ) from None

    def epochs(self) -> list[int]:
        """The committed epochs, in order."""
        found = map(_EPOCH.fullmatch, self._files.list(f"{self._folder}/epochs"))
        return sorted(int(match[1]) for match in found if match)

    def read(self, epoch: int) -> Commit:
        """A committed epoch.

        Raises:
            DamagedError: where the medium has damaged it, which is noted for the next run.
        """
        name = _epoch_file(self._folder, epoch)
        content = self._files.read(name)
        assert content is not None, f"epoch {epoch} of {self.trial_id} is not committed"
        try:
            return Commit.from_bytes(content, epoch)
        except (ValueError, TypeError, KeyError, AttributeError):
            suspects.add(self._files, self.trial_id, epoch)
            raise DamagedError(
                f"{self._files.root / name} is damaged; run the sweep again: it is set aside, and the epoch computed "
                f"again, to the same numbers (expected the commit of epoch {epoch} as JSON, as it was written)"
            ) from None

    def set_aside_damaged(self) -> list[int]:
        """Moves the files of damaged epochs out of the way, so that they are computed again; which those are.

        Whoever does so must have claimed the trial: others only read.
        """
        damaged = []
        for epoch in self.epochs():
            try:
                self.read(epoch)
            except DamagedError:
                self.check_claim()
                name = _epoch_file(self._folder, epoch)
                self._files.write(f"{self._folder}/damaged/{epoch:05d}.json", self._files.read(name) or b"")
                self._files.delete(name)
                suspects.remove(self._files, self.trial_id, epoch)
                damaged.append(epoch)
        return damaged

    def damaged_timestamps(self) -> dict[int, int]:
        """When epochs that were set aside had ended, Unix time in ms, by what else was stored with it.

        Computed again they end at the same moment: a tracker that has one takes it for the point it is. The next
        epoch's commit tells, else the name of the epoch's checkpoint, else what is left of its own file.
        """
        committed, told = self.epochs(), {}
        for name in self._files.list(f"{self._folder}/damaged"):
            match = _EPOCH.fullmatch(name)
            if match and (epoch := int(match[1])) not in committed:
                candidates = (
                    self._told_by_next(epoch, committed),
                    self._checkpoints.ended_ms(epoch),
                    self._told_by_rest(epoch),
                )
                if (found := next((each for each in candidates if each is not None), None)) is not None:
                    told[epoch] = found
        return told

    def records(self, after: int = -1) -> Iterator[EpochRecord]:
        """The records of the committed epochs above `after`, in order."""
        return (self.read(epoch).record for epoch in self.epochs() if epoch > after)

    def commit(
        self, record: EpochRecord, checkpoint: bytes, data_digest: str, attempt: str, keep: bool = False
    ) -> bool:
        """Makes an epoch exist. False where it exists already: another writer was first, and its record stays.

        With `keep` its checkpoint stays when the trial has gone on, whoever trains it then.

        Raises:
            SupersededError: where a newer claim on the trial exists; nothing of the epoch is left then.
        """
        self.check_claim()
        committed = self.epochs()
        if record.epoch in committed:
            return False  # before its checkpoint is touched: this attempt may have written that one itself
        name = self._checkpoints.write(record, checkpoint, attempt)
        claim = self._claim.number if self._claim else 0
        before = self._end_of(record.epoch - 1, committed)
        commit = Commit(record, data_digest, attempt, name, digest(checkpoint), keep, claim, before)
        try:
            self.check_claim()
            created = self._files.create(_epoch_file(self._folder, record.epoch), commit.to_bytes())
        except SupersededError:
            with contextlib.suppress(StorageError):
                self._checkpoints.delete(name)
            raise
        if not created:
            self._checkpoints.delete(name)
            return False
        self._last = record
        self._checkpoints.note(record.epoch, name, keep)
        self._checkpoints.forget_old(record.epoch, sorted([*committed, record.epoch]))
        return True

    def latest_checkpoint(self, below: int | None = None) -> Checkpoint | None:
        """The newest state that is whole, or None where the trial has to start from its beginning.

        With `below`, the newest of an epoch below it.
        """
        there = self._checkpoints.by_epoch()
        damaged: list[int] = []
        for epoch in reversed([each for each in self.epochs() if below is None or each < below]):
            if epoch in there:
                with contextlib.suppress(DamagedError):
                    commit = self.read(epoch)
                    content = self._checkpoints.read(commit)
                    if content is not None and digest(content) == commit.checkpoint_digest:
                        return Checkpoint(epoch, content, commit.data_digest, tuple(damaged))
            damaged.append(epoch)
        return None

    def with_checkpoint(self, last_epoch: int, every: int = 1) -> list[Commit]:
        """The committed epochs up to `last_epoch`, multiples of `every`, whose checkpoint is there; in order."""
        there = self._checkpoints.by_epoch()
        found = []
        for epoch in self.epochs():
            if epoch in there and epoch <= last_epoch and epoch % every == 0:
                with contextlib.suppress(DamagedError):  # a run mends it; until then nobody knows its checkpoint
                    commit = self.read(epoch)
                    found += [commit] if commit.checkpoint in there[epoch] else []
        return found

    def read_checkpoint(self, commit: Commit) -> bytes | None:
        """The state after a committed epoch, or None where it has been forgotten.

        Raises:
            StorageError: where the medium has damaged it.
        """
        content = self._checkpoints.read(commit)
        if content is not None and digest(content) != commit.checkpoint_digest:
            raise StorageError(
                f"checkpoint {self._checkpoints.path(commit)} is damaged: its digest is not the one that was "
                "committed; delete it, and its epoch is passed over"
            )
        return content

    def write_attempt(self, attempt: Attempt) -> None:
        """Notes that an attempt began, or how it ended.

        Raises:
            SupersededError: where a newer claim on the trial exists.
        """
        self.check_claim()
        write_attachments(self._files, attempt.provenance)
        self._files.write(f"{self._folder}/attempts/{attempt.name}.json", attempt.to_bytes())

    def attempts(self) -> list[Attempt]:
        """All attempts, oldest first. One whose file the medium has damaged is passed over: it only tells what was."""
        found = []
        for name in self._files.list(f"{self._folder}/attempts"):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                found.append(Attempt.from_bytes(self._files.read(f"{self._folder}/attempts/{name}") or b""))
        return sorted(found, key=lambda attempt: (attempt.claim, attempt.name))

    def _has_ended(self, attempt: str) -> bool:
        """Whether an attempt has ended; not while its file says otherwise, or there is none yet."""
        with contextlib.suppress(ValueError, TypeError, KeyError):
            content = self._files.read(f"{self._folder}/attempts/{attempt}.json") or b""
            return Attempt.from_bytes(content).ended is not None
        return False

    def _end_of(self, epoch: int, committed: list[int]) -> int | None:
        """When an epoch ended, Unix time in ms; None where it is not committed, or damaged."""
        if self._last and self._last.epoch == epoch:
            return self._last.timestamp_ms
        with contextlib.suppress(DamagedError):
            return self.read(epoch).record.timestamp_ms if epoch in committed else None
        return None

    def _told_by_next(self, epoch: int, committed: list[int]) -> int | None:
        with contextlib.suppress(DamagedError):
            return self.read(epoch + 1).previous_ms if epoch + 1 in committed else None
        return None

    def _told_by_rest(self, epoch: int) -> int | None:
        content = self._files.read(f"{self._folder}/damaged/{epoch:05d}.json") or b""
        found = re.search(rb'"epoch": ([0-9]+),\s+"timestamp_ms": ([0-9]+),', content)
        return int(found[2]) if found and int(found[1]) == epoch else None


def first_missing(epochs: list[int]) -> int:
    """The first epoch that is not among these, which are in order."""
    return next((epoch for epoch, there in enumerate(epochs) if epoch != there), len(epochs))


def _epoch_file(folder: str, epoch: int) -> str:
    return f"{folder}/epochs/{epoch:05d}.json"
