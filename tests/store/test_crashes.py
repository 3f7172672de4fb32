"""Random claims and commits with crashes at random writes. No committed epoch is lost or changed."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.ownership.claims import Owner, SupersededError
from orchestrator.store.trial import TrialStore
from tests.store.stored import checkpoint, config, record


class DiedError(BaseException):
    """Simulates SIGKILL."""


class Mortal(DiskFiles):
    """Raises `DiedError` before or after the change with index `left`."""

    left: int | None = None
    after = False

    def _change(self, change: object, *arguments: object) -> object:
        assert callable(change)
        if self.left is None:
            return change(*arguments)
        self.left -= 1
        if self.left < 0 and not self.after:
            raise DiedError
        done = change(*arguments)
        if self.left < 0:
            raise DiedError
        return done

    def write(self, name: str, content: bytes) -> None:
        self._change(super().write, name, content)

    def create(self, name: str, content: bytes) -> bool:
        return bool(self._change(super().create, name, content))

    def write_in_place(self, name: str, content: bytes) -> None:
        if self.left == 0 and not self.after:  # only checkpoints may be left partially written by a crash
            super().write_in_place(name, content[: len(content) // 2])
        self._change(super().write_in_place, name, content)

    def delete(self, name: str) -> None:
        self._change(super().delete, name)


class Trials(RuleBasedStateMachine):
    """Writers of one trial that claim, commit, die and are superseded."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.look = TrialStore(DiskFiles(Path(self.folder.name)), config().trial_id)
        self.writers: list[tuple[TrialStore, Mortal, str, int]] = []
        self.seen: dict[int, str] = {}

    @rule(left=st.none() | st.integers(0, 3), after=st.booleans())
    def claim(self, left: int | None, after: bool) -> None:
        files = Mortal(Path(self.folder.name))
        files.left, files.after = left, after
        trial, name = TrialStore(files, config().trial_id), f"by-{len(self.writers)}"
        try:
            number = trial.claim(Owner("night", 0), name).number
        except DiedError:
            return
        assert all(number > other for *_, other in self.writers), "numbers increase"
        self.writers.append((trial, files, name, number))

    @rule(data=st.data(), left=st.none() | st.integers(0, 5), after=st.booleans())
    def commit(self, data: st.DataObject, left: int | None, after: bool) -> None:
        if not self.writers:
            return
        place = data.draw(st.integers(0, len(self.writers) - 1))
        trial, files, name, number = self.writers[place]
        files.left, files.after = left, after
        epoch = max(self.look.numbers(), default=-1) + 1
        newest = number == self.look.claims.newest_number()
        try:
            assert trial.commit(record(epoch), checkpoint(epoch), "d", name)
            assert newest, "a superseded writer must not commit"
        except SupersededError:
            assert not newest
            assert epoch not in self.look.numbers()
        except DiedError:
            del self.writers[place]

    @invariant()
    def nothing_is_lost_or_changed(self) -> None:
        epochs = self.look.numbers()
        assert epochs == list(range(len(epochs)))
        now = {epoch: repr(self.look.read(epoch)) for epoch in epochs}
        assert self.seen.items() <= now.items()
        self.seen = now
        latest = self.look.latest_checkpoint()
        if epochs:
            assert latest is not None
            assert (latest.number, latest.content, latest.damaged) == (epochs[-1], checkpoint(epochs[-1]), ())

    def teardown(self) -> None:
        self.folder.cleanup()


TestTrials = Trials.TestCase
TestTrials.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)


@pytest.mark.slow
class TestStorm(Trials.TestCase):  # type: ignore[misc, name-defined]
    """The same test with ten times as many examples."""

    settings = settings(max_examples=80, stateful_step_count=20, deadline=None)
