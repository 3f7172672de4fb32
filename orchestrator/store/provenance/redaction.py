"""Removal of credentials from texts before they are stored or shown."""

import os
import re

_NAMES = re.compile(r"(?i)(?:^|_)(?:password|passwd|secret|token|credentials?|(?:api|access|account|private)_?key)")
_NO_SECRET = re.compile(r"(?i)_(?:path|file|dir|uri|url|endpoint|host|mode|region|seconds)$")
_SHORTEST = 8
"""Only values of at least this length are redacted. A shorter value may occur in a text by chance."""
_IN_CODE = (
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\b(?:gh[pousr]_|glpat-|hf_|sk-)[A-Za-z0-9_-]{16,}"),
    re.compile(
        r"(?i)(?<=[\w-])?\b[\w-]*(?:password|passwd|secret|token|api_?key|access_?key)[\w-]*[\"']?\s*[:=]\s*"
        r"([\"'][^\"'\n]{4,}[\"']|(?<![\"'])[A-Za-z0-9/+_=.~-]{16,})"
    ),
)


def redacted(text: str) -> str:
    """Removes the user names and passwords of URIs, and the values of secret environment variables, from a text."""
    for value in _secret_values():
        text = text.replace(value, "***")
    text = re.sub(r"(://)[^/\s'\"]*@", r"\1***@", text)
    return re.sub(r"((?:password|token|secret)=)[^&\s'\"]+", r"\1***", text, flags=re.IGNORECASE)


def redacted_code(text: str) -> str:
    """Removes everything that looks like a credential from source code or a patch, and applies `redacted`."""
    for pattern in _IN_CODE:
        text = pattern.sub(lambda found: found[0].replace(found[found.lastindex or 0], "***"), text)
    return redacted(text)


def failure_line(traceback: str) -> str:
    """The last line of a traceback, which contains the error type and message, without credentials."""
    lines = redacted(traceback).strip().splitlines()
    return lines[-1][:500] if lines else "unknown"


def _secret_values() -> list[str]:
    """The values of environment variables whose names suggest a secret, longest first."""
    found = {
        value
        for name, value in os.environ.items()
        if _NAMES.search(name) and not _NO_SECRET.search(name) and len(value) >= _SHORTEST
    }
    return sorted(found, key=len, reverse=True)
