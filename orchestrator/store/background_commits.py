"""Commits the records of a trial while it trains."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from orchestrator.study.record import Record

FREQUENT_SECONDS = 1.0
"""If training before a record took longer than this, it waits for the commit. Otherwise it goes on at once."""


class BackgroundCommits:
    """Commits records one by one, in a thread if records are frequent.

    A commit syncs three files or folders, which on a busy disk takes longer than some training steps. At most one
    commit is pending: the next record waits for it. An error of a commit is raised by the next call.

    Args:
        commit: commits a record and its checkpoint. Returns False if the record was committed before.
        known: numbers of records that may have been committed before: they are computed again for their checkpoints.
        on_committed: called with every committed record, in the calling thread.
    """

    def __init__(
        self,
        commit: Callable[[Record, bytes], bool],
        known: set[int],
        on_committed: Callable[[Record], None],
    ) -> None:
        self._commit, self._known, self._on_committed = commit, known, on_committed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._pending: tuple[Record, Future[bool]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown()  # waits for the pending commit

    def add(self, record: Record, checkpoint: bytes) -> bool:
        """Commits a record once the previous one is committed.

        Returns:
            False if another process has committed this or the previous record. Training then continues from its state.
        """
        if not self.finish():
            return False
        self._pending = record, self._thread.submit(self._commit, record, checkpoint)
        frequent = (record.time_train_seconds or 0.0) <= FREQUENT_SECONDS
        return frequent or self.finish()

    def finish(self) -> bool:
        """Waits for the pending commit. Returns False if another process has committed the record."""
        if self._pending is None:
            return True
        (record, committed), self._pending = self._pending, None
        if not committed.result() and record.number not in self._known:
            return False
        self._on_committed(record)
        return True
