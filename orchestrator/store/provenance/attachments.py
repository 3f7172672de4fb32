"""Attachments of the provenance, texts that are too long for a field: a patch, a list of packages, a source file.

They are kept in memory when they are captured, and stored with the first attempt or sweep that refers to them:

- <storage>/provenance/<kind>-<digest>    stored once, even if several attempts and sweeps refer to it
"""

import hashlib

from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.provenance.redaction import redacted_code

DIFF = "diff"
PACKAGES = "packages"
OWN_CODE = "code"
LARGEST_CHARACTERS = 256 * 1024
_FOLDER = "provenance"

_kept: dict[str, str] = {}


def keep(kind: str, text: str | None, digest: str | None = None) -> str | None:
    """Redacts, truncates and keeps a text for `write`. Returns the digest of the original text, or None for None."""
    if text is None:
        return None
    digest = digest or hashlib.sha256(text.encode()).hexdigest()
    name = f"{kind}-{digest}"
    if name not in _kept:
        shown = redacted_code(text)
        rest = len(shown) - LARGEST_CHARACTERS
        note = f"\n[truncated: {rest} more characters; sha256 of the whole: {digest}]\n" if rest > 0 else ""
        _kept[name] = shown[:LARGEST_CHARACTERS] + note
    return digest


def write(files: FileSystem, kind: str, digest: str | None) -> None:
    """Stores the text kept under a digest, unless it is stored already. Does nothing if no text was kept."""
    name = f"{kind}-{digest}"
    if digest and name in _kept and name not in files.list(_FOLDER):
        files.create(f"{_FOLDER}/{name}", _kept[name].encode())


def read(files: FileSystem, kind: str, digest: str | None) -> str | None:
    """The text stored under a digest; None if there is none."""
    content = files.read(f"{_FOLDER}/{kind}-{digest}") if digest else None
    return None if content is None else content.decode()
