"""What is stored of one sweep."""

import functools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.store import names
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import DamagedError, StorageError
from orchestrator.store.gallery import Gallery
from orchestrator.store.ownership.lease import Lease
from orchestrator.store.provenance.provenance import Provenance, write_attachments
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Resources, Sweep


@dataclass(frozen=True)
class ShipperStatus:
    """What the shipper last said of itself."""

    state: str
    """``shipping``, ``unreachable``, ``done``, or ``damaged``: done but for what the storage cannot give."""
    message: str
    pending_epochs: int
    pid: int


class SweepStore:
    """What is stored of one sweep: its list of trials, and who is at work on it."""

    def __init__(self, files: FileSystem, name: str) -> None:
        self.name = names.valid_sweep_name(name)
        self._files = files
        self._folder = f"sweeps/{name}"
        self.folder = files.local / self._folder
        """Where its log, reports and exports lie on this machine."""
        self.log = self.folder / "shipper.log"

    def write_manifest(self, sweep: Sweep, provenance: Provenance) -> None:
        """Notes what the sweep desires now."""
        write_attachments(self._files, provenance)
        content = {
            "name": sweep.name,
            "description": sweep.description,
            "resources": sweep.resources.model_dump(mode="json"),
            "keep_checkpoints": sweep.keep_checkpoints,
            "provenance": asdict(provenance),
            "trials": {trial_id: trial.model_dump(mode="json") for trial_id, trial in sweep.by_id.items()},
        }
        self._write("manifest.json", content)

    def read_manifest(self) -> tuple[Sweep, Provenance]:
        """What the sweep desired when it was last run, and what ran it.

        Raises:
            StorageError: where it never was, or the medium has damaged the manifest.
        """
        content = self._files.read(f"{self._folder}/manifest.json")
        if content is None:
            known = ", ".join(sweep_names(self._files)) or "none"
            raise StorageError(f"storage {str(self._files.root)!r} has no sweep {self.name!r}; it has: {known}")
        try:
            sweep, provenance = manifest_content(content)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._damaged("expected the list of its trials as JSON") from None
        if sweep.name != self.name:
            raise self._damaged(f"it is that of sweep {sweep.name!r}")
        return sweep, provenance

    def _damaged(self, why: str) -> DamagedError:
        return DamagedError(
            f"{self._files.root / self._folder}/manifest.json, of sweep {self.name!r}, is damaged: {why}; "
            "hessian-dynamics run with the sweep's file writes it again, and computes nothing that is stored"
        )

    def write_gallery(self, gallery: Gallery) -> None:
        """Notes images of the data for the report."""
        self._files.write(f"{self._folder}/gallery.json", gallery.to_bytes())

    def gallery(self) -> Gallery | None:
        """The images noted, if any were and the medium has kept them; the next run notes them again."""
        content = self._files.read(f"{self._folder}/gallery.json")
        try:
            return Gallery.from_bytes(content) if content else None
        except (ValueError, TypeError, KeyError):
            return None

    @property
    def driver_lease(self) -> Lease:
        """Held by the process that schedules the sweep."""
        return self.driver_lease_with()

    def driver_lease_with(self, on_lost: Callable[[], None] = lambda: None) -> Lease:
        """The same; `on_lost` is called, from a thread, where another host's driver has taken it over."""
        return Lease(self._files, self._folder, "driver", on_lost)

    @property
    def ship_lease(self) -> Lease:
        """Held by the process that ships the sweep to the tracker."""
        return Lease(self._files, self._folder, "ship")

    def request_stop(self) -> None:
        """Asks all trials of the sweep to end after the epoch they are in."""
        self._files.write(f"{self._folder}/stop", b"")

    def clear_stop(self) -> None:
        """Takes the request back."""
        self._files.delete(f"{self._folder}/stop")

    @property
    def stop_requested(self) -> bool:
        """Whether trials should end after the epoch they are in."""
        return self._files.read(f"{self._folder}/stop") is not None

    def note_failure(self, trial_id: str, reason: str) -> None:
        """Notes why a trial could not be measured again; a worker has no other way to tell the driver."""
        self._files.write(f"{self._folder}/measure-failures/{trial_id}", reason.encode())

    def failures(self) -> dict[str, str]:
        """Why trials could not be measured again, by their id."""
        names = self._files.list(f"{self._folder}/measure-failures")
        return {name: (self._files.read(f"{self._folder}/measure-failures/{name}") or b"").decode() for name in names}

    def clear_failures(self) -> None:
        """Forgets the failures of the last time."""
        for name in self._files.list(f"{self._folder}/measure-failures"):
            self._files.delete(f"{self._folder}/measure-failures/{name}")

    def publish(self, folder: Path) -> str:
        """Brings what lies in a folder below `folder` of this sweep into the storage; where it is then.

        On a disk it is there already.
        """
        place = self._files.root / self._folder / folder.relative_to(self.folder).as_posix()
        if self._files.local != self._files.root:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                self._files.write(f"{self._folder}/{path.relative_to(self.folder).as_posix()}", path.read_bytes())
        return str(place)

    def write_shipper_status(self, status: ShipperStatus) -> None:
        """Lets the driver and `status` say how shipping goes."""
        self._write("shipper.json", asdict(status))

    def shipper_status(self) -> ShipperStatus | None:
        """What the shipper last said, if one ever ran and the medium has kept it."""
        content = self._files.read(f"{self._folder}/shipper.json")
        try:
            return ShipperStatus(**json.loads(content)) if content else None
        except (ValueError, TypeError):
            return None

    def _write(self, name: str, content: object) -> None:
        self._files.write(f"{self._folder}/{name}", json.dumps(content, indent=1).encode())


@functools.lru_cache(maxsize=2)
def manifest_content(content: str | bytes) -> tuple[Sweep, Provenance]:
    """The sweep in the text of a manifest, and what ran it.

    Kept: a worker asks before every trial, and ten thousand configs take a second to check.
    """
    fields: dict[str, Any] = json.loads(content)
    sweep = Sweep(
        fields["name"],
        fields["description"],
        tuple(TrialConfig.model_validate_json(json.dumps(trial)) for trial in fields["trials"].values()),
        Resources.model_validate(fields["resources"]),
        fields.get("keep_checkpoints", "last"),  # all that could be said before it was written down
    )
    return sweep, Provenance(**fields["provenance"])


def sweep_names(files: FileSystem) -> list[str]:
    """The names of the sweeps that were run in a storage."""
    found = files.list("sweeps")
    return [name for name in found if names.is_sweep_name(name) and "manifest.json" in files.list(f"sweeps/{name}")]
