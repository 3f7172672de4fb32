"""What is known after an epoch: every quantity's key, unit, label and meaning stand here and nowhere else.

MLflow keys, frame columns and axis labels all come from the fields of `EpochRecord`. A new measured quantity touches
this file and ``training/measurement.py``, nothing else.
"""

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Quantity:
    """One measured quantity: its MLflow key, unit, axis label and meaning."""

    key: str
    unit: str
    label: str
    meaning: str

    @property
    def column(self) -> str:
        """The name in frames: ``hessian/trace`` is ``hessian_trace``."""
        return self.key.replace("/", "_")

    @property
    def reproducible(self) -> bool:
        """Whether a rerun must return the very same number. Times never do."""
        return not self.key.startswith(("time/", "system/"))


def _scalar(key: str, unit: str, label: str, meaning: str) -> Any:
    return field(default=None, kw_only=True, metadata={"scalar": Quantity(key, unit, label, meaning)})


def _vector(key: str, unit: str, label: str, meaning: str) -> Any:
    return field(default=(), kw_only=True, metadata={"vector": Quantity(key, unit, label, meaning)})


def _named(key: str, unit: str, label: str, meaning: str) -> Any:
    return field(default_factory=dict, kw_only=True, metadata={"named": Quantity(key, unit, label, meaning)})


@dataclass(frozen=True)
class EpochRecord:
    """One row: the state of a trial after an epoch. Epoch 0 is the untrained model. None: not measured here.

    Losses are nats a sample, accuracies fractions. The Hessian is that of the mean training loss without weight
    decay, over the measurement subset, with the model in eval mode.
    """

    epoch: int
    timestamp_ms: int
    """When the epoch ended, Unix time in milliseconds; shipped with it, so that shipping twice changes nothing."""

    loss_train: float | None = _scalar(
        "loss/train", "nats", "training loss", "mean cross-entropy over the measurement subset, eval mode"
    )
    loss_validation: float | None = _scalar(
        "loss/validation", "nats", "validation loss", "mean cross-entropy over the validation images"
    )
    accuracy_train: float | None = _scalar(
        "accuracy/train", "fraction", "training accuracy", "share of the measurement subset classified rightly"
    )
    accuracy_validation: float | None = _scalar(
        "accuracy/validation", "fraction", "validation accuracy", "share of the validation images classified rightly"
    )
    accuracy_test: float | None = _scalar(
        "accuracy/test", "fraction", "test accuracy", "share of the test images classified rightly"
    )
    accuracy_ood: float | None = _scalar(
        "accuracy/ood", "fraction", "OOD accuracy", "test images plus Gaussian noise of standard deviation 0.25"
    )
    hessian_lambda_max: float | None = _scalar(
        "hessian/lambda_max", "nats", r"$\lambda_{\max}(H)$", "algebraically largest eigenvalue, best estimate at hand"
    )
    hessian_lambda_max_residual: float | None = _scalar(
        "hessian/lambda_max_residual", "nats", r"residual of $\lambda_{\max}$", "||Hv - lambda v||, v of unit norm"
    )
    hessian_lambda_min: float | None = _scalar(
        "hessian/lambda_min", "nats", r"$\lambda_{\min}(H)$", "algebraically smallest eigenvalue (Lanczos)"
    )
    hessian_lambda_min_residual: float | None = _scalar(
        "hessian/lambda_min_residual", "nats", r"residual of $\lambda_{\min}$", "||Hv - lambda v||, v of unit norm"
    )
    hessian_trace: float | None = _scalar(
        "hessian/trace", "nats", r"$\mathrm{tr}(H)$", "trace of the Hessian, best estimate at hand"
    )
    hessian_trace_standard_error: float | None = _scalar(
        "hessian/trace_standard_error", "nats", r"standard error of $\mathrm{tr}(H)$", "of the estimate of the trace"
    )
    hessian_gauss_newton_trace: float | None = _scalar(
        "hessian/gauss_newton_trace", "nats", r"$\mathrm{tr}(G)$",
        "trace of the generalised Gauss-Newton matrix, where it is not proved to be that of the Hessian",
    )  # fmt: skip
    algorithm1_max_eigenvalue: float | None = _scalar(
        "algorithm1/max_eigenvalue", "nats", "max eigenvalue (Algorithm 1)",
        "the paper's MaxEig: last Rayleigh quotient of power iteration, largest in magnitude",
    )  # fmt: skip
    algorithm1_trace: float | None = _scalar(
        "algorithm1/trace", "nats", "trace (Algorithm 1)", "the paper's Trace: mean of v'Hv over Gaussian probes"
    )
    algorithm1_trace_std: float | None = _scalar(
        "algorithm1/trace_std", "nats", "std of one probe (Algorithm 1)", "standard deviation of v'Hv between probes"
    )
    hessian_products: float | None = _scalar(
        "hessian/products", "products", "Hessian-vector products", "passes over the whole subset this measurement took"
    )
    gradient_norm: float | None = _scalar(
        "gradient/norm", "nats", "gradient norm", "2-norm of the gradient of the mean loss over the measurement subset"
    )
    time_train_seconds: float | None = _scalar(
        "time/train_seconds", "s", "training time", "wall time of the epoch's optimizer steps"
    )
    time_evaluate_seconds: float | None = _scalar(
        "time/evaluate_seconds", "s", "evaluation time", "wall time of losses and accuracies"
    )
    time_measure_seconds: float | None = _scalar(
        "time/measure_seconds", "s", "measuring time", "wall time of the curvature estimators"
    )

    lanczos_history: tuple[float, ...] = _vector(
        "lanczos/history", "nats", r"Ritz value of $\lambda_{\max}$", "largest Ritz value after each product"
    )
    algorithm1_rayleigh_quotients: tuple[float, ...] = _vector(
        "algorithm1/rayleigh_quotients", "nats", "Rayleigh quotient", "after each product of power iteration"
    )
    algorithm1_trace_samples: tuple[float, ...] = _vector(
        "algorithm1/trace_samples", "nats", "v'Hv", "one per Gaussian probe"
    )

    trace_per_parameter: Mapping[str, float] = _named(
        "trace/per_parameter", "nats", r"$\mathrm{tr}(G_{ll})$",
        "by parameter: its own part of the trace, of the Gauss-Newton matrix, of which tr(H) is made where both agree",
    )  # fmt: skip
    trace_samples: tuple[float, ...] = _vector(
        "trace/samples", "nats", "z'(H - G)z", "one per probe of what tells tr(H) from the Gauss-Newton matrix's"
    )

    @property
    def diverged(self) -> bool:
        """A training loss that is no finite number: a result, and the end of the trial."""
        return self.loss_train is None or not math.isfinite(self.loss_train)

    def metrics(self) -> dict[str, float]:
        """The measured scalars by key."""
        values = {key: getattr(self, name) for name, key in _KEYS.items()}
        return {key: value for key, value in values.items() if value is not None}

    def vectors(self) -> dict[str, tuple[float, ...] | Mapping[str, float]]:
        """What is more than one number, by key: raw samples, and values by the name of a parameter."""
        values = {quantity.key: getattr(self, name) for name, quantity in _MANY.items()}
        return {key: value for key, value in values.items() if value}

    def reproducible(self) -> dict[str, Any]:
        """All that a rerun must give again, scalars and vectors by key: everything but the times."""
        values = {quantity.key: getattr(self, name) for name, quantity in _REPRODUCIBLE.items()}
        return {key: value for key, value in values.items() if value not in _NOTHING}

    def differences(self, other: "EpochRecord") -> dict[str, tuple[Any, Any]]:
        """What two runs of the same epoch disagree in, bit for bit, by key; times left out."""
        ours, theirs = self.reproducible(), other.reproducible()
        keys = dict.fromkeys([*ours, *theirs])
        return {key: (ours.get(key), theirs.get(key)) for key in keys if not _same(ours.get(key), theirs.get(key))}

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name; what was not measured is left out."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in _NOTHING}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "EpochRecord":
        """The inverse of `to_json`; keys of a newer version are passed over."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items() if k in _NAMES}
        return cls(**values)


def _fields(kind: str) -> list[Field[Any]]:
    return [f for f in fields(EpochRecord) if kind in f.metadata]


def _same(ours: Any, theirs: Any) -> bool:
    # repr tells every bit of a float apart, -0.0 from 0.0 too, and makes two NaNs equal.
    return repr(ours) == repr(theirs)


_NAMES = frozenset(f.name for f in fields(EpochRecord))
SCALARS: tuple[Quantity, ...] = tuple(f.metadata["scalar"] for f in _fields("scalar"))
_NOTHING: tuple[Any, ...] = (None, (), {})
_MANY: dict[str, Quantity] = {f.name: f.metadata[kind] for kind in ("vector", "named") for f in _fields(kind)}
VECTORS: tuple[Quantity, ...] = tuple(_MANY.values())
_KEYS = {f.name: f.metadata["scalar"].key for f in _fields("scalar")}
_QUANTITIES: dict[str, Quantity] = {**{f.name: f.metadata["scalar"] for f in _fields("scalar")}, **_MANY}
_REPRODUCIBLE: dict[str, Quantity] = {name: quantity for name, quantity in _QUANTITIES.items() if quantity.reproducible}
