"""The commit of a record. The record exists once this file exists, and a digest shows whether the file is intact."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from orchestrator.store.files import strict_json
from orchestrator.study.record import Record

_CHECKPOINT = re.compile(r"[0-9]{5,}-[A-Za-z0-9_.-]+")
_DIGEST = b',\n "digest": "'
_DIGEST_LENGTH = len(_DIGEST) + 64 + len(b'"\n}')


@dataclass(frozen=True)
class Commit:
    """A committed record, and the digest of its checkpoint."""

    record: Record
    data_digest: str
    attempt: str
    checkpoint: str
    checkpoint_digest: str
    keep: bool = False
    """Whether the checkpoint is kept after later records are committed."""
    claim: int = 0
    """Fencing token: the number of the claim under which the record was committed; 0 in commits that predate claims."""
    previous_ms: int | None = None
    """End time of the previous record (Unix time in ms), copied here in case the previous commit is damaged."""

    def to_bytes(self) -> bytes:
        """The commit as JSON whose last key is the digest of all other keys."""
        content = strict_json.to_bytes({**vars(self), "record": self.record.to_json()})
        return content.removesuffix(b"\n}") + _DIGEST + digest(content).encode() + b'"\n}'

    @classmethod
    def from_bytes(cls, content: bytes, number: int) -> "Commit":
        """Parses the content of a commit file.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: the content is damaged, or belongs to another record.
        """
        fields: dict[str, Any] = json.loads(content)
        expected = fields.pop("digest", None)  # commits of early versions have none
        if expected is not None and expected != _digest_of_rest(content, fields):
            raise ValueError("the digest does not match the content")
        if not _CHECKPOINT.fullmatch(fields["checkpoint"]):
            raise ValueError("the name of the checkpoint is invalid")
        if strict_json.may_have_texts(content):
            fields["record"] = strict_json.restore_numbers(fields["record"])
        commit = cls(**{**fields, "record": Record.from_json(fields["record"])})
        if commit.record.number != number:
            raise ValueError("the commit belongs to another record")
        return commit


def _digest_of_rest(content: bytes, fields: dict[str, Any]) -> str:
    """The digest of all fields except the digest itself.

    If the digest comes last, as `to_bytes` writes it, it is cut off the content. Encoding the fields again, which is
    the fallback, takes ten times as long as the rest of the parsing.
    """
    if content[-_DIGEST_LENGTH:].startswith(_DIGEST):
        return digest(content[:-_DIGEST_LENGTH] + b"\n}")
    return digest(strict_json.to_bytes(fields))


def digest(content: bytes) -> str:
    """The SHA-256 digest of the content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
