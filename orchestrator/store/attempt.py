"""An attempt at a trial: its provenance, its environment and its outcome."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from orchestrator.store.files import strict_json
from orchestrator.store.provenance.provenance import Provenance

_KEYS = {"first_record": "first_epoch"}
"""Keys in files that differ from the names of fields."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a trial. `ended` is None while it runs, and stays None if it was killed."""

    name: str
    started_ms: int
    first_record: int
    """The number of the first record that was missing when the attempt began. Its key in files is ``first_epoch``."""
    provenance: Provenance
    environment: dict[str, Any]
    ended: str | None = None
    reason: str = ""
    claim: int = 0
    """The number of the attempt's claim on the trial. Attempts are sorted by it because the clocks of hosts differ."""
    node: str = ""
    """The name that the engine gives the node; empty if there is only one node."""
    data: dict[str, Any] = field(default_factory=dict)
    """Sizes, shapes and types of the data; empty before it is loaded, and in attempts of earlier versions."""

    def to_bytes(self) -> bytes:
        """The attempt as JSON."""
        content = {_KEYS.get(name, name): value for name, value in asdict(self).items() if name != "data" or value}
        return strict_json.to_bytes({**content, "provenance": self.provenance.to_json()})

    @classmethod
    def from_bytes(cls, content: bytes) -> "Attempt":
        """Parses the content of an attempt file. Unknown keys, written by newer versions, are ignored.

        Raises:
            ValueError, TypeError, KeyError: the content is damaged.
        """
        stored: dict[str, Any] = json.loads(content)
        known = {f.name: stored[key] for f in fields(cls) if (key := _KEYS.get(f.name, f.name)) in stored}
        return cls(**{**known, "provenance": Provenance(**stored["provenance"])})
