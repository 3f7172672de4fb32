"""The record of one moment of a trial. Its fields declare the quantities that every trial can have.

MLflow keys, columns of tables and axis labels are derived from these fields and from ``study/quantities``, which
declares the quantities that a sweep file chooses.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from orchestrator.study.quantities.quantity import Quantity, is_reproducible

Vector = tuple[float, ...] | Mapping[str, float]
Value = float | Sequence[float] | Mapping[str, float] | None
"""What a quantity returns: a scalar, a vector, a mapping by name, or None if it is not known."""


def _quantity(key: str, unit: str, label: str, meaning: str, error: str = "", **default: Any) -> Any:
    """Declares a field of `Record`.

    Without a default it is a scalar. A tuple as default declares a vector, a default factory a mapping by name.
    """
    return field(
        kw_only=True, metadata={"quantity": Quantity(key, unit, label, meaning, error)}, **default or {"default": None}
    )


@dataclass(frozen=True)
class Record:
    """The quantities measured at one moment of a trial, by default after every epoch. None: not measured.

    Losses are means over samples, in nats for cross-entropy. Accuracies are fractions; real targets have R2 instead.
    The Hessian is taken of the mean training loss over the measurement subset, without weight decay and with the model
    in eval mode. Its unit, "loss", is the unit of the loss per squared parameter.
    """

    number: int
    """Position in the trial, and key in the store. Record 0 is the untrained model."""
    timestamp_ms: int
    """End of the measurement (Unix time in ms). It is the time of each point in MLflow, which stores equal points once.
    """
    epoch: float = field(default=math.nan, kw_only=True)
    """Epochs of training before this record; an int if whole. By default the number of the record."""
    step: int | None = field(default=None, kw_only=True)
    """Optimizer steps before this record; None in records of version 0.1."""

    loss_train: float | None = _quantity(
        "loss/train", "loss", "training loss", "mean loss over the measurement subset, eval mode"
    )
    loss_validation: float | None = _quantity(
        "loss/validation", "loss", "validation loss", "mean loss over the validation samples"
    )
    loss_test: float | None = _quantity("loss/test", "loss", "test loss", "mean loss over the test samples")
    loss_ood: float | None = _quantity("loss/ood", "loss", "OOD loss", "mean loss over the shifted test samples")
    accuracy_train: float | None = _quantity(
        "accuracy/train", "fraction", "training accuracy", "share of the measurement subset predicted correctly"
    )
    accuracy_validation: float | None = _quantity(
        "accuracy/validation", "fraction", "validation accuracy", "share of the validation samples predicted correctly"
    )
    accuracy_test: float | None = _quantity(
        "accuracy/test", "fraction", "test accuracy", "share of the test samples predicted correctly"
    )
    accuracy_ood: float | None = _quantity(
        "accuracy/ood",
        "fraction",
        "OOD accuracy",
        "share of the shifted test samples predicted correctly; by default with Gaussian noise of deviation 0.25",
    )
    r2_train: float | None = _quantity(
        "r2/train", "R2", "training $R^2$", "1 - squared error / variance of the targets, over the measurement subset"
    )
    r2_validation: float | None = _quantity(
        "r2/validation", "R2", "validation $R^2$", "the same over the validation samples"
    )
    r2_test: float | None = _quantity("r2/test", "R2", "test $R^2$", "the same over the test samples")
    r2_ood: float | None = _quantity("r2/ood", "R2", "OOD $R^2$", "the same over the shifted test samples")
    hessian_lambda_max: float | None = _quantity(
        "hessian/lambda_max",
        "loss",
        r"$\lambda_{\max}(H)$",
        "algebraically largest eigenvalue, best estimate",
        "hessian/lambda_max_residual",
    )
    hessian_lambda_max_residual: float | None = _quantity(
        "hessian/lambda_max_residual", "loss", r"residual of $\lambda_{\max}$", "||Hv - lambda v||, v of unit norm"
    )
    hessian_lambda_min: float | None = _quantity(
        "hessian/lambda_min",
        "loss",
        r"$\lambda_{\min}(H)$",
        "algebraically smallest eigenvalue (Lanczos)",
        "hessian/lambda_min_residual",
    )
    hessian_lambda_min_residual: float | None = _quantity(
        "hessian/lambda_min_residual", "loss", r"residual of $\lambda_{\min}$", "||Hv - lambda v||, v of unit norm"
    )
    hessian_trace: float | None = _quantity(
        "hessian/trace",
        "loss",
        r"$\mathrm{tr}(H)$",
        "trace of the Hessian, best estimate",
        "hessian/trace_standard_error",
    )
    hessian_trace_standard_error: float | None = _quantity(
        "hessian/trace_standard_error", "loss", r"standard error of $\mathrm{tr}(H)$", "standard error of hessian/trace"
    )
    hessian_gauss_newton_trace: float | None = _quantity(
        "hessian/gauss_newton_trace", "loss", r"$\mathrm{tr}(G)$",
        "trace of the generalised Gauss-Newton matrix; omitted if known to equal the trace of the Hessian",
    )  # fmt: skip
    algorithm1_max_eigenvalue: float | None = _quantity(
        "algorithm1/max_eigenvalue", "loss", "max eigenvalue (Algorithm 1)",
        "the paper's MaxEig: last Rayleigh quotient of power iteration, largest in magnitude",
    )  # fmt: skip
    algorithm1_trace: float | None = _quantity(
        "algorithm1/trace", "loss", "trace (Algorithm 1)", "the paper's Trace: mean of v'Hv over Gaussian probes"
    )
    algorithm1_trace_std: float | None = _quantity(
        "algorithm1/trace_std", "loss", "std of one probe (Algorithm 1)", "standard deviation of v'Hv between probes"
    )
    hessian_products: float | None = _quantity(
        "hessian/products", "products", "Hessian-vector products", "passes over the whole subset in this measurement"
    )
    gradient_norm: float | None = _quantity(
        "gradient/norm", "loss", "gradient norm", "2-norm of the gradient of the mean loss over the measurement subset"
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
    system_cpu_percent: float | None = _quantity(
        "system/cpu_percent", "%", "CPU", "CPU time of the trial's process since its previous record, over wall time"
    )
    system_memory_mib: float | None = _quantity(
        "system/memory_mib",
        "MiB",
        "memory",
        "peak resident memory of the trial's process since its attempt began",
    )
    system_gpu_memory_mib: float | None = _quantity(
        "system/gpu_memory_mib",
        "MiB",
        "GPU memory",
        "largest GPU memory that torch reserved in the trial's process since its previous record",
    )

    lanczos_history: tuple[float, ...] = _quantity(
        "lanczos/history",
        "loss",
        r"Ritz value of $\lambda_{\max}$",
        "largest Ritz value after each product",
        default=(),
    )
    algorithm1_rayleigh_quotients: tuple[float, ...] = _quantity(
        "algorithm1/rayleigh_quotients",
        "loss",
        "Rayleigh quotient",
        "Rayleigh quotient after each product of power iteration",
        default=(),
    )
    algorithm1_trace_samples: tuple[float, ...] = _quantity(
        "algorithm1/trace_samples", "loss", "v'Hv", "v'Hv of each Gaussian probe v", default=()
    )
    trace_per_parameter: Mapping[str, float] = _quantity(
        "trace/per_parameter", "loss", r"$\mathrm{tr}(G_{ll})$",
        "contribution of each parameter to tr(G), the Gauss-Newton trace; the sum is tr(H) if both traces agree",
        default_factory=dict,
    )  # fmt: skip
    trace_samples: tuple[float, ...] = _quantity(
        "trace/samples", "loss", "z'(H - G)z",
        "z'(H - G)z of each probe z, with the Hessian H and the Gauss-Newton matrix G", default=(),
    )  # fmt: skip

    time_per_quantity: Mapping[str, float] = _quantity(
        "time/per_quantity", "s", "measuring time", "wall time of each quantity in a sweep file's estimators",
        default_factory=dict,
    )  # fmt: skip

    scalars: Mapping[str, float] = field(default_factory=dict, kw_only=True)
    """Values of quantities that are not fields, by key."""
    raw: Mapping[str, Vector] = field(default_factory=dict, kw_only=True)
    """Vectors of quantities that are not fields, by key."""
    failures: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """Tracebacks of the user's own quantities that raised, by the name in the sweep file. Their values are missing."""

    def __post_init__(self) -> None:
        if self.epoch != self.epoch:  # not given
            object.__setattr__(self, "epoch", self.number)

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps of an epoch; None for record 0 and records of version 0.1."""
        return round(self.step / self.epoch) if self.step else None

    @property
    def diverged(self) -> bool:
        """Whether the training loss is missing, infinite or NaN. The trial then ends: a result, not a failure."""
        return self.loss_train is None or not math.isfinite(self.loss_train)

    def metrics(self) -> dict[str, float]:
        """The measured scalars by key."""
        values = {quantity.key: getattr(self, name) for name, quantity in _SCALARS.items()}
        return {**{key: value for key, value in values.items() if value is not None}, **self.scalars}

    def vectors(self) -> dict[str, Vector]:
        """The measured vectors by key: tuples of raw samples, and mappings of parameter names to values."""
        values = {quantity.key: getattr(self, name) for name, quantity in _VECTORS.items()}
        return {**{key: value for key, value in values.items() if value}, **self.raw}

    def with_values(self, values: Mapping[str, Value]) -> "Record":
        """Returns the record with the values of quantities, by key. None means not measured."""
        known: dict[str, Any] = {_FIELDS[key]: value for key, value in values.items() if key in _FIELDS}
        rest = {key: value for key, value in values.items() if key not in _FIELDS and value is not None}
        scalars = {key: value for key, value in rest.items() if isinstance(value, float | int)}
        raw = {key: _vector(value) for key, value in rest.items() if isinstance(value, Sequence | Mapping)}
        return replace(self, **known, scalars={**self.scalars, **scalars}, raw={**self.raw, **raw})

    def reproducible(self) -> dict[str, Any]:
        """The scalars and vectors that a rerun must reproduce, by key. Times and CPU and memory usage are excluded."""
        return {key: value for key, value in {**self.metrics(), **self.vectors()}.items() if is_reproducible(key)}

    def differences(self, other: "Record") -> dict[str, tuple[Any, Any]]:
        """The pairs of values, by key, that are not bit-identical in two records of one moment.

        Times and usage are ignored, and so are quantities that only one of the records has because the other is of an
        earlier version.
        """
        ours, theirs = self.reproducible(), other.reproducible()
        keys = [
            key for key in dict.fromkeys([*ours, *theirs]) if key not in _ADDED_LATER or (key in ours and key in theirs)
        ]
        pairs = {key: (ours.get(key), theirs.get(key)) for key in keys}
        # Floats have the same repr if and only if they are bit-identical or both NaN. -0.0 and 0.0 differ.
        return {key: pair for key, pair in pairs.items() if repr(pair[0]) != repr(pair[1])}

    def to_json(self) -> dict[str, Any]:
        """The measured values by field name, as JSON types."""
        content = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in _NOTHING}
        if content["epoch"] != content["number"]:
            return content
        del content["epoch"]
        return {"epoch": content.pop("number"), **content}  # the format of version 0.1, which has one record per epoch

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Record":
        """The inverse of `to_json`. Unknown keys, written by newer versions, are ignored."""
        if "number" not in content:
            content = {"number": content["epoch"], **content}
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items() if k in _NAMES}
        if "raw" in values:
            values["raw"] = {key: _vector(value) for key, value in values["raw"].items()}
        return cls(**values)


def _vector(value: Sequence[float] | Mapping[str, float]) -> Vector:
    return dict(value) if isinstance(value, Mapping) else tuple(value)


_ADDED_LATER = (
    "loss/test",
    "loss/ood",
    "stability/batch_sharpness_low",
    "stability/batch_sharpness_high",
    "stability/batch_sharpness_samples",
)
_NOTHING: tuple[Any, ...] = (None, (), {})
_NAMES = frozenset(f.name for f in fields(Record))
_QUANTITIES = [f for f in fields(Record) if f.metadata]
_SCALARS: dict[str, Quantity] = {f.name: f.metadata["quantity"] for f in _QUANTITIES if f.default is None}
# Mappings (fields with a default factory) come last, because the order of columns in tables must not change.
_VECTORS: dict[str, Quantity] = {
    f.name: f.metadata["quantity"]
    for f in sorted(_QUANTITIES, key=lambda f: f.default is MISSING)
    if f.default is not None
}
_FIELDS: dict[str, str] = {quantity.key: name for name, quantity in {**_SCALARS, **_VECTORS}.items()}
SCALARS: tuple[Quantity, ...] = tuple(_SCALARS.values())
VECTORS: tuple[Quantity, ...] = tuple(_VECTORS.values())
