"""Valid trial configs, for tests that hold for every one of them."""

from typing import Any, get_args

from hypothesis import strategies as st
from pydantic import BaseModel

from orchestrator.study.config import (
    AdamConfig,
    CnnConfig,
    DigitsData,
    Estimator,
    ImageFolderData,
    MeasurementConfig,
    SgdConfig,
    TrialConfig,
)

MINIMAL: dict[str, Any] = {"data": {"name": "digits"}, "optimizer": {"name": "sgd", "lr": 0.05}, "epochs": 2}
"""A trial that leaves every default to the code."""


def config(**changes: Any) -> TrialConfig:
    """The minimal trial with some fields changed."""
    return TrialConfig.model_validate({**MINIMAL, **changes})


def with_field(trial: TrialConfig, dotted: str, value: Any) -> TrialConfig:
    """The same trial but for one field, validated."""
    content = trial.model_dump()
    *parents, last = dotted.split(".")
    owner = content
    for parent in parents:
        owner = owner[parent]
    owner[last] = value
    return TrialConfig.model_validate(content)


def leaves(model: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Every field under its dotted name, read off the JSON form; an oracle for `TrialConfig.flat`."""
    found: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {f"{prefix}{name}": value}
    return found


_positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
_share = st.floats(min_value=0, max_value=1, exclude_max=True)
_not_negative = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
_count = st.integers(min_value=1, max_value=10**6)

data = st.one_of(
    st.builds(DigitsData, name=st.just("digits")),
    st.builds(ImageFolderData, name=st.just("image_folder"), path=st.sampled_from(["/images", "relative", "~/here"])),
)
optimizers = st.one_of(
    st.builds(SgdConfig, name=st.just("sgd"), lr=_positive, momentum=_share, weight_decay=_not_negative),
    st.builds(
        AdamConfig,
        name=st.just("adam"),
        lr=_positive,
        beta1=_share,
        beta2=_share,
        eps=_positive,
        weight_decay=_not_negative,
    ),
)
measurements = st.builds(
    MeasurementConfig,
    fraction=st.floats(min_value=0, max_value=1, exclude_min=True),
    estimators=st.lists(st.sampled_from(get_args(Estimator)), unique=True).map(tuple),
    lanczos_products=_count,
    algorithm1_every=_count,
    algorithm1_iterations=_count,
    algorithm1_probes=st.integers(min_value=2, max_value=10**6),
)
trials = st.builds(
    TrialConfig,
    model=st.just(CnnConfig(name="cnn")),
    data=data,
    optimizer=optimizers,
    batch_size=_count,
    epochs=_count,
    measurement=measurements,
    seed=st.integers(min_value=0, max_value=2**31 - 1),
)
"""Any valid trial."""
