"""Judges the expectations of a sweep by its records. The rules are in docs/how-to/expectations.md."""

from orchestrator.analysis.expectations.describe import Judgements
from orchestrator.analysis.expectations.judge import judge_expectations
from orchestrator.analysis.expectations.judgement import Judgement, Outcome

__all__ = ["Judgement", "Judgements", "Outcome", "judge_expectations"]
