"""Curvature measured again, from checkpoints: further keys of a trial, beside its records.

- trials/<trial_id>/measurements/<label>/00003.json    of epoch 3, one atomic object; the label says how it was measured
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.store import strict_json
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import DamagedError
from orchestrator.store.provenance.provenance import Provenance
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.record import EpochRecord


@dataclass(frozen=True)
class Remeasurement:
    """What an epoch's checkpoint gave when it was measured again."""

    record: EpochRecord
    """Nothing but curvature is filled in; its timestamp says when it was measured."""
    measurement: MeasurementConfig
    checkpoint_digest: str
    data_digest: str
    provenance: Provenance
    environment: dict[str, Any]


class Remeasurements:
    """What was measured again of one trial."""

    def __init__(self, files: FileSystem, folder: str) -> None:
        self._files = files
        self._folder = folder

    def labels(self) -> list[str]:
        """The ways in which anything was measured again, sorted."""
        return [label for label in self._files.list(self._folder) if self.epochs(label)]

    def epochs(self, label: str) -> list[int]:
        """The epochs that were measured in this way, in order."""
        found = (re.fullmatch(r"([0-9]{5,})\.json", name) for name in self._files.list(f"{self._folder}/{label}"))
        return sorted(int(match[1]) for match in found if match)

    def read(self, label: str, epoch: int) -> Remeasurement:
        """What an epoch gave.

        Raises:
            DamagedError: where the medium has damaged it.
        """
        name = self._file(label, epoch)
        content = self._files.read(name)
        assert content is not None, f"epoch {epoch} is not measured as {label}"
        try:
            fields = json.loads(content)
            return Remeasurement(
                **{
                    **fields,
                    "record": EpochRecord.from_json(strict_json.restore_numbers(fields["record"])),
                    "measurement": MeasurementConfig.model_validate(fields["measurement"]),
                    "provenance": Provenance(**fields["provenance"]),
                }
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            path = self._files.root / name
            raise DamagedError(f"{path} is damaged; delete it, and measure again") from None

    def records(self, label: str, last_epoch: int) -> Iterator[EpochRecord]:
        """What was measured in this way up to an epoch, in order."""
        return (self.read(label, epoch).record for epoch in self.epochs(label) if epoch <= last_epoch)

    def add(self, label: str, measured: Remeasurement) -> bool:
        """Makes a measurement exist. False where it exists already, and stays as it is."""
        content = {
            "record": measured.record.to_json(),
            "measurement": measured.measurement.model_dump(mode="json"),
            "checkpoint_digest": measured.checkpoint_digest,
            "data_digest": measured.data_digest,
            "provenance": asdict(measured.provenance),
            "environment": measured.environment,
        }
        return self._files.create(self._file(label, measured.record.epoch), strict_json.to_bytes(content))

    def _file(self, label: str, epoch: int) -> str:
        return f"{self._folder}/{label}/{epoch:05d}.json"
