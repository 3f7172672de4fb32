"""Verdicts on the paper's three conjectures. The rules are in docs/conjectures.md."""

from orchestrator.analysis.verdicts.explorers import judge_explorers
from orchestrator.analysis.verdicts.shift import judge_shift
from orchestrator.analysis.verdicts.stopping import judge_stopping
from orchestrator.analysis.verdicts.verdict import Verdict
from orchestrator.store.frames import Frames


def judge(frames: Frames, by: str | None = None) -> tuple[Verdict, Verdict, Verdict]:
    """The verdicts on conjectures 1 to 3. `by` is the grouping key of conjecture 1."""
    return judge_explorers(frames, by), judge_shift(frames), judge_stopping(frames)
