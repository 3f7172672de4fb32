"""The states of a trial after its epochs, durable before their commits; the last two stay, and those to keep.

- <trial>/checkpoints/00003-1764023591042ms-<attempt>    epoch, when it ended (Unix time), and who trained it
"""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.backends.location import S3Location
from orchestrator.store.commit import Commit
from orchestrator.store.errors import DamagedError
from orchestrator.study.record import EpochRecord

LAST_CHECKPOINTS = 2
"""They stay whatever is to be kept: the newest, and the one before in case the newest is damaged."""
_NAME = re.compile(r"([0-9]{5,})-(?:([0-9]+)ms-)?.+")
"""Those of before have no time."""


class Checkpoints:
    """The files of one trial's checkpoints.

    Args:
        files: where they are stored.
        folder: theirs.
        commit: a committed epoch; raises DamagedError where it cannot be read.
    """

    def __init__(self, files: FileSystem, folder: str, commit: Callable[[int], Commit]) -> None:
        self._files = files
        self._folder = folder
        self._commit = commit
        # A commit never changes, so what it says of its checkpoint is read once.
        self._kept: dict[str, bool] = {}
        self._names: dict[int, str] = {}

    def write(self, record: EpochRecord, content: bytes, attempt: str) -> str:
        """Writes the state after an epoch, which only a commit makes one. Returns its name."""
        name = f"{record.epoch:05d}-{record.timestamp_ms}ms-{attempt}"
        self._files.write_in_place(f"{self._folder}/{name}", content)
        return name

    def note(self, epoch: int, name: str, keep: bool) -> None:
        """Notes what the commit of an epoch says of its checkpoint."""
        self._names[epoch], self._kept[name] = name, keep

    def path(self, commit: Commit) -> Path | S3Location:
        """Where a committed state is."""
        return self._files.root / f"{self._folder}/{commit.checkpoint}"

    def read(self, commit: Commit) -> bytes | None:
        """A committed state as the medium has it; None where it has been forgotten."""
        return self._files.read(f"{self._folder}/{commit.checkpoint}")

    def delete(self, name: str) -> None:
        """Removes one."""
        self._files.delete(f"{self._folder}/{name}")

    def by_epoch(self) -> dict[int, list[str]]:
        """The names by their epochs."""
        found: dict[int, list[str]] = {}
        for name in self._files.list(self._folder):
            if match := _NAME.fullmatch(name):
                found.setdefault(int(match[1]), []).append(name)
        return found

    def ended_ms(self, epoch: int) -> int | None:
        """When an epoch ended, Unix time in ms, by the name of its checkpoint; None where none tells, or two do."""
        matches = map(_NAME.fullmatch, self.by_epoch().get(epoch, []))
        told = {int(match[2]) for match in matches if match and match[2]}
        return told.pop() if len(told) == 1 else None  # one of two may be that of a writer that died before its commit

    def forget_old(self, epoch: int, committed: list[int]) -> None:
        """Removes all but the last two and those to keep, those too that a crash left before their commit."""
        last = {self._name(each) for each in committed[-LAST_CHECKPOINTS:]}
        for each, found in self.by_epoch().items():
            for name in found:
                # A later epoch's may be another writer's, about to be committed.
                if name not in last and each <= epoch and not self._keeps(name, each, committed):
                    self.delete(name)

    def _keeps(self, name: str, epoch: int, committed: list[int]) -> bool:
        """Whether a checkpoint is one to keep."""
        if name not in self._kept and epoch in committed:
            try:
                commit = self._commit(epoch)
            except DamagedError:  # what cannot be judged is not deleted, and does not end the training either
                return True
            self._kept[name] = commit.keep and commit.checkpoint == name
        return self._kept.get(name, False)

    def _name(self, epoch: int) -> str | None:
        """The name of a committed epoch's checkpoint; None where the commit is damaged."""
        if epoch not in self._names:
            with contextlib.suppress(DamagedError):
                self._names[epoch] = self._commit(epoch).checkpoint
        return self._names.get(epoch)
