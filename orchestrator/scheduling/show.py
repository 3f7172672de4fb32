"""A plan as a person reads it."""

from rich.table import Table

from orchestrator.scheduling.reconcile import Plan
from orchestrator.store.state import State


def table(plan: Plan) -> Table:
    """Every trial: its id, what tells it from the others, its state and epochs."""
    title = f"{plan.sweep.name}: {len(plan.standings)} trials"
    shown = Table("trial", "what", "state", "epoch", title=title, title_justify="left")
    for trial_id, standing in plan.standings.items():
        epoch = f"{max(standing.epoch, 0)}/{standing.epochs}"
        shown.add_row(trial_id, plan.sweep.label(plan.trial(trial_id)), standing.state.value, epoch)
    return shown


def failures(plan: Plan) -> list[str]:
    """The last line of every failed trial's traceback, and how to see the rest."""
    failed = {key: standing for key, standing in plan.standings.items() if standing.state is State.FAILED}
    lines = []
    for trial_id, standing in failed.items():
        assert standing.attempt is not None, "a trial fails by its attempt"
        reason = standing.attempt.reason.strip().splitlines()[-1]
        lines.append(f"failed: {trial_id} ({plan.sweep.label(plan.trial(trial_id))}): {reason}")
    if failed:
        lines.append(f"to see it happen: hessian-dynamics trial {plan.sweep.name} {next(iter(failed))}")
    return lines
