"""The record of an epoch: the key, unit, label and meaning of every quantity are declared here.

MLflow keys, frame columns and axis labels are derived from the fields of `EpochRecord`. A new quantity changes this
file and ``training/measurement/``, nothing else.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
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
        """The name of its column: ``hessian/trace`` is ``hessian_trace``."""
        return self.key.replace("/", "_")

    @property
    def reproducible(self) -> bool:
        """Whether a rerun must return the same number: all but times."""
        return not self.key.startswith(("time/", "system/"))


def _quantity(key: str, unit: str, label: str, meaning: str, **default: Any) -> Any:
    """A field of `EpochRecord`: a scalar unless the default is a tuple, or a mapping of names to values."""
    return field(
        kw_only=True, metadata={"quantity": Quantity(key, unit, label, meaning)}, **default or {"default": None}
    )


@dataclass(frozen=True)
class EpochRecord:
    """The state of a trial after an epoch. Epoch 0 is the untrained model. None: not measured.

    Losses are nats per sample, accuracies fractions. The Hessian is that of the mean training loss without weight
    decay, over the measurement subset, with the model in eval mode.
    """

    epoch: int
    timestamp_ms: int
    """When the epoch ended, Unix time in milliseconds. Trackers get it too, so that shipping twice changes nothing."""

    loss_train: float | None = _quantity(
        "loss/train", "nats", "training loss", "mean cross-entropy over the measurement subset, eval mode"
    )
    loss_validation: float | None = _quantity(
        "loss/validation", "nats", "validation loss", "mean cross-entropy over the validation images"
    )
    accuracy_train: float | None = _quantity(
        "accuracy/train", "fraction", "training accuracy", "share of the measurement subset classified correctly"
    )
    accuracy_validation: float | None = _quantity(
        "accuracy/validation", "fraction", "validation accuracy", "share of the validation images classified correctly"
    )
    accuracy_test: float | None = _quantity(
        "accuracy/test", "fraction", "test accuracy", "share of the test images classified correctly"
    )
    accuracy_ood: float | None = _quantity(
        "accuracy/ood", "fraction", "OOD accuracy", "test images plus Gaussian noise of standard deviation 0.25"
    )
    hessian_lambda_max: float | None = _quantity(
        "hessian/lambda_max",
        "nats",
        r"$\lambda_{\max}(H)$",
        "algebraically largest eigenvalue, best estimate",
    )
    hessian_lambda_max_residual: float | None = _quantity(
        "hessian/lambda_max_residual", "nats", r"residual of $\lambda_{\max}$", "||Hv - lambda v||, v of unit norm"
    )
    hessian_lambda_min: float | None = _quantity(
        "hessian/lambda_min", "nats", r"$\lambda_{\min}(H)$", "algebraically smallest eigenvalue (Lanczos)"
    )
    hessian_lambda_min_residual: float | None = _quantity(
        "hessian/lambda_min_residual", "nats", r"residual of $\lambda_{\min}$", "||Hv - lambda v||, v of unit norm"
    )
    hessian_trace: float | None = _quantity(
        "hessian/trace", "nats", r"$\mathrm{tr}(H)$", "trace of the Hessian, best estimate"
    )
    hessian_trace_standard_error: float | None = _quantity(
        "hessian/trace_standard_error", "nats", r"standard error of $\mathrm{tr}(H)$", "of the estimate of the trace"
    )
    hessian_gauss_newton_trace: float | None = _quantity(
        "hessian/gauss_newton_trace", "nats", r"$\mathrm{tr}(G)$",
        "trace of the generalised Gauss-Newton matrix, if it is not proven to equal that of the Hessian",
    )  # fmt: skip
    algorithm1_max_eigenvalue: float | None = _quantity(
        "algorithm1/max_eigenvalue", "nats", "max eigenvalue (Algorithm 1)",
        "the paper's MaxEig: last Rayleigh quotient of power iteration, largest in magnitude",
    )  # fmt: skip
    algorithm1_trace: float | None = _quantity(
        "algorithm1/trace", "nats", "trace (Algorithm 1)", "the paper's Trace: mean of v'Hv over Gaussian probes"
    )
    algorithm1_trace_std: float | None = _quantity(
        "algorithm1/trace_std", "nats", "std of one probe (Algorithm 1)", "standard deviation of v'Hv between probes"
    )
    hessian_products: float | None = _quantity(
        "hessian/products", "products", "Hessian-vector products", "passes over the whole subset in this measurement"
    )
    gradient_norm: float | None = _quantity(
        "gradient/norm", "nats", "gradient norm", "2-norm of the gradient of the mean loss over the measurement subset"
    )
    time_train_seconds: float | None = _quantity(
        "time/train_seconds", "s", "training time", "wall time of the epoch's optimizer steps"
    )
    time_evaluate_seconds: float | None = _quantity(
        "time/evaluate_seconds", "s", "evaluation time", "wall time of losses and accuracies"
    )
    time_measure_seconds: float | None = _quantity(
        "time/measure_seconds", "s", "measuring time", "wall time of the curvature estimators"
    )

    lanczos_history: tuple[float, ...] = _quantity(
        "lanczos/history",
        "nats",
        r"Ritz value of $\lambda_{\max}$",
        "largest Ritz value after each product",
        default=(),
    )
    algorithm1_rayleigh_quotients: tuple[float, ...] = _quantity(
        "algorithm1/rayleigh_quotients",
        "nats",
        "Rayleigh quotient",
        "after each product of power iteration",
        default=(),
    )
    algorithm1_trace_samples: tuple[float, ...] = _quantity(
        "algorithm1/trace_samples", "nats", "v'Hv", "one per Gaussian probe", default=()
    )
    trace_per_parameter: Mapping[str, float] = _quantity(
        "trace/per_parameter", "nats", r"$\mathrm{tr}(G_{ll})$",
        "by parameter: its part of the trace of the Gauss-Newton matrix, which sums to tr(H) if both traces agree",
        default_factory=dict,
    )  # fmt: skip
    trace_samples: tuple[float, ...] = _quantity(
        "trace/samples", "nats", "z'(H - G)z",
        "one per probe of the difference between the Hessian and the Gauss-Newton matrix", default=(),
    )  # fmt: skip

    @property
    def diverged(self) -> bool:
        """Whether the training loss is not finite: a result, and the end of the trial."""
        return self.loss_train is None or not math.isfinite(self.loss_train)

    def metrics(self) -> dict[str, float]:
        """The measured scalars by key."""
        values = {quantity.key: getattr(self, name) for name, quantity in _SCALARS.items()}
        return {key: value for key, value in values.items() if value is not None}

    def vectors(self) -> dict[str, tuple[float, ...] | Mapping[str, float]]:
        """The measured vectors by key: raw samples, and values by the name of a parameter."""
        values = {quantity.key: getattr(self, name) for name, quantity in _VECTORS.items()}
        return {key: value for key, value in values.items() if value}

    def reproducible(self) -> dict[str, Any]:
        """All values that a rerun must return again, by key: scalars and vectors, but no times."""
        quantities = {**_SCALARS, **_VECTORS}.items()
        values = {quantity.key: getattr(self, name) for name, quantity in quantities if quantity.reproducible}
        return {key: value for key, value in values.items() if value not in _NOTHING}

    def differences(self, other: "EpochRecord") -> dict[str, tuple[Any, Any]]:
        """The values in which two runs of the same epoch differ by at least a bit, by key; times are ignored."""
        ours, theirs = self.reproducible(), other.reproducible()
        pairs = {key: (ours.get(key), theirs.get(key)) for key in dict.fromkeys([*ours, *theirs])}
        # repr shows every bit of a float, so that -0.0 differs from 0.0, while two NaNs are equal.
        return {key: pair for key, pair in pairs.items() if repr(pair[0]) != repr(pair[1])}

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name, without those that were not measured."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in _NOTHING}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "EpochRecord":
        """The inverse of `to_json`; keys of newer versions are ignored."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items() if k in _NAMES}
        return cls(**values)


_NOTHING: tuple[Any, ...] = (None, (), {})
_NAMES = frozenset(f.name for f in fields(EpochRecord))
_QUANTITIES = [f for f in fields(EpochRecord) if f.metadata]
_SCALARS: dict[str, Quantity] = {f.name: f.metadata["quantity"] for f in _QUANTITIES if f.default is None}
# Mappings, whose default comes from a factory, are last: tables keep the order of their columns.
_VECTORS: dict[str, Quantity] = {
    f.name: f.metadata["quantity"]
    for f in sorted(_QUANTITIES, key=lambda f: f.default is MISSING)
    if f.default is not None
}
SCALARS: tuple[Quantity, ...] = tuple(_SCALARS.values())
VECTORS: tuple[Quantity, ...] = tuple(_VECTORS.values())
