"""Trials drawn at random: the ``sample:`` of a sweep file, drawn when the file is read, from its seed: ids stay fixed.

No draw depends on a library's version but for Sobol's direction numbers, which are published constants. Values are
rounded to four significant digits: what the last bit of a logarithm is on some machine must make no other trial.
"""

import math
import random
import warnings
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.study.fields import Config, NonNegativeInt, PositiveInt

Range = Annotated[tuple[float, float], Field(strict=False)]


class Distribution(Config):
    """Where the values of one key come from: exactly one of these."""

    uniform: Range | None = None
    log_uniform: Range | None = None
    """Uniform in the logarithm: as many values between 0.001 and 0.01 as between 0.01 and 0.1."""
    choice: list[Any] | None = None

    @model_validator(mode="after")
    def _one_that_makes_sense(self) -> Self:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of uniform: [low, high], log_uniform: [low, high] or choice: [...]")
        if self.choice == []:
            raise ValueError("choice is empty; give at least one value")
        for name, bounds in (("uniform", self.uniform), ("log_uniform", self.log_uniform)):
            if bounds and not bounds[0] < bounds[1]:
                raise ValueError(f"{name} goes from {bounds[0]} to {bounds[1]}; the first must be the smaller one")
        if self.log_uniform and self.log_uniform[0] <= 0:
            raise ValueError(f"log_uniform begins at {self.log_uniform[0]}; a logarithm needs numbers above 0")
        return self

    def at(self, share: float) -> Any:
        """The value below which so large a share (in [0, 1)) of the distribution lies."""
        if self.choice is not None:
            return self.choice[int(share * len(self.choice))]
        if self.uniform:
            return _rounded(self.uniform[0] + share * (self.uniform[1] - self.uniform[0]), self.uniform)
        assert self.log_uniform
        low, high = map(math.log, self.log_uniform)
        return _rounded(math.exp(low + share * (high - low)), self.log_uniform)


class SampleConfig(Config):
    """So many points of a space, each of them combined with every point of the grid."""

    trials: PositiveInt
    """Points. More of them later keep the first ones."""
    method: Literal["random", "sobol"] = "random"
    """``sobol`` fills the space evenly (Sobol, 1967), shifted by the seed."""
    seed: NonNegativeInt = 0
    values: Annotated[dict[str, Distribution], Field(min_length=1)]


def draw(sample: SampleConfig) -> list[dict[str, Any]]:
    """The points, as values by dotted key."""
    keys = sorted(sample.values)
    shares = (_sobol if sample.method == "sobol" else _random)(sample, keys)
    return [{key: sample.values[key].at(share) for key, share in zip(keys, point, strict=True)} for point in shares]


def _stream(sample: SampleConfig, key: str) -> Callable[[], float]:
    """Numbers for one key; another key beside it changes none of them."""
    return random.Random(f"{sample.seed}/{key}").random


def _random(sample: SampleConfig, keys: list[str]) -> list[list[float]]:
    streams = [_stream(sample, key) for key in keys]
    return [[stream() for stream in streams] for _ in range(sample.trials)]


def _sobol(sample: SampleConfig, keys: list[str]) -> list[list[float]]:
    from scipy.stats.qmc import Sobol

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the number of points should be a power of 2: the user decides
        points = Sobol(len(keys), scramble=False).random(sample.trials).tolist()
    shifts = [_stream(sample, key)() for key in keys]
    return [[(share + shift) % 1.0 for share, shift in zip(point, shifts, strict=True)] for point in points]


def _rounded(value: float, bounds: tuple[float, float]) -> float:
    return min(max(float(f"{value:.4g}"), bounds[0]), bounds[1])
