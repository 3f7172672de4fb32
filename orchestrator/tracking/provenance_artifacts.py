"""What a run shows of where its numbers come from beside its tags: patch, packages, code of one's own, attempts."""

from collections.abc import Iterator

from orchestrator.store.attempt import Attempt
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.provenance import attachments
from orchestrator.store.provenance.provenance import Provenance
from orchestrator.tracking import artifacts, labels
from orchestrator.tracking.tracked_run import TrackedRun


def show_provenance(
    run: TrackedRun, files: FileSystem, provenance: Provenance, shown_elsewhere: Provenance | None
) -> None:
    """Uploads what the provenance refers to, once; a trial's only where the sweep's run shows another.

    Args:
        run: of the sweep or of a trial.
        files: of the storage.
        provenance: what made the run.
        shown_elsewhere: what the sweep's run shows.
    """
    wanted = [
        (file, kind, digest)
        for file, kind, digest in _wanted(provenance)
        if shown_elsewhere is None or digest not in {each[2] for each in _wanted(shown_elsewhere)}
    ]
    summary = " ".join(digest[:12] for _, _, digest in wanted)
    if summary == run.tags.get(labels.PROVENANCE_SHOWN, ""):
        return
    for file, kind, digest in wanted:
        content = attachments.read(files, kind, digest)
        if content is not None:
            run.upload(file, content)
    run.add_tags({labels.PROVENANCE_SHOWN: summary})


def show_attempts(run: TrackedRun, attempts: tuple[Attempt, ...]) -> None:
    """Says how often a trial was tried, and from the second time on each with its reason."""
    if len(attempts) < 2:
        return
    summary = f"{attempts[-1].name} {attempts[-1].ended or 'open'}"
    if run.tags.get(labels.ATTEMPTS_SHOWN) != summary:
        run.upload(artifacts.ATTEMPTS, artifacts.attempts_json(attempts))
        run.add_tags({labels.ATTEMPTS: str(len(attempts)), labels.ATTEMPTS_SHOWN: summary})


def _wanted(provenance: Provenance) -> Iterator[tuple[str, str, str]]:
    if provenance.diff_digest:
        yield artifacts.PATCH, attachments.DIFF, provenance.diff_digest
    if provenance.packages_digest:
        yield artifacts.PACKAGES, attachments.PACKAGES, provenance.packages_digest
    for module, digest in provenance.own_code.items():
        yield artifacts.own_code_file(module), attachments.OWN_CODE, digest
