"""Creates and uploads the artifacts (files) of MLflow runs."""

import json
from collections.abc import Iterable, Iterator

from orchestrator.store.attempt import Attempt
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.files import strict_json
from orchestrator.store.provenance import attachments
from orchestrator.store.provenance.provenance import Provenance
from orchestrator.store.provenance.redaction import redacted
from orchestrator.study.record import Record
from orchestrator.tracking.runs import labels
from orchestrator.tracking.runs.tracked_run import TrackedRun

CURVATURE = "curvature.json"
TRACEBACK = "traceback.txt"
MISSING_QUANTITIES = "missing_quantities.txt"
MANIFEST = "manifest.json"
GALLERY = "gallery.json"
PATCH = "uncommitted.patch"
PACKAGES = "packages.txt"
ATTEMPTS = "attempts.json"
_VERSION_TAGS = (
    labels.ATTEMPTS_SHOWN,
    labels.PROVENANCE_SHOWN,
    labels.CURVATURE_RECORD,
    labels.SPECTRA_RECORD,
    labels.FAILED_ATTEMPT,
    labels.GALLERY_DIGEST,
    labels.MANIFEST_DIGEST,
)


def forget(run: TrackedRun) -> None:
    """Removes the tags that record which artifacts a run has, so that they are uploaded again."""
    measured = [tag for tag in run.tags if tag.startswith(labels.MEASURED_AGAIN)]
    run.remove_tags(*_VERSION_TAGS, *measured)


def curvature_file(label: str) -> str:
    """Returns the name of the artifact that holds the raw samples of a remeasurement."""
    return f"curvature-{label}.json"


def curvature_json(records: Iterable[Record]) -> str:
    """Returns the raw samples behind the curves as JSON, one object per record.

    An object looks like ``{"number": 3, "epoch": 3, "lanczos/history": [...]}``. JSON does not support non-finite
    numbers, which are written as the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
    """
    rows = [{"number": record.number, "epoch": record.epoch, **record.vectors()} for record in records]
    return "[\n" + ",\n".join(map(strict_json.to_line, rows)) + "\n]\n"


def attempts_json(attempts: Iterable[Attempt]) -> str:
    """Returns a trial's attempts as JSON: when and where each one ran, and how it ended."""
    rows = [
        {
            "attempt": attempt.name,
            "started_ms": attempt.started_ms,
            "first_epoch": attempt.first_record,
            "ended": attempt.ended,
            "reason": redacted(attempt.reason),
            **{key: redacted(str(value)) for key, value in attempt.environment.items() if value is not None},
            **{key: getattr(attempt.provenance, key) for key in ("host", "commit", "version", "python", "processor")},
            "command": redacted(attempt.provenance.command),
        }
        for attempt in attempts
    ]
    return json.dumps(rows, indent=1)


def upload_attempts(run: TrackedRun, attempts: tuple[Attempt, ...]) -> dict[str, str]:
    """Uploads a trial's attempts if there was more than one. Returns the tags to set afterwards."""
    if len(attempts) < 2:
        return {}
    version = f"{attempts[-1].name} {attempts[-1].ended or 'open'}"
    tags = run.upload_version(labels.ATTEMPTS_SHOWN, version, lambda: {ATTEMPTS: attempts_json(attempts)})
    return {labels.ATTEMPTS: str(len(attempts)), **tags}


def upload_provenance(
    run: TrackedRun, files: FileSystem, provenance: Provenance, sweep_provenance: Provenance | None = None
) -> dict[str, str]:
    """Uploads the patch, packages and user code that a provenance refers to. Returns the tags to set afterwards.

    Args:
        run: MLflow run of the sweep or of a trial.
        files: file system of the storage.
        provenance: provenance of this run.
        sweep_provenance: provenance of the sweep. Its files are in the sweep's run and are not uploaded again.
    """
    shown = {digest for _, _, digest in _attachments(sweep_provenance)} if sweep_provenance else set()
    wanted = [each for each in _attachments(provenance) if each[2] not in shown]

    def contents() -> dict[str, str]:
        found = {file: attachments.read(files, kind, digest) for file, kind, digest in wanted}
        return {file: content for file, content in found.items() if content is not None}

    tags = run.upload_version(labels.PROVENANCE_SHOWN, " ".join(digest[:12] for _, _, digest in wanted), contents)
    return tags if wanted or labels.PROVENANCE_SHOWN in run.tags else {}


def _attachments(provenance: Provenance) -> Iterator[tuple[str, str, str]]:
    """Yields (artifact name, kind, digest) of each attachment."""
    if provenance.diff_digest:
        yield PATCH, attachments.DIFF, provenance.diff_digest
    if provenance.packages_digest:
        yield PACKAGES, attachments.PACKAGES, provenance.packages_digest
    for module, digest in provenance.own_code.items():
        yield f"own_code/{module.replace('.', '/')}.py", attachments.OWN_CODE, digest
