"""Who may write into a trial: the newest claim on it. Its number is a fencing token.

- trials/<trial_id>/claims/000003.json    who trains the trial, created exclusively; none is ever deleted

A worker that was cut off, stopped or orphaned finds a newer number before its next write, and stops. What it wrote
between that look and the claim is settled where epochs are created: of two writers one wins.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

from orchestrator.store import names
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import StorageError
from orchestrator.store.ownership.lease import Lease
from orchestrator.store.ownership.process import Process


class SupersededError(RuntimeError):
    """Another attempt has taken the trial over: this one has nothing to do any more, and nothing has failed."""


@dataclass(frozen=True)
class Owner:
    """On whose behalf a trial is trained."""

    sweep: str = ""
    """Empty where no sweep's driver asks for it."""
    lease: int = 0
    """The number of its driver's lease."""


BY_HAND = Owner()


@dataclass(frozen=True)
class Claim:
    """The right to write into a trial, until a newer one exists."""

    number: int
    owner: Owner
    attempt: str
    process: Process

    def __str__(self) -> str:
        sweep = f"sweep {self.owner.sweep!r}, " if self.owner.sweep else ""
        return f"{sweep}{self.process}"


class Claims:
    """All claims on one trial.

    Args:
        files: where they are kept.
        folder: the trial's.
        has_ended: whether an attempt, by its name, has ended.
    """

    def __init__(self, files: FileSystem, folder: str, has_ended: Callable[[str], bool]) -> None:
        self._files = files
        self._folder = f"{folder}/claims"
        self._has_ended = has_ended

    def take(self, owner: Owner, attempt: str) -> Claim:
        """Claims the trial; every older claim is void from here on. See `rival` for when to wait instead.

        Raises:
            SupersededError: where the owner's own driver has been succeeded: its worker is an orphan.
        """
        if owner.lease and (newest := self._driver_lease(owner).newest_number()) > owner.lease:
            raise SupersededError(
                f"sweep {owner.sweep!r} has another driver (lease {newest}) than the one that asked for this trial "
                f"(lease {owner.lease}): its worker leaves the trial alone"
            )
        while True:
            claim = Claim(self.newest_number() + 1, owner, attempt, Process.this())
            if self._files.create(self._name(claim.number), json.dumps(asdict(claim), indent=1).encode()):
                return claim

    def check(self, claim: Claim) -> None:
        """Nothing, while a claim is the newest.

        Raises:
            SupersededError: where a newer one exists; says whose.
        """
        if self.newest_number() > claim.number:
            newest = self.newest()
            raise SupersededError(
                f"attempt {claim.attempt} (claim {claim.number}) has been superseded by "
                f"{f'{newest} (claim {newest.number})' if newest else 'a newer claim'}: it stops here, and what it has "
                "committed stays"
            )

    def rival(self, owner: Owner) -> Claim | None:
        """Who else's training of the trial is under way, to be waited for instead of taken over; None where nobody's.

        Within one sweep a newer attempt always takes over. Another sweep's is under way while its attempt has not
        ended, its driver's lease holds, and its process, where it can be asked for, lives.
        """
        newest = self.newest()
        if newest is None or (owner.sweep and newest.owner.sweep == owner.sweep):
            return None
        alive = newest.process.alive
        if alive is False or self._has_ended(newest.attempt):
            return None
        if newest.owner.lease:
            return newest if self._driver_lease(newest.owner).living_number() == newest.owner.lease else None
        return newest if alive else None  # by hand elsewhere: nobody can tell, and taking over is safe

    def newest(self) -> Claim | None:
        """The newest claim; None where there is none or it is damaged: its number counts all the same."""
        number = self.newest_number()
        content = self._files.read(self._name(number)) if number else None
        if content is None:
            return None
        try:
            fields = json.loads(content)
            owner, process = Owner(**fields["owner"]), Process(**fields["process"])
            if owner.sweep:
                names.valid_sweep_name(owner.sweep)
            return Claim(number, owner, names.valid_path(fields["attempt"]), process)
        except (ValueError, TypeError, KeyError, AttributeError, StorageError):
            return None

    def newest_number(self) -> int:
        """The highest number; 0 where nobody has claimed the trial yet."""
        found = (re.fullmatch(r"([0-9]{6,})\.json", name) for name in self._files.list(self._folder))
        return max((int(match[1]) for match in found if match), default=0)

    def _driver_lease(self, owner: Owner) -> Lease:
        return Lease(self._files, f"sweeps/{owner.sweep}", "driver")

    def _name(self, number: int) -> str:
        return f"{self._folder}/{number:06d}.json"
