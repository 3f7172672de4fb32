"""Quantities that the report derives from recorded ones. Expectations use them to judge the paper's claims."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Derived:
    """A derived quantity."""

    meaning: str
    of_sweep: bool = False
    """Whether it is one number of the whole sweep with a standard error. Otherwise every record has a value."""


DERIVED = {
    "paper/probes_strict": Derived(
        "probes that Algorithm 1 needs for an error of 10% or 1 nat with probability 95%, by the paper's equation (16)"
    ),
    "paper/probes_relaxed": Derived("the same for an error of 20% or 1 nat with probability 90%"),
    "paper/power_iterations": Derived(
        "products after which Algorithm 1's Rayleigh quotient stays within 1% of its last value"
    ),
    "paper/fraction_deviation": Derived(
        "|trace - reference| / |reference|; the reference is the same checkpoint's trace on the largest remeasured "
        "fraction of the training samples"
    ),
    "table1/test": Derived("coefficient of lambda_max alone for test accuracy, in Table 1 of the paper", True),
    "table1/test_with_validation": Derived("the same, controlling for validation accuracy", True),
    "table1/ood": Derived("coefficient of lambda_max alone for OOD accuracy, in Table 1 of the paper", True),
    "table1/ood_with_validation": Derived("the same, controlling for validation accuracy", True),
}
