"""Hypothesis strategies for valid trial configs."""

from typing import Any, get_args

from hypothesis import strategies as st
from pydantic import BaseModel

from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.parts.data_config import AugmentationConfig, DigitsData, ImageFolderData, TorchvisionData
from orchestrator.study.parts.model_config import (
    Activation,
    CnnConfig,
    GruConfig,
    Init,
    LstmConfig,
    MlpConfig,
    ModuleConfig,
    ResnetConfig,
    TorchvisionConfig,
    TransformerConfig,
    VitConfig,
)
from orchestrator.study.parts.optimizer_config import (
    AdagradConfig,
    AdamConfig,
    AdamWConfig,
    ConstantSchedule,
    CosineSchedule,
    OptimizerClassConfig,
    RmspropConfig,
    SamConfig,
    SgdConfig,
    StepSchedule,
)
from orchestrator.study.parts.stop_config import StopConfig
from orchestrator.study.quantities.catalogue import BUILT_IN
from orchestrator.study.quantities.settings.own_quantity import OwnQuantityConfig

MINIMAL: dict[str, Any] = {"data": {"name": "digits"}, "optimizer": {"name": "sgd", "lr": 0.05}, "epochs": 2}
"""A trial with all defaults."""


def config(**changes: Any) -> TrialConfig:
    """The minimal trial with some fields changed."""
    return TrialConfig.model_validate({**MINIMAL, **changes})


def with_field(trial: TrialConfig, dotted: str, value: Any) -> TrialConfig:
    """The same trial with one field changed, validated."""
    content = trial.model_dump()
    *parents, last = dotted.split(".")
    owner = content
    for parent in parents:
        owner = owner[parent]
    owner[last] = value
    return TrialConfig.model_validate(content)


def leaves(model: BaseModel, prefix: str = "") -> dict[str, Any]:
    """All fields by dotted name: an independent implementation to test `TrialConfig.flat`."""
    found: dict[str, Any] = {}
    for name in [*type(model).model_fields, *(model.model_extra or {})]:
        value = getattr(model, name)
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {f"{prefix}{name}": value}
    return found


_positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
_share = st.floats(min_value=0, max_value=1, exclude_max=True)
_not_negative = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
_count = st.integers(min_value=1, max_value=10**6)

_path = st.sampled_from(["/images", "relative", "~/here"])
_subset = st.none() | _count
data = st.one_of(
    st.builds(DigitsData, name=st.just("digits"), train_subset=_subset),
    st.builds(ImageFolderData, name=st.just("image_folder"), path=_path, train_subset=_subset),
    st.builds(
        TorchvisionData,
        name=st.sampled_from(["cifar10", "cifar100", "mnist", "fashion_mnist", "svhn"]),
        path=st.none() | _path,
        train_subset=_subset,
    ),
)
_feed_forward: dict[str, Any] = {
    "dropout": _share,
    "batch_norm": st.booleans(),
    "activation": st.sampled_from(get_args(Activation)),
    "init": st.sampled_from(get_args(Init)),
    "init_scale": _positive,
}
_attention: dict[str, Any] = {
    "width": st.just(12),
    "depth": _count,
    "heads": st.sampled_from([1, 3, 4]),
    "dropout": _share,
}
_scalars = st.none() | st.integers() | st.text()
models = st.one_of(
    st.builds(CnnConfig, name=st.just("cnn"), **_feed_forward),
    st.builds(MlpConfig, name=st.just("mlp"), hidden=st.lists(_count, min_size=1).map(tuple), **_feed_forward),
    st.builds(
        ResnetConfig,
        name=st.just("resnet"),
        depth=_count.map(lambda blocks: 6 * blocks + 2),
        width=_count,
        norm=st.sampled_from(["batch", "group"]),
    ),
    st.builds(VitConfig, name=st.just("vit"), patch=_count, **_attention),
    st.builds(TransformerConfig, name=st.just("transformer"), tied=st.booleans(), **_attention),
    st.builds(LstmConfig, name=st.just("lstm"), width=_count, depth=_count),
    st.builds(GruConfig, name=st.just("gru"), width=_count, depth=_count),
    st.builds(TorchvisionConfig, name=st.just("torchvision"), architecture=st.text(min_size=1), groups=_scalars),
    st.builds(
        ModuleConfig,
        name=st.sampled_from(["mine:Net", "my_package.models:Net2"]),
        width=_scalars | st.lists(_scalars),
    ),
)
_any_optimizer: dict[str, Any] = {
    "sam": st.none() | st.builds(SamConfig, rho=_positive),
    "gradient_clip": st.none() | _positive,
}
_adam: dict[str, Any] = {
    **_any_optimizer,
    "lr": _positive,
    "beta1": _share,
    "beta2": _share,
    "eps": _positive,
    "weight_decay": _not_negative,
}
optimizers = st.one_of(
    st.builds(
        SgdConfig,
        name=st.just("sgd"),
        **_any_optimizer,
        lr=_positive,
        momentum=_share.filter(bool),
        weight_decay=_not_negative,
        nesterov=st.booleans(),
    ),
    st.builds(AdamConfig, name=st.just("adam"), **_adam),
    st.builds(AdamWConfig, name=st.just("adamw"), **_adam),
    st.builds(
        AdagradConfig,
        name=st.just("adagrad"),
        **_any_optimizer,
        lr=_positive,
        lr_decay=_not_negative,
        initial_accumulator=_not_negative,
        eps=_positive,
        weight_decay=_not_negative,
    ),
    st.builds(
        RmspropConfig,
        name=st.just("rmsprop"),
        **_any_optimizer,
        lr=_positive,
        alpha=_share,
        eps=_positive,
        momentum=_share,
        weight_decay=_not_negative,
    ),
    st.builds(
        OptimizerClassConfig,
        name=st.sampled_from(["torch.optim:NAdam", "mine:Lion"]),
        lr=_positive,
        betas=_scalars | st.lists(_scalars),
        **_any_optimizer,
    ),
)
schedules = st.one_of(
    st.builds(ConstantSchedule, name=st.just("constant"), warmup_epochs=_count),
    st.builds(CosineSchedule, name=st.just("cosine"), final=_share),
    st.builds(
        StepSchedule,
        name=st.just("step"),
        warmup_epochs=_count,
        every=_count,
        factor=st.floats(min_value=0, max_value=1, exclude_min=True),
    ),
)
_quantities = st.one_of(
    *(
        st.builds(kind, name=st.just(name), every=st.just(1) if name == "algorithm1" else _count)
        for name, kind in BUILT_IN.items()
    ),
    st.builds(OwnQuantityConfig, name=st.just("my_quantities:scale"), every=_count, power=st.integers()),
)
measurements = st.builds(
    MeasurementConfig,
    fraction=st.floats(min_value=0, max_value=1, exclude_min=True),
    estimators=st.lists(_quantities, unique_by=lambda quantity: quantity.name)
    .filter(lambda found: not {"exact_trace", "sampled_trace"} <= {quantity.name for quantity in found})
    .map(tuple),
    every=_count,
    lanczos_products=st.integers(min_value=2, max_value=10**6),
    lanczos_coarse_fraction=st.floats(min_value=0, max_value=1, exclude_max=True),
    lanczos_tolerance=st.floats(min_value=0, allow_nan=False, allow_infinity=False),
    algorithm1_every=_count,
    algorithm1_iterations=_count,
    algorithm1_probes=st.integers(min_value=2, max_value=10**6),
)
_stops = st.none() | st.builds(
    StopConfig,
    key=st.sampled_from(["loss/train", "accuracy/validation", "r2/ood"]),
    threshold=st.floats(max_value=1, allow_nan=False, allow_infinity=False),
)
_any_trial: dict[str, Any] = {
    "model": models,
    "data": data,
    "augmentation": st.builds(AugmentationConfig, flip=st.booleans(), crop=st.integers(min_value=0, max_value=100)),
    "optimizer": optimizers,
    "schedule": schedules,
    "batch_size": _count | st.just("full"),
    "evaluate_every": _count,
    "stop": _stops,
    "measurement": measurements,
    "seed": st.integers(min_value=0, max_value=2**31 - 1),
}


def _trial(counts: tuple[int, int], unit: str, **fields: Any) -> TrialConfig:
    every, length = sorted(counts)
    return TrialConfig(**fields, **{unit: length, "record_every": f"{every} {unit}"})


trials = st.builds(_trial, counts=st.tuples(_count, _count), unit=st.sampled_from(["epochs", "steps"]), **_any_trial)
"""Any valid trial."""
