"""One try at a trial: who made it, where, with what, and how it ended."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from orchestrator.store import strict_json
from orchestrator.store.provenance.provenance import Provenance


@dataclass(frozen=True)
class Attempt:
    """One try at a trial. `ended` is None while it runs, and for ever where it was killed."""

    name: str
    started_ms: int
    first_epoch: int
    provenance: Provenance
    environment: dict[str, Any]
    ended: str | None = None
    reason: str = ""
    claim: int = 0
    """The number of its claim on the trial; attempts are in its order, whatever the clocks of their hosts say."""
    node: str = ""
    """Where it ran, as the engine names its nodes; empty where there is but one."""

    def to_bytes(self) -> bytes:
        """As it is stored."""
        return strict_json.to_bytes(asdict(self))

    @classmethod
    def from_bytes(cls, content: bytes) -> "Attempt":
        """The inverse of `to_bytes`; keys of a newer version are passed over.

        Raises:
            ValueError, TypeError, KeyError: where it is none.
        """
        told: dict[str, Any] = json.loads(content)
        known = {field.name for field in fields(cls)}
        provenance = Provenance(**told["provenance"])
        return cls(**{**{key: value for key, value in told.items() if key in known}, "provenance": provenance})
