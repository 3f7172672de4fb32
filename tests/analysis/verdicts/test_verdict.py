"""Verdicts on conjectures."""

from orchestrator.analysis.verdicts.verdict import CLAIMS, Conclusion, Verdict, left_out


def test_a_verdict_has_the_claim_of_its_conjecture() -> None:
    for conjecture, claim in CLAIMS.items():
        assert Verdict(conjecture, Conclusion.SUPPORTED, "because").claim == claim


def test_unused_trials_are_counted() -> None:
    assert left_out(12, 12, "without a validation set") == ""
    assert left_out(12, 9, "because they diverged") == "3 of 12 trials could not be used because they diverged."
