"""Runs trials at the same time and writes their memory into a folder: ``python -m benchmarks.sweeps.memory_case ...``.

It is a program of its own, because worker processes import the main module of their driver, and the other benchmarks
import libraries that a trial does not need.
"""

import json
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.barrier import Barrier
from benchmarks.harness.memory import ProcessMemory, peak_resident_bytes, process_memory, reset_peak
from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.local import LocalEngine
from orchestrator.scheduling.job import TrialSnapshot
from orchestrator.scheduling.retry import Failure, failure_of
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Resources, load_sweep
from orchestrator.training.checkpoint import Moment, snapshot
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data
from orchestrator.training.environment import reproducible
from orchestrator.training.loop import fitting_model, train
from orchestrator.training.optimizers.build import build_optimizer

STAGES = ("torch imported", "data read", "training", "measuring")
MEASURED_RECORD = 2
"""It has lambda_max and the exact trace, as nine of ten records of the sweep `paper` do."""
_INTERVAL_SECONDS = 0.5
_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class MemoryCase:
    """The trials that run at the same time."""

    folder: str
    """Receives the results."""
    trials: int
    images: str
    """The image folder."""
    steps: int
    """Number of optimizer steps between two records."""
    products: int
    """Number of products of Lanczos. Each further one takes as much time, and the memory of a vector."""

    def trial(self, seed: int) -> TrialConfig:
        """The first trial of the sweep `paper` on these images, with few steps, measured at its last record."""
        content = load_sweep("paper").trials[0].model_dump()
        content |= {"data": {"name": "image_folder", "path": self.images}, "seed": seed}
        content |= {"epochs": None, "steps": MEASURED_RECORD * self.steps, "record_every": f"{self.steps} steps"}
        content |= {"evaluate_every": MEASURED_RECORD + 1}
        content["measurement"] |= {"every": MEASURED_RECORD, "lanczos_products": self.products}
        return TrialConfig.model_validate(content)


@dataclass(frozen=True)
class MemoryTrial:
    """A job that runs the stages of a trial and writes its memory after each of them into a folder."""

    case: MemoryCase

    def with_resources(self, resources: Resources) -> "MemoryTrial":
        """Returns the job itself, which always uses one thread."""
        return self

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        """Runs the stages. All trials begin each of them together."""
        folder = Path(self.case.folder)
        try:
            (folder / f"{trial_id}.pid").write_text(str(os.getpid()))
            with reproducible(1):
                found = self._measured(trial_id)
            (folder / f"{trial_id}.json").write_text(json.dumps(found))
        except Exception as error:
            traceback.print_exc()
            return failure_of(error)
        return None

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        """Returns an empty snapshot, as nothing is committed."""
        return TrialSnapshot()

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        """Does nothing: the trial stores no attempts."""

    def _measured(self, trial_id: str) -> dict[str, dict[str, int]]:
        stages, found = self._stages(int(trial_id)), {}
        barrier = Barrier(Path(self.case.folder), self.case.trials, _PATIENCE_SECONDS)
        for number, stage in enumerate(STAGES):
            reset_peak()
            next(stages)
            peak = peak_resident_bytes()
            barrier.wait(trial_id, f"{number}-ended")
            memory = process_memory()
            assert memory is not None
            found[stage] = {"peak": peak, **asdict(memory)}
            barrier.wait(trial_id, f"{number}-measured")
        return found

    def _stages(self, seed: int) -> Iterator[None]:
        """Yields after each stage. Training resumes from record 0, which is not measured."""
        yield
        config, device = self.case.trial(seed), torch.device("cpu")
        data = load_data(config.data, device)
        read_all(data)
        yield
        records = train(config, data, device, _checkpoint(config, data))
        for _ in range(2):
            next(records)
            yield


def read_all(data: DataSplits) -> None:
    """Reads every image, as the trial does in its first epoch, so that all mapped pages are resident."""
    for tensor in (data.train.inputs, data.validation.inputs, data.test.inputs, data.ood_noise):
        tensor.max()  # unlike a sum, it makes no copy of another type


def _checkpoint(config: TrialConfig, data: DataSplits) -> bytes:
    """The checkpoint of the untrained network."""
    model = fitting_model(config, data)
    return snapshot(Moment(0, step=0), model, build_optimizer(config.optimizer, model.parameters()))


@dataclass
class Sampler:
    """Finds the moment at which the processes whose ids are in a folder together use the most memory."""

    folder: Path
    largest: list[ProcessMemory] = field(default_factory=list)
    """The processes at that moment."""

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Samples during the block."""
        done = threading.Event()
        thread = threading.Thread(target=self._sample_until, args=(done,))
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def sample(self) -> None:
        """Reads the memory of the processes now."""
        pids = [path.read_text() for path in self.folder.glob("*.pid")]
        found = [memory for pid in pids if pid and (memory := process_memory(int(pid)))]
        if total(found) > total(self.largest):
            self.largest = found

    def _sample_until(self, done: threading.Event) -> None:
        while not done.wait(_INTERVAL_SECONDS):
            self.sample()


def total(found: list[ProcessMemory]) -> int:
    """The memory of processes together, without counting a shared page twice."""
    return sum(memory.proportional for memory in found)


def run_case(case: MemoryCase) -> dict[str, Any]:
    """Returns the memory of each trial after each stage, and that of all at the moment of the largest total.

    Each trial runs in an engine of its own, because one engine runs as many at a time as there are CPUs.
    """
    folder, names = Path(case.folder), [str(seed) for seed in range(case.trials)]
    attempts = [Attempts(MemoryTrial(case), [name]) for name in names]
    threads = [threading.Thread(target=LocalEngine(Resources(), 1).run, args=(each,)) for each in attempts]
    sampler = Sampler(folder)
    with sampler.sampling():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    trials = [json.loads((folder / f"{name}.json").read_text()) for name in names]
    return {
        "stages": {stage: [trial[stage] for trial in trials] for stage in STAGES},
        "largest": [asdict(memory) for memory in sampler.largest],
    }


if __name__ == "__main__":
    print(json.dumps(run_case(MemoryCase(**json.loads(sys.argv[1])))))
