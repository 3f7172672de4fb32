"""Tables and lines about a plan."""

import io
from pathlib import Path

from rich.console import Console

from orchestrator.scheduling.forecast.show import MOST_FRAMED, failures, table
from orchestrator.scheduling.plan import reconcile
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, Sweep
from tests.scheduling.stored import attempt
from tests.training.trials import small_trial


def test_a_table_of_many_trials_has_no_frames(tmp_path: Path) -> None:
    trials = tuple(small_trial(seed=seed, epochs=4) for seed in range(MOST_FRAMED + 1))
    output = io.StringIO()
    plan = reconcile(Sweep("many", "", trials, Resources()), Storage(tmp_path))
    Console(file=output, width=30).print(table(plan), crop=False)
    title, header, *lines = output.getvalue().splitlines()
    assert title == f"many: {MOST_FRAMED + 1} trials"
    assert header.split() == ["trial", "what", "state", "epoch"]
    assert [line.split() for line in lines] == [[t.trial_id, f"seed={t.seed}", "pending", "0/4"] for t in trials]


def test_failures_have_a_reason_and_a_command_that_reproduces_one(tmp_path: Path) -> None:
    storage, trials = Storage(tmp_path), tuple(small_trial(seed=seed, epochs=4) for seed in range(2))
    reason = "Traceback\n  ...\nValueError: boom\n"
    storage.trial(trials[1].trial_id).write_attempt(attempt("1", ended="failed", reason=reason))
    plan = reconcile(Sweep("two", "", trials, Resources()), storage)
    assert table(plan).row_count == 2
    assert failures(plan) == [
        f"failed: {trials[1].trial_id} (seed=1): ValueError: boom",
        f"to reproduce: hessian-dynamics trial two {trials[1].trial_id}",
    ]
