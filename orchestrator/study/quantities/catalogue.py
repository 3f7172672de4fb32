"""All quantities: the names in sweep files, and the declaration of each recorded key."""

from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BeforeValidator, Discriminator, Tag, ValidationInfo

from orchestrator.study.parts.user_code_config import OWN_CODE, named, tag
from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import STORED, QuantityConfig
from orchestrator.study.quantities.settings.batch_sharpness import BatchSharpnessConfig
from orchestrator.study.quantities.settings.established import (
    Algorithm1Config,
    ExactTraceConfig,
    LanczosConfig,
    SampledTraceConfig,
)
from orchestrator.study.quantities.settings.gauss_newton import GaussNewtonConfig
from orchestrator.study.quantities.settings.gradient_curvature import GradientCurvatureConfig
from orchestrator.study.quantities.settings.gradient_noise import GradientNoiseConfig
from orchestrator.study.quantities.settings.layers import LayersConfig
from orchestrator.study.quantities.settings.own_quantity import OwnQuantityConfig
from orchestrator.study.quantities.settings.relative_sharpness import RelativeSharpnessConfig
from orchestrator.study.quantities.settings.sam_sharpness import SamSharpnessConfig
from orchestrator.study.quantities.settings.spectral_density import SpectralDensityConfig
from orchestrator.study.quantities.settings.stability import StabilityConfig
from orchestrator.study.quantities.settings.top_eigenvalues import TopEigenvaluesConfig

BuiltIn = (
    Annotated[LanczosConfig, Tag("lanczos")]
    | Annotated[ExactTraceConfig, Tag("exact_trace")]
    | Annotated[SampledTraceConfig, Tag("sampled_trace")]
    | Annotated[Algorithm1Config, Tag("algorithm1")]
    | Annotated[GradientCurvatureConfig, Tag("gradient_curvature")]
    | Annotated[TopEigenvaluesConfig, Tag("top_eigenvalues")]
    | Annotated[StabilityConfig, Tag("stability")]
    | Annotated[BatchSharpnessConfig, Tag("batch_sharpness")]
    | Annotated[GradientNoiseConfig, Tag("gradient_noise")]
    | Annotated[GaussNewtonConfig, Tag("gauss_newton")]
    | Annotated[LayersConfig, Tag("layers")]
    | Annotated[RelativeSharpnessConfig, Tag("relative_sharpness")]
    | Annotated[SamSharpnessConfig, Tag("sam_sharpness")]
    | Annotated[SpectralDensityConfig, Tag("spectral_density")]
)


def _complete(value: Any, info: ValidationInfo) -> Any:
    """Turns a name into a mapping. Settings that a store lacks get their first defaults, because it may be older."""
    value = named(value)
    stored = info.context == STORED and isinstance(value, dict)
    kind = BUILT_IN.get(value.get("name")) if stored else None
    return {**kind.first_defaults, **value} if kind else value


if TYPE_CHECKING:
    Estimator = QuantityConfig
else:
    Estimator = Annotated[
        BuiltIn | Annotated[OwnQuantityConfig, Tag(OWN_CODE)], Discriminator(tag), BeforeValidator(_complete)
    ]
    """Quantities: built in, or a function of the user. A mapping with a name and settings, or only the name."""

BUILT_IN: dict[str, type[QuantityConfig]] = {
    member.__metadata__[0].tag: member.__origin__ for member in get_args(BuiltIn)
}
"""Built-in quantities by name, in the order in which trial ids list them."""
DECLARED: tuple[Quantity, ...] = tuple(quantity for kind in BUILT_IN.values() for quantity in kind.quantities)
"""The declared quantities that are not fields of `Record`."""


def estimators_named(*names: str) -> tuple[QuantityConfig, ...]:
    """Returns the built-in quantities of these names with default settings."""
    return tuple(BUILT_IN[name](name=name) for name in names)


def canonical(estimators: tuple[QuantityConfig, ...]) -> tuple[QuantityConfig, ...]:
    """Returns the estimators in a fixed order, because the order in a sweep file has no effect."""
    order = list(BUILT_IN)
    known = [each for each in estimators if each.name in BUILT_IN]
    own = [each for each in estimators if each.name not in BUILT_IN]
    return (*sorted(known, key=lambda each: order.index(each.name)), *sorted(own, key=lambda each: each.name))
