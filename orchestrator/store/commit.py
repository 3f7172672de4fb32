"""An epoch that exists, as one object that tells by itself whether a bit of it has changed since."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from orchestrator.store import strict_json
from orchestrator.study.record import EpochRecord

_CHECKPOINT = re.compile(r"[0-9]{5,}-[A-Za-z0-9_.-]+")
_SEAL = b',\n "digest": "'
_SEAL_LENGTH = len(_SEAL) + 64 + len(b'"\n}')


@dataclass(frozen=True)
class Commit:
    """An epoch that exists."""

    record: EpochRecord
    data_digest: str
    attempt: str
    checkpoint: str
    checkpoint_digest: str
    keep: bool = False
    """Whether its checkpoint stays when the trial has gone on."""
    claim: int = 0
    """The number of the claim under which it was committed: the fencing token. 0: of before there were claims."""
    previous_ms: int | None = None
    """When the epoch before ended, Unix time in ms: should its own file be damaged, it is told here."""

    def to_bytes(self) -> bytes:
        """As it is stored."""
        content = strict_json.to_bytes({**vars(self), "record": self.record.to_json()})
        return content.removesuffix(b"\n}") + _SEAL + digest(content).encode() + b'"\n}'

    @classmethod
    def from_bytes(cls, content: bytes, epoch: int) -> "Commit":
        """The inverse of `sealed`, of what should be the commit of an epoch.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: where it is not, whatever else it is.
        """
        told: dict[str, Any] = json.loads(content)
        seal = told.pop("digest", None)  # none: of before commits were sealed
        if seal is not None and seal != _digest_of_rest(content, told):
            raise ValueError("it is not what was written")
        if not _CHECKPOINT.fullmatch(told["checkpoint"]):
            raise ValueError("it names no checkpoint")
        record = strict_json.restore_numbers(told["record"]) if strict_json.may_have_texts(content) else told["record"]
        commit = cls(**{**told, "record": EpochRecord.from_json(record)})
        if commit.record.epoch != epoch:
            raise ValueError("it is another epoch's")
        return commit


def _digest_of_rest(content: bytes, told: dict[str, Any]) -> str:
    """The digest of all but the seal, which stands last where nobody has written the file anew.

    To encode it again instead takes ten times as long as all else.
    """
    as_written = content[-_SEAL_LENGTH:].startswith(_SEAL)
    return digest(content[:-_SEAL_LENGTH] + b"\n}" if as_written else strict_json.to_bytes(told))


def digest(content: bytes) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
