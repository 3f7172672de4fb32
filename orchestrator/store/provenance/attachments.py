"""What belongs to provenance and is too long for it: a patch, a list of packages, a file of code.

Kept in this process when it is captured, written when the attempt or the sweep is that refers to it:

- <storage>/provenance/<kind>-<digest>    once, whatever refers to it
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
    """Keeps a text for `write`. Its digest, that of the whole text before anything is struck out or cut off."""
    if text is None:
        return None
    digest = digest or hashlib.sha256(text.encode()).hexdigest()
    name = f"{kind}-{digest}"
    if name not in _kept:
        shown = redacted_code(text)
        if len(shown) > LARGEST_CHARACTERS:
            rest = len(shown) - LARGEST_CHARACTERS
            shown = (
                f"{shown[:LARGEST_CHARACTERS]}\n[cut off here: {rest} more characters; sha256 of the whole: {digest}]\n"
            )
        _kept[name] = shown
    return digest


def write(files: FileSystem, kind: str, digest: str | None) -> None:
    """Stores what was kept under a digest, where it is not stored already; nothing where nothing was kept."""
    name = f"{kind}-{digest}"
    if digest and name in _kept and name not in files.list(_FOLDER):
        files.create(f"{_FOLDER}/{name}", _kept[name].encode())


def read(files: FileSystem, kind: str, digest: str | None) -> str | None:
    """What is stored under a digest; None where nothing is."""
    content = files.read(f"{_FOLDER}/{kind}-{digest}") if digest else None
    return None if content is None else content.decode()
