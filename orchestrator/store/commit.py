"""A trial in the store. An epoch exists once its commit object exists.

- trials/<trial_id>/trial.json             the config
- trials/<trial_id>/epochs/00003.json      commit: the record and the digest of its checkpoint, one atomic object
- trials/<trial_id>/checkpoints/00003-*    written and durable before the commit; the last two stay, and those to keep
- trials/<trial_id>/measurements/          curvature measured again from checkpoints (measurements.py)
- trials/<trial_id>/attempts/*.json        who ran it, where, with what, and how that ended
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.store.files import Files, StorageError
from orchestrator.store.measurements import Measurements
from orchestrator.store.provenance import Provenance
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import EpochRecord

LAST_CHECKPOINTS = 2
"""They stay whatever is to be kept: the newest, and the one before in case the newest is damaged."""


@dataclass(frozen=True)
class Commit:
    """An epoch that exists."""

    record: EpochRecord
    data_digest: str
    attempt: str
    checkpoint: str
    checkpoint_digest: str
    keep: bool = False
    """Whether its checkpoint stays when the trial has gone on."""


@dataclass(frozen=True)
class Attempt:
    """One try at a trial. `ended` is None while it runs, and for ever where it was killed."""

    name: str
    started_ms: int
    first_epoch: int
    provenance: Provenance
    environment: dict[str, Any]
    ended: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch, as bytes whose digest is right."""

    epoch: int
    content: bytes
    data_digest: str
    damaged: tuple[int, ...] = ()
    """Later epochs whose checkpoints are missing or damaged; they are computed again, their records stay."""


class TrialStore:
    """What is stored of one trial."""

    def __init__(self, files: Files, trial_id: str) -> None:
        self.trial_id = trial_id
        self._files = files
        self._folder = f"trials/{trial_id}"
        self.measurements = Measurements(files, f"{self._folder}/measurements")
        self._kept: set[str] = set()  # names of checkpoints to keep: a commit never changes, so it is read once

    def write_config(self, config: TrialConfig) -> None:
        """Notes what the trial is, under its id."""
        assert config.trial_id == self.trial_id
        self._write("trial.json", config.model_dump(mode="json"))

    def config(self) -> TrialConfig | None:
        """What the trial is, or None where the store has not heard of it."""
        content = self._files.read(f"{self._folder}/trial.json")
        return TrialConfig.model_validate_json(content) if content else None

    def epochs(self) -> list[int]:
        """The committed epochs, in order."""
        return sorted(int(name.removesuffix(".json")) for name in self._files.list(f"{self._folder}/epochs"))

    def read(self, epoch: int) -> Commit:
        """A committed epoch.

        Raises:
            StorageError: where the medium has damaged it.
        """
        name = _epoch_file(self._folder, epoch)
        content = self._files.read(name)
        assert content is not None, f"epoch {epoch} of {self.trial_id} is not committed"
        try:
            fields = json.loads(content)
        except ValueError:
            path = self._files.root / name
            raise StorageError(f"{path} is damaged; delete it and the epochs after it, and run again") from None
        return Commit(**{**fields, "record": EpochRecord.from_json(fields["record"])})

    def records(self, after: int = -1) -> Iterator[EpochRecord]:
        """The records of the committed epochs above `after`, in order."""
        return (self.read(epoch).record for epoch in self.epochs() if epoch > after)

    def commit(
        self, record: EpochRecord, checkpoint: bytes, data_digest: str, attempt: str, keep: bool = False
    ) -> bool:
        """Makes an epoch exist. False where it exists already: another writer was first, and its record stays.

        With `keep` its checkpoint stays when the trial has gone on, whoever trains it then.
        """
        if self._files.read(_epoch_file(self._folder, record.epoch)) is not None:
            return False  # before its checkpoint is touched: this attempt may have written that one itself
        name = f"{record.epoch:05d}-{attempt}"
        self._files.write(f"{self._folder}/checkpoints/{name}", checkpoint)
        content = {
            "record": record.to_json(),
            "data_digest": data_digest,
            "attempt": attempt,
            "checkpoint": name,
            "checkpoint_digest": _digest(checkpoint),
            "keep": keep,
        }
        if not self._files.create(_epoch_file(self._folder, record.epoch), _json(content)):
            self._files.delete(f"{self._folder}/checkpoints/{name}")
            return False
        self._forget_old_checkpoints(record.epoch)
        return True

    def latest_checkpoint(self) -> Checkpoint | None:
        """The newest state that is whole, or None where the trial has to start from its beginning."""
        there = set(map(_epoch_of, self._files.list(f"{self._folder}/checkpoints")))
        damaged: list[int] = []
        for epoch in reversed(self.epochs()):
            if epoch in there:
                commit = self.read(epoch)
                content = self._files.read(self._checkpoint_file(commit))
                if content is not None and _digest(content) == commit.checkpoint_digest:
                    return Checkpoint(epoch, content, commit.data_digest, tuple(damaged))
            damaged.append(epoch)
        return None

    def with_checkpoint(self, last_epoch: int, every: int = 1) -> list[Commit]:
        """The committed epochs up to `last_epoch`, multiples of `every`, whose checkpoint is there; in order."""
        names = set(self._files.list(f"{self._folder}/checkpoints"))
        there = set(map(_epoch_of, names))
        wanted = (epoch for epoch in self.epochs() if epoch in there and epoch <= last_epoch and epoch % every == 0)
        return [commit for commit in map(self.read, wanted) if commit.checkpoint in names]

    def read_checkpoint(self, commit: Commit) -> bytes | None:
        """The state after a committed epoch, or None where it has been forgotten.

        Raises:
            StorageError: where the medium has damaged it.
        """
        name = self._checkpoint_file(commit)
        content = self._files.read(name)
        if content is not None and _digest(content) != commit.checkpoint_digest:
            raise StorageError(
                f"checkpoint {self._files.root / name} is damaged: its digest is not the one that was committed; "
                "delete it, and its epoch is passed over"
            )
        return content

    def write_attempt(self, attempt: Attempt) -> None:
        """Notes that an attempt began, or how it ended."""
        self._write(f"attempts/{attempt.name}.json", asdict(attempt))

    def attempts(self) -> list[Attempt]:
        """All attempts, oldest first."""
        found = []
        for name in self._files.list(f"{self._folder}/attempts"):
            fields = json.loads(self._files.read(f"{self._folder}/attempts/{name}") or b"{}")
            found.append(Attempt(**{**fields, "provenance": Provenance(**fields["provenance"])}))
        return found

    def _write(self, name: str, content: object) -> None:
        self._files.write(f"{self._folder}/{name}", _json(content))

    def _checkpoint_file(self, commit: Commit) -> str:
        return f"{self._folder}/checkpoints/{commit.checkpoint}"

    def _forget_old_checkpoints(self, epoch: int) -> None:
        """Removes all but the last two and those to keep, those too that a crash left before their commit."""
        committed = self.epochs()
        last = {self.read(each).checkpoint for each in committed[-LAST_CHECKPOINTS:]}
        for name in self._files.list(f"{self._folder}/checkpoints"):
            # A later epoch's may be another writer's, about to be committed.
            if name not in last and _epoch_of(name) <= epoch and not self._keeps(name, committed):
                self._files.delete(f"{self._folder}/checkpoints/{name}")

    def _keeps(self, name: str, committed: list[int]) -> bool:
        """Whether a checkpoint is one to keep."""
        if name not in self._kept and _epoch_of(name) in committed:
            try:
                commit = self.read(_epoch_of(name))
            except StorageError:  # what cannot be judged is not deleted, and does not end the training either
                return True
            if commit.keep and commit.checkpoint == name:
                self._kept.add(name)
        return name in self._kept


def _epoch_file(folder: str, epoch: int) -> str:
    return f"{folder}/epochs/{epoch:05d}.json"


def _epoch_of(checkpoint: str) -> int:
    return int(checkpoint.partition("-")[0])


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
