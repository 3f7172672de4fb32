"""Claims on a trial. Only the holder of the newest claim may write. The number of a claim is its fencing token.

- trials/<trial_id>/claims/000003.json    the process that trains the trial; created exclusively, never deleted

A worker may be disconnected, suspended or orphaned while another one takes over. Before its next write it finds the
newer claim, and stops. If the newer claim appears between this check and the write, both workers may try to commit the
same record. Then only one of them succeeds, because the commit file is created exclusively.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from orchestrator.store import names
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import StorageError
from orchestrator.store.files.numbered_files import NumberedFiles
from orchestrator.store.ownership.lease import Lease
from orchestrator.store.ownership.process import Process


class SupersededError(RuntimeError):
    """Another attempt has taken over the trial, so this attempt must stop. This is not a failure."""


@dataclass(frozen=True)
class Owner:
    """The sweep and driver for which a trial is trained."""

    sweep: str = ""
    """Empty if the attempt was started by hand, not by the driver of a sweep."""
    lease: int = 0
    """The number of the driver's lease."""


BY_HAND = Owner()


@dataclass(frozen=True)
class Claim:
    """The right to write into a trial until a newer claim exists."""

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
        files: the storage.
        folder: the folder of the trial.
        has_ended: returns whether the attempt with a given name has ended.
    """

    def __init__(self, files: FileSystem, folder: str, has_ended: Callable[[str], bool]) -> None:
        self._files = files
        self._claims = NumberedFiles(files, f"{folder}/claims", digits=6)
        self._has_ended = has_ended

    def take(self, owner: Owner, attempt: str) -> Claim:
        """Claims the trial, which invalidates all older claims. Call `rival` first to see whether to wait instead.

        Raises:
            SupersededError: a newer driver has replaced the owner's driver, so this worker is orphaned.
        """
        if owner.lease and (newest := self._driver_lease(owner).newest_number()) > owner.lease:
            raise SupersededError(
                f"sweep {owner.sweep!r} has a newer driver (lease {newest}) than the one that started this worker "
                f"(lease {owner.lease}); this worker stops and stores nothing"
            )
        while True:
            claim = Claim(self.newest_number() + 1, owner, attempt, Process.this())
            if self._claims.create(claim.number, json.dumps(asdict(claim), indent=1).encode()):
                return claim

    def check(self, claim: Claim) -> None:
        """Checks that a claim is the newest.

        Raises:
            SupersededError: a newer claim exists; the message names its owner.
        """
        if self.newest_number() > claim.number:
            newest = self.newest()
            raise SupersededError(
                f"attempt {claim.attempt} (claim {claim.number}) is superseded by "
                f"{f'{newest} (claim {newest.number})' if newest else 'a newer claim'}; it stops, and its "
                "committed records are kept"
            )

    def rival(self, owner: Owner) -> Claim | None:
        """The claim of another owner that is training the trial now; None if there is nothing to wait for.

        Within one sweep, a newer attempt always takes over without waiting. An attempt of another sweep counts as
        running until it has ended, its driver has lost the lease, or its process is known to be dead.
        """
        newest = self.newest()
        if newest is None or (owner.sweep and newest.owner.sweep == owner.sweep):
            return None
        alive = newest.process.alive
        if alive is False or self._has_ended(newest.attempt):
            return None
        if newest.owner.lease:
            return newest if self._driver_lease(newest.owner).is_held(newest.owner.lease) else None
        return newest if alive else None  # None on another host: take over, which is safe while it lives

    def newest(self) -> Claim | None:
        """The newest claim; None if there is none or its file is damaged. Older claims are never returned."""
        number = self.newest_number()
        content = self._claims.read(number) if number else None
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
        """The number of the newest claim; 0 if there is none."""
        return self._claims.newest()

    def _driver_lease(self, owner: Owner) -> Lease:
        return Lease(self._files, f"sweeps/{owner.sweep}", "driver")
