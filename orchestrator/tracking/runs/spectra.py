"""Ships the spectra of a trial as an image series, which MLflow shows with a slider over steps.

MLflow's `log_image` gives every image a random name, so an image that is sent twice would be shown twice. The names
here have MLflow's format but depend on the record alone: an image that is sent again replaces itself.
"""

import math
import uuid

from orchestrator.study.record import Record
from orchestrator.tracking.runs import labels
from orchestrator.tracking.runs.spectrum_image import png, preview, spectrum_image
from orchestrator.tracking.runs.stored_trial import StoredTrial, reading
from orchestrator.tracking.runs.tracked_run import TrackedRun

_NODES, _WEIGHTS = "hessian/spectral_density", "hessian/spectral_density_weights"
_NAMESPACE = uuid.UUID("7a3a2f0e-53b5-4b57-9d6c-6f0c2d1c9b11")


def ship_spectra(run: TrackedRun, trial: StoredTrial) -> None:
    """Uploads the images of the shipped records that the tracker lacks, then the tag of the last one.

    Raises:
        DamagedTrialError: if a record cannot be read.
    """
    shown = int(run.tags.get(labels.SPECTRA_RECORD, -1))
    missing = [number for number in trial.numbers if shown < number <= run.shipped_number and _is_due(trial, number)]
    for number in missing:
        with reading(trial.store):
            record = trial.store.read(number).record
        if files := image_files(record, trial.config.trial_id, trial.config.cadence.position(number)):
            for name, content in files.items():
                run.upload(name, content)
            run.add_tags({labels.SPECTRA_RECORD: str(number), labels.LOGGED_IMAGES: "True"})


def image_files(record: Record, trial_id: str, step: int) -> dict[str, bytes]:
    """The image of a record's spectrum and its preview by artifact name; empty if it has no finite spectrum."""
    nodes, weights = _vector(record, _NODES), _vector(record, _WEIGHTS)
    if not nodes or not all(math.isfinite(value) for value in (*nodes, *weights)):
        return {}
    image = spectrum_image(nodes, weights, f"Spectrum of the Hessian at epoch {record.epoch:g}")
    name = uuid.uuid5(_NAMESPACE, f"{trial_id} {record.number}")
    stem = f"images/{labels.SPECTRA}+step+{step}+timestamp+{record.timestamp_ms}+{name}"
    return {f"{stem}.png": png(image), f"{stem}+compressed.webp": preview(image)}


def _vector(record: Record, key: str) -> tuple[float, ...]:
    found = record.raw.get(key, ())
    return found if isinstance(found, tuple) else ()


def _is_due(trial: StoredTrial, number: int) -> bool:
    return any(each.name == labels.SPECTRAL_DENSITY for each in trial.config.measurement.due(number))
