"""Params and tags of runs and experiments. Pure functions: they access neither MLflow nor the disk."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from orchestrator.counted import counted
from orchestrator.store.provenance.provenance import Provenance
from orchestrator.store.provenance.redaction import redacted
from orchestrator.study.config import TrialConfig
from orchestrator.study.parts.fields import counts_for_identity
from orchestrator.study.record import Record
from orchestrator.study.sweep import Sweep
from orchestrator.tracking.runs.run_names import description, trial_description

TRIAL_ID = "trial_id"
KIND = "kind"
OUTCOME = "outcome"
FAILURE = "failure"
EXPECTATIONS = "expectations"  # the number of expectations by outcome, from the last report
MISSING_QUANTITIES = "missing_quantities"  # the user's own quantities that raised
DATA_DIGEST = "data_digest"
UNCOMMITTED = "uncommitted"  # first digits of the digest of the uncommitted changes; the patch is an artifact
ATTEMPTS = "attempts"  # number of attempts if more than one; the artifact attempts.json lists them
ATTEMPTS_SHOWN = "attempts_shown"  # the last attempt in attempts.json, and how it ended
PROVENANCE_SHOWN = "provenance_shown"  # digests of the uploaded patch, packages and user code
DAMAGE = "damage"  # why the trial cannot be read from the storage
SHIPPED_RECORD = "shipped_epoch"  # the cursor: number of the last record in the tracker; an empty tracker has none
STEPS_PER_EPOCH = "steps_per_epoch"  # optimizer steps; converts between the steps of points and epochs
CURVATURE_RECORD = "curvature_epoch"  # number of the last record in the artifact curvature.json
SPECTRA_RECORD = "spectra_epoch"  # number of the last record whose spectrum is in the image series
SPECTRA = "spectra"  # the name of the image series
SPECTRAL_DENSITY = "spectral_density"  # the quantity that the images show
LOGGED_IMAGES = "mlflow.loggedImages"  # makes MLflow show image series
MODELS_SHOWN = "models_shown"  # the kept checkpoints that are logged models
FAILED_ATTEMPT = "failed_attempt"  # the attempt in traceback.txt
MANIFEST_DIGEST = "manifest_digest"  # digest of the artifact manifest.json
GALLERY_DIGEST = "gallery_digest"  # digest of the images in the artifact gallery.json
STORAGE_ID = "storage_id"  # id of the storage that the run was shipped from
ORIGIN = "origin"  # when record 0 ended, in Unix ms; differs if the same trial was trained again from scratch
MEASURED_AGAIN = "measured_again."  # prefix of the tags that list the shipped records of a remeasurement
NOTE = "mlflow.note.content"
_NAME_LIMIT = 250
_VALUE_LIMIT = 5000
_ESCAPED = re.compile(r"[^\w.\- ]|-(?=x)")


def trial_params(config: TrialConfig) -> dict[str, str]:
    """Returns the fields that identify the trial, by dotted name.

    Names are those of `param_name`. MLflow does not allow changing a param. Fields that may change within one trial
    (`epochs`, `steps`, the path of the data) are tags instead.
    """
    changeable = set(_changeable(config))
    return {param_name(key): _text(value) for key, value in config.flat().items() if key not in changeable}


def param_name(key: str) -> str:
    """Returns the name of a param in MLflow, which differs from the key only if MLflow does not accept the key.

    A character that MLflow refuses is escaped by its code point: ``?`` becomes ``-x3F-``. ``:`` is escaped because
    MLflow refuses it on Windows, ``/`` because MLflow may treat it as a path, and ``-`` before ``x`` so that different
    keys have different names. A name of more than 250 characters is cut and ends in ``-xx`` and a digest.
    """
    name = _ESCAPED.sub(lambda found: f"-x{ord(found[0]):X}-", key)
    if len(name) <= _NAME_LIMIT:
        return name
    end = f"-xx{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name[: _NAME_LIMIT - len(end)] + end


def trial_tags(
    sweep: Sweep, config: TrialConfig, provenance: Provenance, environment: Mapping[str, Any]
) -> dict[str, str]:
    """Returns the tags that identify the trial, and the code and machine that ran it last."""
    flat = config.flat()
    return {
        **{key: _text(value) for key, value in environment.items() if value is not None},
        TRIAL_ID: config.trial_id,
        KIND: "trial",
        "sweep": sweep.name,
        NOTE: trial_description(sweep, config)[:_VALUE_LIMIT],
        **{key: _text(flat[key]) for key in _changeable(config) if flat[key] is not None},
        **_source(provenance),
    }


def steps_per_epoch_tag(records: Iterable[Record]) -> dict[str, str]:
    """Returns the tag with the optimizer steps of an epoch; none if no record determines it."""
    steps = next((steps for record in records if (steps := record.steps_per_epoch)), None)
    return {STEPS_PER_EPOCH: str(steps)} if steps else {}


def sweep_tags(sweep: Sweep, provenance: Provenance) -> dict[str, str]:
    """Returns the tags that identify the sweep, and the code and machine that ran it last."""
    trials = str(len(sweep.trials))
    note = description(sweep)[:_VALUE_LIMIT]
    return {KIND: "sweep", "sweep": sweep.name, "trials": trials, NOTE: note, **_source(provenance)}


def experiment_tags(sweep: Sweep) -> dict[str, str]:
    """Returns the description, and the tag that makes MLflow show the experiment as training rather than GenAI."""
    return {"mlflow.experimentKind": "custom_model_development", NOTE: description(sweep)[:_VALUE_LIMIT]}


def measured_tag(numbers: Sequence[int]) -> str:
    """Returns a tag value that identifies a set of remeasured records: ``4 checkpoints (3f2a9c81)``."""
    digest = hashlib.sha256(",".join(map(str, numbers)).encode()).hexdigest()[:8]
    return f"{counted(len(numbers), 'checkpoint')} ({digest})"


def _source(provenance: Provenance) -> dict[str, str]:
    tags = {
        "mlflow.source.name": redacted(provenance.command)[:_VALUE_LIMIT],
        "mlflow.source.type": "LOCAL",
        "mlflow.user": provenance.user,
        "host": provenance.host,
        "processor": provenance.processor,
        "python": provenance.python,
        "platform": provenance.platform,
        "mlflow.source.git.commit": provenance.commit,
        UNCOMMITTED: _short(provenance.diff_digest),
        "packages_digest": _short(provenance.packages_digest),
        "lock_digest": _short(provenance.lock_digest),
        **{f"own_code.{module}": _short(digest) for module, digest in provenance.own_code.items()},
        **{f"accepted_code.{module}": f"was {digest[:12]}" for module, digest in provenance.accepted_code.items()},
    }
    return {key: value for key, value in tags.items() if value}


def _short(digest: str | None) -> str | None:
    return digest[:12] if digest else None


def _changeable(config: BaseModel, prefix: str = "") -> Iterator[str]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _changeable(value, f"{prefix}{name}.")
        elif not counts_for_identity(field):
            yield f"{prefix}{name}"


def _text(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return text[:_VALUE_LIMIT]
