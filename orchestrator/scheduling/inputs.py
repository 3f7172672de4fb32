"""Compares the data and the user's own code behind stored trials with those that a sweep names now.

Neither is part of a trial's id: the id of `data: {name: image_folder, path: /a}` does not depend on the images.
"""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.scheduling.plan import Plan
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.recorded_code import changed_code, record_code, recorded_code
from orchestrator.store.storage import Storage
from orchestrator.study.config import TrialConfig
from orchestrator.training.user_code.own_code import code_digests, importable_from, named_modules, own_code

MOST_CHANGES = 10
"""Maximum number of changes that are listed."""
_DATA_FIX = "data changed: restore it, or use another --storage"
_CODE_FIX = (
    "code changed: restore it, use another --storage, or keep the stored records with run --accept-changed-code, "
    "which is recorded in their provenance"
)


class ChangedInputsError(ValueError):
    """Stored trials have other data or code, or cannot be compared. The message lists them and the fixes."""


@dataclass(frozen=True)
class InputChange:
    """A stored trial that was computed from other data or other code."""

    trial_id: str
    label: str
    what: str
    """The data set and its path, or a module."""
    stored: str
    """The digest when the stored records were computed."""
    found: str
    """The digest now; empty if the module is not found."""

    def __str__(self) -> str:
        """``trial 30ab2c1fa288 (lr=0.05): my.models was 1f2e3d4c5b6a, is 6a5b4c3d2e1f``."""
        name = f"trial {self.trial_id}" + (f" ({self.label})" if self.label else "")
        found = f"is {self.found[:12]}" if self.found else f"is not found from {Path.cwd()}"
        return f"{name}: {self.what} was {self.stored[:12]}, {found}"


@dataclass(frozen=True)
class InputComparison:
    """The comparison of a sweep's stored trials with its data and code."""

    data: tuple[InputChange, ...] = ()
    code: tuple[InputChange, ...] = ()
    unrecorded: tuple[TrialConfig, ...] = ()
    """Complete trials whose attempts do not record all of their code, because an earlier version computed them."""
    not_compared: tuple[str, ...] = ()
    """Reasons why data could not be compared."""

    @property
    def lines(self) -> list[str]:
        """One line for each of the first changes, the fixes, and what was not compared."""
        changes = [*self.data, *self.code]
        lines = [f"changed: {change}" for change in changes[:MOST_CHANGES]]
        if len(changes) > MOST_CHANGES:
            lines.append(f"changed: {len(changes) - MOST_CHANGES} more")
        lines += [_DATA_FIX] if self.data else []
        lines += [_CODE_FIX] if self.code else []
        return lines + [f"data not compared: {reason}" for reason in self.not_compared]

    def refuse(self, accept_changed_code: bool) -> None:
        """Raises ChangedInputsError if data or code changed, unless only code did and this is accepted."""
        if self.data or (self.code and not accept_changed_code):
            head = "stored trials were computed from other data or code, nothing was started:"
            raise ChangedInputsError("\n  ".join([head, *self.lines]))
        if self.not_compared:
            raise ChangedInputsError(
                "data cannot be compared with that of stored trials, nothing was started: "
                + "\n  ".join(self.not_compared)
            )

    def record(self, plan: Plan, storage: Storage) -> None:
        """Records the code of complete trials whose code was unknown or whose changes were accepted."""
        accepted: dict[str, dict[str, str]] = {}
        for change in self.code:
            if plan.statuses[change.trial_id].state.final:
                accepted.setdefault(change.trial_id, {})[change.what] = change.stored
        for trial_id in dict.fromkeys([*accepted, *(config.trial_id for config in self.unrecorded)]):
            current = capture(own_code(plan.trial(trial_id)), accepted_code=accepted.get(trial_id, {}))
            record_code(storage.trial(trial_id), current)


def compare_inputs(plan: Plan, storage: Storage, decode: bool) -> InputComparison:
    """Compares the inputs of all trials that have records.

    Args:
        plan: the status of the sweep.
        storage: the storage of the plan.
        decode: whether to decode a data set to get its digest. Otherwise it is compared only if it is decoded already.
    """
    importable_from(str(Path.cwd()))
    begun = [config for key, config in plan.sweep.by_id.items() if plan.statuses[key].data_digest is not None]
    data, not_compared = _changed_data(plan, begun, decode)
    code, unrecorded = _changed_code(plan, storage, [config for config in begun if named_modules(config)])
    return InputComparison(tuple(data), tuple(code), tuple(unrecorded), tuple(not_compared))


def _changed_data(plan: Plan, begun: list[TrialConfig], decode: bool) -> tuple[list[InputChange], list[str]]:
    changes, not_compared = [], []
    for data in dict.fromkeys(config.data for config in begun if not config.data.fixed_content):
        from orchestrator.training.data.datasets import source_digest  # imports torch, which takes seconds

        try:
            found = source_digest(data, decode)
        except ValueError as error:
            not_compared.append(str(error))
            continue
        what = f"the data in {getattr(data, 'path', None) or data.name}"
        for config in (config for config in begun if config.data == data):
            stored = plan.statuses[config.trial_id].data_digest
            if stored != found:
                changes.append(_change(plan, config, what, stored or "", found))
    return changes, not_compared


def _changed_code(
    plan: Plan, storage: Storage, begun: list[TrialConfig]
) -> tuple[list[InputChange], list[TrialConfig]]:
    current: dict[frozenset[str], dict[str, str]] = {}
    changes, unrecorded = [], []
    for config in begun:
        modules = frozenset(named_modules(config))
        if modules not in current:
            current[modules] = code_digests(own_code(config))
        recorded, found = recorded_code(storage.trial(config.trial_id)), current[modules]
        changed = changed_code(recorded, found)
        changes += [_change(plan, config, module, digest, found.get(module, "")) for module, digest in changed.items()]
        if not changed and found.keys() - recorded.keys() and plan.statuses[config.trial_id].state.final:
            unrecorded.append(config)
    return changes, unrecorded


def _change(plan: Plan, config: TrialConfig, what: str, stored: str, found: str) -> InputChange:
    return InputChange(config.trial_id, plan.sweep.label(config), what, stored, found)
