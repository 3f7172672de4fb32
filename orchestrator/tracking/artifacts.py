"""The files that go with a run."""

import json
from collections.abc import Iterable

from orchestrator.study.record import EpochRecord

CURVATURE = "curvature.json"
TRACEBACK = "traceback.txt"
MANIFEST = "manifest.json"


def curvature_file(label: str) -> str:
    """Where the raw samples of what was measured again lie."""
    return f"curvature-{label}.json"


def curvature_json(records: Iterable[EpochRecord]) -> str:
    """The raw samples behind the curves, one object an epoch: ``{"epoch": 3, "lanczos/history": [...]}``."""
    rows = [{"epoch": record.epoch, **record.vectors()} for record in records]
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
