"""Curvature remeasured from the checkpoints of a trial. It is stored separately from the records.

- trials/<trial_id>/measurements/<label>/00003.json    record 3, one atomic file; the label names the measurement
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import DamagedError
from orchestrator.store.files import strict_json
from orchestrator.store.files.numbered_files import NumberedFiles
from orchestrator.store.provenance.provenance import Provenance, write_attachments
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.quantities.quantity_config import STORED
from orchestrator.study.record import Record


@dataclass(frozen=True)
class Remeasurement:
    """The curvature measured from the checkpoint of one record."""

    record: Record
    """Contains only curvature. Its timestamp is the time of the remeasurement."""
    measurement: MeasurementConfig
    checkpoint_digest: str
    data_digest: str
    provenance: Provenance
    environment: dict[str, Any]

    def to_bytes(self) -> bytes:
        """The remeasurement as JSON."""
        content = {
            **vars(self),
            "record": self.record.to_json(),
            "measurement": self.measurement.model_dump(mode="json"),
            "provenance": self.provenance.to_json(),
        }
        return strict_json.to_bytes(content)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Remeasurement":
        """Parses the content of a remeasurement file.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: the content is damaged.
        """
        fields = json.loads(content)
        parsed = {
            "record": Record.from_json(strict_json.restore_numbers(fields["record"])),
            "measurement": MeasurementConfig.model_validate(fields["measurement"], context=STORED),
            "provenance": Provenance(**fields["provenance"]),
        }
        return cls(**{**fields, **parsed})


class Remeasurements:
    """All remeasurements of one trial."""

    def __init__(self, files: FileSystem, folder: str) -> None:
        self._files = files
        self._folder = folder

    def labels(self) -> list[str]:
        """The sorted labels that have at least one remeasured record."""
        return [label for label in self._files.list(self._folder) if self.numbers(label)]

    def numbers(self, label: str) -> list[int]:
        """The numbers of the records remeasured under a label, in order."""
        return self._numbered_files(label).numbers()

    def read(self, label: str, number: int) -> Remeasurement:
        """The remeasurement of a record.

        Raises:
            DamagedError: the file is damaged.
        """
        files = self._numbered_files(label)
        content = files.read(number)
        assert content is not None, f"record {number} is not measured as {label}"
        try:
            return Remeasurement.from_bytes(content)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise DamagedError(f"{files.path(number)} is damaged; delete it, and measure again") from None

    def records(self, label: str, last: int) -> Iterator[Record]:
        """The records remeasured under a label up to a number, in order."""
        return (self.read(label, number).record for number in self.numbers(label) if number <= last)

    def add(self, label: str, measured: Remeasurement) -> bool:
        """Stores a remeasurement. If the record already has one with this label, changes nothing and returns False."""
        write_attachments(self._files, measured.provenance)
        return self._numbered_files(label).create(measured.record.number, measured.to_bytes())

    def _numbered_files(self, label: str) -> NumberedFiles:
        return NumberedFiles(self._files, f"{self._folder}/{label}", digits=5)
