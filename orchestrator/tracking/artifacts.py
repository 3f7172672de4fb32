"""The files that go with a run."""

import json
from collections.abc import Iterable

from orchestrator.store import strict_json
from orchestrator.store.attempt import Attempt
from orchestrator.store.provenance.redaction import redacted
from orchestrator.study.record import EpochRecord

CURVATURE = "curvature.json"
TRACEBACK = "traceback.txt"
MANIFEST = "manifest.json"
GALLERY = "gallery.json"
PATCH = "uncommitted.patch"
PACKAGES = "packages.txt"
ATTEMPTS = "attempts.json"


def own_code_file(module: str) -> str:
    """Where the code of a network of one's own lies."""
    return f"own_code/{module.replace('.', '/')}.py"


def curvature_file(label: str) -> str:
    """Where the raw samples of what was measured again lie."""
    return f"curvature-{label}.json"


def curvature_json(records: Iterable[EpochRecord]) -> str:
    """The raw samples behind the curves, one object an epoch: ``{"epoch": 3, "lanczos/history": [...]}``.

    Where an estimate is no finite number, a text says so, which JSON has no number for: ``"NaN"``, ``"-Infinity"``.
    """
    rows = [{"epoch": record.epoch, **record.vectors()} for record in records]
    return "[\n" + ",\n".join(map(strict_json.to_line, rows)) + "\n]\n"


def attempts_json(attempts: Iterable[Attempt]) -> str:
    """Who tried a trial, when, where, and how it ended."""
    rows = [
        {
            "attempt": attempt.name,
            "started_ms": attempt.started_ms,
            "first_epoch": attempt.first_epoch,
            "ended": attempt.ended,
            "reason": redacted(attempt.reason),
            **{key: redacted(str(value)) for key, value in attempt.environment.items() if value is not None},
            **{key: getattr(attempt.provenance, key) for key in ("host", "commit", "version", "python", "processor")},
            "command": redacted(attempt.provenance.command),
        }
        for attempt in attempts
    ]
    return json.dumps(rows, indent=1)
