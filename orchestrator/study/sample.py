"""The section ``sample:`` of a sweep file, which draws trials at random with a seed when the file is read.

Trial ids depend on the drawn values, so every machine and library version must draw the same values. Random numbers
come from Python's Mersenne Twister. Sobol points come from SciPy, but are determined by published direction numbers.
Values are rounded to four significant digits, because the last bits of `exp` and `log` differ between machines.
"""

import math
import random
import warnings
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.study.parts.fields import Config, NonNegativeInt, PositiveInt

Range = Annotated[tuple[float, float], Field(strict=False)]


class Distribution(Config):
    """The distribution of one key. Exactly one field is given."""

    uniform: Range | None = None
    log_uniform: Range | None = None
    """The logarithm is uniform: values between 0.001 and 0.01 are as frequent as between 0.01 and 0.1."""
    choice: list[Any] | None = None

    @model_validator(mode="after")
    def _exactly_one_valid_field(self) -> Self:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of uniform: [low, high], log_uniform: [low, high] or choice: [...]")
        if self.choice == []:
            raise ValueError("choice is empty; give at least one value")
        for name, bounds in (("uniform", self.uniform), ("log_uniform", self.log_uniform)):
            if bounds and not bounds[0] < bounds[1]:
                raise ValueError(f"{name} is [{bounds[0]}, {bounds[1]}]; the first number must be the smaller one")
        if self.log_uniform and self.log_uniform[0] <= 0:
            raise ValueError(f"log_uniform begins at {self.log_uniform[0]}; both numbers must be above 0")
        return self

    def at(self, share: float) -> Any:
        """The quantile at probability `share`, which is in [0, 1)."""
        if self.choice is not None:
            return self.choice[int(share * len(self.choice))]
        if self.uniform:
            return _rounded(self.uniform[0] + share * (self.uniform[1] - self.uniform[0]), self.uniform)
        assert self.log_uniform
        low, high = map(math.log, self.log_uniform)
        return _rounded(math.exp(low + share * (high - low)), self.log_uniform)


class SampleConfig(Config):
    """Random points of a search space. Each is combined with every point of the grid."""

    trials: PositiveInt
    """Number of points. A larger number adds points and does not change the first ones."""
    method: Literal["random", "sobol"] = "random"
    """``sobol`` is a low-discrepancy sequence (Sobol, 1967) with a random shift that depends on the seed."""
    seed: NonNegativeInt = 0
    values: Annotated[dict[str, Distribution], Field(min_length=1)]


def draw(sample: SampleConfig) -> list[dict[str, Any]]:
    """Draws the points, as values by dotted key."""
    keys = sorted(sample.values)
    shares = (_sobol if sample.method == "sobol" else _random)(sample, keys)
    return [{key: sample.values[key].at(share) for key, share in zip(keys, point, strict=True)} for point in shares]


def _stream(sample: SampleConfig, key: str) -> Callable[[], float]:
    """Returns a function that draws the random numbers of one key, in [0, 1). They do not depend on the other keys."""
    return random.Random(f"{sample.seed}/{key}").random


def _random(sample: SampleConfig, keys: list[str]) -> list[list[float]]:
    streams = [_stream(sample, key) for key in keys]
    return [[stream() for stream in streams] for _ in range(sample.trials)]


def _sobol(sample: SampleConfig, keys: list[str]) -> list[list[float]]:
    from scipy.stats.qmc import Sobol

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the number of points need not be a power of 2
        points = Sobol(len(keys), scramble=False).random(sample.trials).tolist()
    shifts = [_stream(sample, key)() for key in keys]
    return [[(share + shift) % 1.0 for share, shift in zip(point, shifts, strict=True)] for point in points]


def _rounded(value: float, bounds: tuple[float, float]) -> float:
    return min(max(float(f"{value:.4g}"), bounds[0]), bounds[1])
