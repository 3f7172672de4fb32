"""The stored data of one sweep, except the results of its trials."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.store import names
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import DamagedError, StorageError
from orchestrator.store.gallery import Gallery
from orchestrator.store.ownership.lease import Lease
from orchestrator.store.provenance.provenance import Provenance, write_attachments
from orchestrator.study.config import TrialConfig
from orchestrator.study.expectations.expectation import Expectation
from orchestrator.study.quantities.quantity_config import STORED
from orchestrator.study.sweep import Resources, Sweep


@dataclass(frozen=True)
class ShipperStatus:
    """The status that the shipper last wrote."""

    state: str
    """``shipping``, ``unreachable``, ``done``, or ``damaged`` (done, except for records that are damaged)."""
    message: str
    pending_records: int
    """The number of records that the tracker lacks. Its key in the file is ``pending_epochs``."""
    pid: int

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            "state": self.state,
            "message": self.message,
            "pending_epochs": self.pending_records,
            "pid": self.pid,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ShipperStatus":
        """The inverse of `to_json`.

        Raises:
            KeyError: a key is missing.
        """
        return cls(content["state"], content["message"], content["pending_epochs"], content["pid"])


class SweepStore:
    """The stored data of one sweep, except the results of its trials: manifest, leases, requests and reports."""

    def __init__(self, files: FileSystem, name: str) -> None:
        self.name = names.valid_sweep_name(name)
        self._files = files
        self._folder = f"sweeps/{name}"
        self.folder = files.local / self._folder
        """The local folder of the sweep's log, reports and exports."""
        self.log = self.folder / "shipper.log"

    def write_manifest(self, sweep: Sweep, provenance: Provenance) -> None:
        """Stores the current trials of the sweep, and the provenance of this run."""
        write_attachments(self._files, provenance)
        content = {
            "name": sweep.name,
            "description": sweep.description,
            "resources": sweep.resources.model_dump(mode="json"),
            "keep_checkpoints": sweep.keep_checkpoints,
            "expect": [expectation.model_dump(mode="json", exclude_defaults=True) for expectation in sweep.expect],
            "provenance": provenance.to_json(),
            "trials": {trial_id: trial.model_dump(mode="json") for trial_id, trial in sweep.by_id.items()},
        }
        self._write("manifest.json", content)

    @property
    def was_run(self) -> bool:
        """Whether the sweep has a manifest."""
        return _has_manifest(self._files, self.name)

    def read_manifest(self) -> tuple[Sweep, Provenance]:
        """The sweep as it was last run, and the provenance of that run.

        Raises:
            StorageError: the sweep was never run with this storage.
            DamagedError: the manifest is damaged.
        """
        content = self._files.read(f"{self._folder}/manifest.json")
        if content is None:
            known = ", ".join(sweep_names(self._files)) or "none"
            raise StorageError(f"storage {str(self._files.root)!r} has no sweep {self.name!r}; it has: {known}")
        try:
            sweep, provenance = manifest_content(content)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._damaged_error("expected a JSON object with trials, resources and provenance") from None
        if sweep.name != self.name:
            raise self._damaged_error(f"it belongs to sweep {sweep.name!r}")
        return sweep, provenance

    def _damaged_error(self, reason: str) -> DamagedError:
        return DamagedError(
            f"{self._files.root / self._folder}/manifest.json, of sweep {self.name!r}, is damaged: {reason}; "
            "run the sweep's file again: hessian-dynamics run writes the manifest anew and recomputes no stored record"
        )

    def write_gallery(self, gallery: Gallery) -> None:
        """Stores images of the data for the report."""
        self._files.write(f"{self._folder}/gallery.json", gallery.to_bytes())

    def gallery(self) -> Gallery | None:
        """The stored images; None if there are none or the file is damaged. The next run repairs the file."""
        content = self._files.read(f"{self._folder}/gallery.json")
        try:
            return Gallery.from_bytes(content) if content else None
        except (ValueError, TypeError, KeyError):
            return None

    @property
    def driver_lease(self) -> Lease:
        """The lease held by the process that schedules the sweep."""
        return self.driver_lease_with()

    def driver_lease_with(self, on_lost: Callable[[], None] = lambda: None) -> Lease:
        """Like `driver_lease`, but calls `on_lost` from a thread when another driver has taken over the lease."""
        return Lease(self._files, self._folder, "driver", on_lost)

    @property
    def ship_lease(self) -> Lease:
        """The lease held by the process that ships the sweep to the tracker."""
        return Lease(self._files, self._folder, "ship")

    def request_stop(self) -> None:
        """Asks all trials of the sweep to end after their next record."""
        self._files.write(f"{self._folder}/stop", b"")

    def clear_stop(self) -> None:
        """Withdraws the request to stop."""
        self._files.delete(f"{self._folder}/stop")

    @property
    def stop_requested(self) -> bool:
        """Whether trials should end after their next record."""
        return self._files.read(f"{self._folder}/stop") is not None

    def note_failure(self, trial_id: str, reason: str) -> None:
        """Stores why a trial could not be remeasured, for the driver to read."""
        self._files.write(f"{self._folder}/measure-failures/{trial_id}", reason.encode())

    def failures(self) -> dict[str, str]:
        """Maps the ids of trials that could not be remeasured to the reasons."""
        folder = f"{self._folder}/measure-failures"
        return {name: (self._files.read(f"{folder}/{name}") or b"").decode() for name in self._files.list(folder)}

    def clear_failures(self) -> None:
        """Deletes the stored failures."""
        for name in self._files.list(f"{self._folder}/measure-failures"):
            self._files.delete(f"{self._folder}/measure-failures/{name}")

    def publish(self, folder: Path) -> str:
        """Copies a subfolder of `self.folder` to the storage if that is a bucket. Returns where it is stored."""
        target = self._files.root / self._folder / folder.relative_to(self.folder).as_posix()
        if self._files.local != self._files.root:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                self._files.write(f"{self._folder}/{path.relative_to(self.folder).as_posix()}", path.read_bytes())
        return str(target)

    def write_shipper_status(self, status: ShipperStatus) -> None:
        """Stores the status of the shipper, for the driver and the `status` command."""
        self._write("shipper.json", status.to_json())

    def shipper_status(self) -> ShipperStatus | None:
        """The status of the shipper; None if none ever ran or the file is damaged."""
        content = self._files.read(f"{self._folder}/shipper.json")
        try:
            return ShipperStatus.from_json(json.loads(content)) if content else None
        except (ValueError, TypeError, KeyError):
            return None

    def _write(self, name: str, content: object) -> None:
        self._files.write(f"{self._folder}/{name}", json.dumps(content, indent=1).encode())


@functools.lru_cache(maxsize=2)
def manifest_content(content: str | bytes) -> tuple[Sweep, Provenance]:
    """Parses a manifest into the sweep and the provenance of its last run.

    The result is cached, because a worker reads the manifest before every trial, and validating ten thousand configs
    takes a second.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: the content is damaged.
    """
    fields: dict[str, Any] = json.loads(content)
    sweep = Sweep(
        fields["name"],
        fields["description"],
        tuple(
            TrialConfig.model_validate_json(json.dumps(trial), context=STORED) for trial in fields["trials"].values()
        ),
        Resources.model_validate(fields["resources"]),
        fields.get("keep_checkpoints", "last"),  # manifests of early versions lack it and expectations
        tuple(Expectation.model_validate(each) for each in fields.get("expect", ())),
    )
    return sweep, Provenance(**fields["provenance"])


def sweep_names(files: FileSystem) -> list[str]:
    """The names of the sweeps that were run in a storage."""
    found = files.list("sweeps")
    return [name for name in found if names.is_sweep_name(name) and _has_manifest(files, name)]


def _has_manifest(files: FileSystem, name: str) -> bool:
    return "manifest.json" in files.list(f"sweeps/{name}")
