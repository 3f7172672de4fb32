"""Trials that do not train, but commit realistic records to a real store."""

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from orchestrator.scheduling.job import TrainingJob
from orchestrator.store.attempt import Attempt
from orchestrator.store.ownership.claims import Owner
from orchestrator.store.provenance.provenance import Provenance, capture
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore, first_missing
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import Record

DATA_DIGEST = "0" * 64
CHECKPOINT_BYTES = 4096


@dataclass(frozen=True)
class FakeTrial(TrainingJob):
    """A job that derives its numbers from the config of the trial and the state after the previous epoch.

    As in a real trial, the numbers change if it resumes from a wrong state.
    """

    epoch_seconds: float = 0.0

    def _run(self, trial_id: str, node: str) -> None:
        """Computes and commits the missing epochs of a trial."""
        storage = Storage(self.storage_root)
        store = storage.sweep(self.sweep)
        config = store.read_manifest()[0].by_id[trial_id]
        trial = storage.trial(trial_id)
        started_ms = time.time_ns() // 1_000_000
        name = f"{started_ms}-{random.SystemRandom().getrandbits(24):06x}"
        claim = trial.claim(Owner(self.sweep, self.lease), name)
        trial.write_config(config)
        trial.set_aside_damaged()
        first = first_missing(trial.numbers())
        attempt = Attempt(name, started_ms, first, provenance(), {"device": "none"}, claim=claim.number, node=node)
        trial.write_attempt(attempt)
        trial.write_attempt(
            replace(attempt, ended=self._train(trial, config, attempt.name, lambda: store.stop_requested))
        )

    def _train(self, trial: TrialStore, config: TrialConfig, attempt: str, stop: Callable[[], bool]) -> State:
        """Computes the missing epochs. Resumes from the newest checkpoint if another process commits one of them."""
        state: State | None = None
        while state is None:
            state = self._train_from_checkpoint(trial, config, attempt, stop)
        return state

    def _train_from_checkpoint(
        self, trial: TrialStore, config: TrialConfig, attempt: str, stop: Callable[[], bool]
    ) -> State | None:
        """Computes epochs from the newest intact checkpoint on. Returns None if another process commits one of them."""
        if stop():
            return State.INTERRUPTED
        known = trial.numbers()
        damaged = trial.damaged_timestamps()
        # Later epochs are recomputed too, which is cheap here.
        newest = trial.latest_checkpoint(below=first_missing(known))
        state = newest.content if newest else b""
        for epoch in range(newest.number + 1 if newest else 0, config.records + 1):
            record, state = step(config, epoch, state)
            record = replace(record, timestamp_ms=damaged.get(epoch, record.timestamp_ms))
            time.sleep(self.epoch_seconds)
            # A known epoch was recomputed because its checkpoint is damaged; its record is kept.
            if not trial.commit(record, state, DATA_DIGEST, attempt) and epoch not in known:
                return None
            if epoch < config.records and stop():
                return State.INTERRUPTED
        return State.COMPLETED


def step(config: TrialConfig, epoch: int, state: bytes) -> tuple[Record, bytes]:
    """The record of an epoch and the state after it, computed from the previous state."""
    seed = hashlib.sha256(f"{config.trial_id} {epoch} ".encode() + state).digest()
    draw = random.Random(seed)
    loss = 2.3 * 0.9**epoch * draw.uniform(0.9, 1.1)
    trace = 50.0 * 1.1**epoch * draw.uniform(0.8, 1.2)
    scalars: dict[str, Any] = {name: draw.random() for name in _SCALARS}
    scalars |= {"loss_train": loss, "hessian_trace": trace, "hessian_lambda_max": trace / 20}
    vectors: dict[str, Any] = {name: tuple(draw.random() for _ in range(10)) for name in _VECTORS}
    record = Record(number=epoch, timestamp_ms=time.time_ns() // 1_000_000, **scalars, **vectors)
    return record, draw.randbytes(CHECKPOINT_BYTES)


_SCALARS = (
    "loss_validation", "accuracy_train", "accuracy_validation", "accuracy_test", "accuracy_ood",
    "hessian_lambda_max_residual", "hessian_lambda_min", "hessian_trace_standard_error", "algorithm1_max_eigenvalue",
    "algorithm1_trace", "algorithm1_trace_std", "hessian_products", "gradient_norm", "time_train_seconds",
    "time_evaluate_seconds", "time_measure_seconds",
)  # fmt: skip
_VECTORS = ("lanczos_history", "algorithm1_rayleigh_quotients", "algorithm1_trace_samples")


@cache
def provenance() -> Provenance:
    """The provenance of this process, cached because git takes a tenth of a second."""
    return capture()
