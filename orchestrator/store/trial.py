"""The stored data of one trial. A record exists once its commit file exists.

- trials/<trial_id>/trial.json             the config
- trials/<trial_id>/epochs/00003.json      the commit: record and digest of the checkpoint, one atomic file
- trials/<trial_id>/checkpoints/00003-*    durable before the commit (checkpoints.py)
- trials/<trial_id>/measurements/          curvature remeasured from checkpoints (remeasurements.py)
- trials/<trial_id>/attempts/*.json        provenance, environment and outcome of each attempt (attempt.py)
- trials/<trial_id>/claims/000001.json     the process that may write (ownership/claims.py)
- trials/<trial_id>/damaged/00003.json     a damaged commit, moved aside so that the record is recomputed
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.store import names
from orchestrator.store.attempt import Attempt
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import DamagedError, StorageError
from orchestrator.store.files import strict_json, suspects
from orchestrator.store.files.checkpoints import Checkpoints
from orchestrator.store.files.commit import Commit, digest
from orchestrator.store.files.end_time import recovered_end_ms
from orchestrator.store.files.numbered_files import NumberedFiles
from orchestrator.store.files.remeasurements import Remeasurements
from orchestrator.store.ownership.claims import Claim, Claims, Owner, SupersededError
from orchestrator.store.provenance.provenance import write_attachments
from orchestrator.study.config import TrialConfig
from orchestrator.study.quantities.quantity_config import STORED
from orchestrator.study.record import Record


@dataclass(frozen=True)
class Checkpoint:
    """The state at a record; its digest has been checked."""

    number: int
    content: bytes
    data_digest: str
    damaged: tuple[int, ...] = ()
    """Numbers of later records without an intact checkpoint, newest first. They are recomputed, but stay as stored."""


class TrialStore:
    """The stored data of one trial. After `claim`, every write first checks that the claim is still the newest."""

    def __init__(self, files: FileSystem, trial_id: str) -> None:
        self.trial_id = names.valid_trial_id(trial_id)
        self._files = files
        self._folder = f"trials/{trial_id}"
        self._commits = NumberedFiles(files, f"{self._folder}/epochs", digits=5)
        self._damaged = NumberedFiles(files, f"{self._folder}/damaged", digits=5)
        self._checkpoints = Checkpoints(files, f"{self._folder}/checkpoints")
        self.remeasurements = Remeasurements(files, f"{self._folder}/measurements")
        self.claims = Claims(files, self._folder, self._has_ended)
        self._claim: Claim | None = None
        self._known: dict[int, Commit] = {}
        """A cache of commits that were written or read before. Commits never change."""
        self._listed: set[int] | None = None
        """The committed numbers as listed by the first commit after a claim, and those committed since."""

    def claim(self, owner: Owner, attempt: str) -> Claim:
        """Claims the trial for an attempt. A previous owner stops before its next write.

        Raises:
            SupersededError: a newer driver has replaced the owner's driver.
        """
        self._claim = self.claims.take(owner, attempt)
        self._listed = None
        return self._claim

    def check_claim(self) -> None:
        """Checks that this writer's claim, if it has one, is still the newest.

        Raises:
            SupersededError: a newer claim exists.
        """
        if self._claim:
            self.claims.check(self._claim)

    def write_config(self, config: TrialConfig) -> None:
        """Stores the config of the trial."""
        assert config.trial_id == self.trial_id
        self.check_claim()
        content = strict_json.to_bytes(config.model_dump(mode="json"))
        self._files.write(f"{self._folder}/trial.json", content)

    def config(self) -> TrialConfig | None:
        """The config of the trial; None if nothing is stored.

        Raises:
            DamagedError: the file is damaged.
        """
        name = f"{self._folder}/trial.json"
        content = self._files.read(name)
        try:
            return None if content is None else TrialConfig.model_validate_json(content, context=STORED)
        except ValueError:
            raise DamagedError(
                f"{self._files.root / name} is damaged: expected the config of a trial as JSON; "
                "delete it, and the next run of a sweep with this trial writes it again"
            ) from None

    def numbers(self) -> list[int]:
        """The numbers of the committed records, in order."""
        return self._commits.numbers()

    def read(self, number: int) -> Commit:
        """The commit of an existing record.

        Raises:
            DamagedError: the file is damaged. The record is marked for the next run.
        """
        content = self._commits.read(number)
        assert content is not None, f"record {number} of {self.trial_id} is not committed"
        try:
            return Commit.from_bytes(content, number)
        except (ValueError, TypeError, KeyError, AttributeError):
            suspects.add(self._files, self.trial_id, number)
            raise DamagedError(
                f"{self._commits.path(number)} is damaged; run the sweep again: it sets the file aside and recomputes "
                f"the record, to the same numbers (expected the unchanged commit of record {number} as JSON)"
            ) from None

    def read_intact(self, number: int) -> Commit | None:
        """The commit of an existing record; None if it is damaged."""
        with contextlib.suppress(DamagedError):
            return self.read(number)
        return None

    def set_aside_damaged(self) -> list[int]:
        """Moves the files of damaged records aside, so that they are recomputed. Returns their numbers.

        The caller must have claimed the trial.
        """
        damaged = [number for number in self.numbers() if self.read_intact(number) is None]
        for number in damaged:
            self.check_claim()
            self._damaged.write(number, self._commits.read(number) or b"")
            self._commits.delete(number)
            self._known.pop(number, None)
            self._listed = None
            suspects.remove(self._files, self.trial_id, number)
        return damaged

    def once_damaged(self) -> list[int]:
        """The numbers of the records that were ever set aside. Their times may differ from those read before."""
        return self._damaged.numbers()

    def damaged_timestamps(self) -> dict[int, int]:
        """Maps numbers of records that were set aside and not yet recomputed to their end times (Unix time in ms).

        Records whose end time cannot be recovered are left out.
        """
        committed, checkpoints = self.numbers(), self._checkpoints.by_number()
        times = {}
        for number in self._damaged.numbers():
            if number not in committed:
                following = self.read_intact(number + 1) if number + 1 in committed else None
                rest = self._damaged.read(number) or b""
                times[number] = recovered_end_ms(number, following, checkpoints.get(number, []), rest)
        return {number: ended for number, ended in times.items() if ended is not None}

    def records(self, after: int = -1) -> Iterator[Record]:
        """The committed records above `after`, in order."""
        return (self.read(number).record for number in self.numbers() if number > after)

    def commit(self, record: Record, checkpoint: bytes, data_digest: str, attempt: str, keep: bool = False) -> bool:
        """Commits a record. Returns False if it exists already; the existing record stays.

        Args:
            record: the record.
            checkpoint: the state at the record.
            data_digest: the digest of the data.
            attempt: the name of the attempt.
            keep: whether the checkpoint is kept after later records are committed.

        Raises:
            SupersededError: a newer claim on the trial exists. Nothing is stored.
        """
        self.check_claim()
        # The owner of a trial is its only writer. Listing the folder at every commit would take quadratic time.
        if self._listed is None or self._claim is None or record.number in self._listed:
            self._listed = set(self.numbers())
        committed = self._listed
        if record.number in committed:
            return False  # do not write the checkpoint: it could replace the committed one of this attempt
        name = self._checkpoints.write(record, checkpoint, attempt)
        claim = self._claim.number if self._claim else 0
        previous = self._commit_of(record.number - 1) if record.number - 1 in committed else None
        previous_ms = previous.record.timestamp_ms if previous else None
        commit = Commit(record, data_digest, attempt, name, digest(checkpoint), keep, claim, previous_ms)
        try:
            self.check_claim()
            created = self._commits.create(record.number, commit.to_bytes())
        except SupersededError:
            with contextlib.suppress(StorageError):
                self._checkpoints.delete(name)
            raise
        if not created:
            self._checkpoints.delete(name)
            self._listed = None  # another process has committed
            return False
        self._known[record.number] = commit
        committed.add(record.number)
        self._checkpoints.delete_old(record.number, sorted(committed), self._commit_of)
        return True

    def latest_checkpoint(self, below: int | None = None) -> Checkpoint | None:
        """The newest intact checkpoint; None if there is none. `below` limits the search to earlier records."""
        stored = self._checkpoints.by_number()
        damaged: list[int] = []
        for number in reversed(self.numbers()):
            if below is not None and number >= below:
                continue
            with contextlib.suppress(DamagedError):
                commit = self.read(number) if number in stored else None
                content = self._checkpoints.read(commit) if commit else None
                if commit and content is not None:
                    return Checkpoint(number, content, commit.data_digest, tuple(damaged))
            damaged.append(number)
        return None

    def with_checkpoint(self, last: int, every: int = 1) -> list[Commit]:
        """The intact commits with a checkpoint, in order. Their numbers are multiples of `every` up to `last`."""
        stored = self._checkpoints.by_number()
        numbers = [number for number in self.numbers() if number in stored and number <= last and number % every == 0]
        commits = filter(None, map(self.read_intact, numbers))
        return [commit for commit in commits if commit.checkpoint in stored[commit.record.number]]

    def read_checkpoint(self, commit: Commit) -> bytes | None:
        """The checkpoint of a commit; None if it was deleted.

        Raises:
            DamagedError: the content does not have the committed digest.
        """
        return self._checkpoints.read(commit)

    def checkpoint_uri(self, commit: Commit) -> str:
        """The URI of the checkpoint of a commit: ``file:///...`` or ``s3://...``."""
        return self._checkpoints.uri(commit)

    def write_attempt(self, attempt: Attempt) -> None:
        """Stores that an attempt began, or how it ended.

        Raises:
            SupersededError: a newer claim on the trial exists.
        """
        self.check_claim()
        write_attachments(self._files, attempt.provenance)
        self._files.write(f"{self._folder}/attempts/{attempt.name}.json", attempt.to_bytes())

    def attempts(self) -> list[Attempt]:
        """All attempts, oldest first. Damaged files are skipped."""
        found = map(self._attempt, self._files.list(f"{self._folder}/attempts"))
        return sorted(filter(None, found), key=lambda attempt: (attempt.claim, attempt.name))

    def _attempt(self, file: str) -> Attempt | None:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return Attempt.from_bytes(self._files.read(f"{self._folder}/attempts/{file}") or b"")
        return None

    def _has_ended(self, name: str) -> bool:
        attempt = self._attempt(f"{name}.json")
        return attempt is not None and attempt.ended is not None

    def _commit_of(self, number: int) -> Commit | None:
        """The commit of an existing record, from the cache if possible; None if it is damaged."""
        if number not in self._known and (commit := self.read_intact(number)):
            self._known[number] = commit
        return self._known.get(number)


def first_missing(numbers: list[int]) -> int:
    """The first number that is missing from a sorted list of record numbers."""
    return next((number for number, present in enumerate(numbers) if number != present), len(numbers))
