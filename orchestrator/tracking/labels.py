"""What a run says of itself beside its curves: name, params and tags. Pure: no MLflow, no disk."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from orchestrator.store.provenance.provenance import Provenance
from orchestrator.store.provenance.redaction import redacted
from orchestrator.study.config import TrialConfig
from orchestrator.study.fields import counts_for_identity
from orchestrator.study.sweep import Sweep

TRIAL_ID = "trial_id"
KIND = "kind"
OUTCOME = "outcome"
FAILURE = "failure"
DATA_DIGEST = "data_digest"
UNCOMMITTED = "uncommitted"
"""Beginning of the digest of what differed from the commit; the patch is an artifact."""
ATTEMPTS = "attempts"
"""How often the trial was tried; from the second on, each with its reason in the artifact attempts.json."""
ATTEMPTS_SHOWN = "attempts_shown"
"""The last attempt in that artifact, and how it ended."""
PROVENANCE_SHOWN = "provenance_shown"
"""What of patch and code of one's own is an artifact of the run already."""
DAMAGE = "damage"
"""What cannot be read of the trial in the storage, while that is so."""

SHIPPED_EPOCH = "shipped_epoch"
"""The cursor: the last epoch whose metrics the tracker has. It lives there, so an empty tracker is filled again."""
CURVATURE_EPOCH = "curvature_epoch"
"""The last epoch in the artifact curvature.json."""
FAILED_ATTEMPT = "failed_attempt"
"""The attempt whose traceback is in traceback.txt."""
MANIFEST_DIGEST = "manifest_digest"
"""Of the manifest in the artifact manifest.json."""
GALLERY_DIGEST = "gallery_digest"
"""Of the images in the artifact gallery.json."""
STORAGE_ID = "storage_id"
"""Which storage the run shows."""
ORIGIN = "origin"
"""When the store's epoch 0 ended, in milliseconds. Trials trained anew are told from what they were by it."""

MEASURED_AGAIN = "measured_again."
"""Beginning of the tags that say what the tracker has of the measurements under a label."""

NOTE = "mlflow.note.content"
_NAME_LIMIT = 250
_VALUE_LIMIT = 5000


def trial_name(sweep: Sweep, config: TrialConfig) -> str:
    """What tells the trial from its siblings, and its id."""
    label = sweep.label(config)[: _NAME_LIMIT - len(config.trial_id) - 1]
    return f"{label} {config.trial_id}".strip()


def trial_params(config: TrialConfig) -> dict[str, str]:
    """The fields that make the trial what it is, by dotted name.

    MLflow refuses to change a param. A field that may change while the trial stays the same (`epochs`, the path of
    the data) is a tag therefore.
    """
    changeable = set(_changeable(config))
    return {key: _text(value) for key, value in config.flat().items() if key not in changeable}


def trial_tags(
    sweep: Sweep, config: TrialConfig, provenance: Provenance, environment: Mapping[str, Any]
) -> dict[str, str]:
    """Who the trial is, and what ran it last."""
    flat = config.flat()
    note = (
        f"Trial {config.trial_id} of sweep {sweep.name}. Alone: hessian-dynamics trial {sweep.name} {config.trial_id}"
    )
    return {
        **{key: _text(value) for key, value in environment.items() if value is not None},
        TRIAL_ID: config.trial_id,
        KIND: "trial",
        "sweep": sweep.name,
        NOTE: note,
        **{key: _text(flat[key]) for key in _changeable(config)},
        **_source(provenance),
    }


def sweep_tags(sweep: Sweep, provenance: Provenance) -> dict[str, str]:
    """Who the sweep is, and what ran it last."""
    return {
        KIND: "sweep",
        "sweep": sweep.name,
        "trials": str(len(sweep.trials)),
        **_description(sweep),
        **_source(provenance),
    }


def experiment_tags(sweep: Sweep) -> dict[str, str]:
    """What makes MLflow open the experiment as training rather than GenAI, and its description."""
    return {"mlflow.experimentKind": "custom_model_development", **_description(sweep)}


def measured_tag(epochs: Sequence[int]) -> str:
    """Which epochs were measured again: ``4 checkpoints (3f2a9c81)``; other epochs make another text."""
    digest = hashlib.sha256(",".join(map(str, epochs)).encode()).hexdigest()[:8]
    return f"{len(epochs)} checkpoint{'' if len(epochs) == 1 else 's'} ({digest})"


def _description(sweep: Sweep) -> dict[str, str]:
    return {NOTE: sweep.description[:_VALUE_LIMIT]} if sweep.description else {}


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
