"""The checkpoints of a trial. Each is durable before its commit. The last two and those marked `keep` are kept.

- <trial>/checkpoints/00003-1764023591042ms-<attempt>    named by record number, end time (Unix time in ms) and attempt
"""

import re
from collections.abc import Callable
from pathlib import Path

from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import DamagedError
from orchestrator.store.files.commit import Commit, digest
from orchestrator.study.record import Record

LAST_CHECKPOINTS = 2
"""Number of checkpoints that are always kept: the newest, and the previous one in case the newest is damaged."""
_NAME = re.compile(r"([0-9]{5,})-.+")


class Checkpoints:
    """The checkpoint files of one trial.

    Args:
        files: the storage.
        folder: the folder of the checkpoints.
    """

    def __init__(self, files: FileSystem, folder: str) -> None:
        self._files = files
        self._folder = folder

    def write(self, record: Record, content: bytes, attempt: str) -> str:
        """Stores the state at a record. Returns the name of the checkpoint, for the commit that refers to it."""
        name = f"{record.number:05d}-{record.timestamp_ms}ms-{attempt}"
        self._files.write_in_place(f"{self._folder}/{name}", content)
        return name

    def read(self, commit: Commit) -> bytes | None:
        """The checkpoint of a commit; None if it was deleted.

        Raises:
            DamagedError: the content does not have the committed digest.
        """
        name = f"{self._folder}/{commit.checkpoint}"
        content = self._files.read(name)
        if content is not None and digest(content) != commit.checkpoint_digest:
            raise DamagedError(
                f"checkpoint {self._files.root / name} is damaged: its digest differs from the committed one; "
                "delete it to resume from an earlier checkpoint"
            )
        return content

    def uri(self, commit: Commit) -> str:
        """The URI of the checkpoint of a commit: ``file:///...`` or ``s3://...``."""
        path = self._files.root / f"{self._folder}/{commit.checkpoint}"
        return path.absolute().as_uri() if isinstance(path, Path) else str(path)

    def delete(self, name: str) -> None:
        """Deletes a checkpoint."""
        self._files.delete(f"{self._folder}/{name}")

    def by_number(self) -> dict[int, list[str]]:
        """The names of all checkpoints, by record number."""
        found: dict[int, list[str]] = {}
        for name in self._files.list(self._folder):
            if match := _NAME.fullmatch(name):
                found.setdefault(int(match[1]), []).append(name)
        return found

    def delete_old(self, number: int, committed: list[int], commit_of: Callable[[int], Commit | None]) -> None:
        """Deletes all checkpoints except the last two and those marked `keep`.

        This includes checkpoints without a commit, which a crash left behind.

        Args:
            number: the record just committed. Checkpoints of later ones stay: another writer may be about to commit.
            committed: the numbers of all committed records, in order.
            commit_of: returns the commit of a record, or None if it is damaged. Then its checkpoints stay.
        """
        known, last = set(committed), committed[-LAST_CHECKPOINTS:]
        for each, names in self.by_number().items():
            if each > number:
                continue
            commit = commit_of(each) if each in known else None
            if commit is None and each in known:
                continue
            needed = commit.checkpoint if commit and (commit.keep or each in last) else None
            for name in names:
                if name != needed:
                    self.delete(name)
