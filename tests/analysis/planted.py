"""Synthetic sweeps with planted effects of known size."""

from typing import Any

import numpy as np

from orchestrator.store.frames import Frames, TrialFacts, assemble
from orchestrator.store.provenance.provenance import Provenance
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Resources, Sweep

PROVENANCE = Provenance("0.1.0", "abc123", "hessian-dynamics run toy", "here", "me", "3.11", "a processor")
Row = dict[str, float]


def trial(seed: int, epochs: int | None = None, **changes: Any) -> TrialConfig:
    content = {"data": {"name": "digits"}, "optimizer": {"name": "sgd", "lr": 0.05}, "epochs": epochs, "seed": seed}
    return TrialConfig.model_validate({**content, **changes})


def sweep(trials: list[TrialConfig]) -> Sweep:
    return Sweep("toy", "Planted.", tuple(trials), Resources())


def two_rates(seeds: int, epochs: int) -> list[TrialConfig]:
    rates = ({"name": "sgd", "lr": 0.01}, {"name": "sgd", "lr": 0.05})
    return [trial(seed, epochs, optimizer=rate) for rate in rates for seed in range(seeds)]


def frames(trials: list[TrialConfig], columns: dict[str, np.ndarray], **samples: Any) -> Frames:
    """Frames from columns of shape [trials, records + 1], starting with the untrained model."""
    facts = []
    for place, config in enumerate(trials):
        rows = {
            epoch: {name: float(values[place, epoch]) for name, values in columns.items()}
            for epoch in range(config.records + 1)
        }
        facts.append(
            TrialFacts(
                config,
                State.COMPLETED,
                rows,
                samples.get("samples", {}),
                samples.get("steps_per_epoch"),
                commit="abc123",
                device="cpu",
                processor="a processor",
                host="here",
            )
        )
    return assemble(sweep(trials), PROVENANCE, facts)


def respaced(found: Frames, steps_per_epoch: int | None = None, **length: Any) -> Frames:
    """The same numbers at records of another distance, such as ``epochs=100, record_every="5 epochs"``."""
    trials = [trial(t.seed, **{"optimizer": t.optimizer.model_dump(), **length}) for t in found.sweep.trials]
    numbers = found.epochs.drop(columns=["trial_id", "epoch", "step"]).dropna(axis=1, how="all")
    columns = {name: values.to_numpy().reshape(len(trials), -1) for name, values in numbers.items()}
    return frames(trials, columns, steps_per_epoch=steps_per_epoch)  # type: ignore[arg-type]


def walk(generator: np.random.Generator, trials: int, epochs: int, step: float = 0.1) -> np.ndarray:
    return generator.normal(0, step, (trials, epochs + 1)).cumsum(axis=1)


def explorers(generator: np.random.Generator, effect: float, seeds: int = 4, epochs: int = 20) -> Frames:
    """log lambda_max is a random walk in each trial. It is higher by `effect` in the second group."""
    trials = two_rates(seeds, epochs)
    group = np.repeat([0.0, 1.0], seeds)[:, None]
    logs = 2 + walk(generator, len(trials), epochs) + effect * group
    loss = np.exp(-0.1 * np.arange(epochs + 1)) + generator.normal(0, 0.02, logs.shape)
    return frames(trials, {"hessian_lambda_max": np.exp(logs), "loss_train": loss})


def shift(generator: np.random.Generator, effect: float, seeds: int = 8, epochs: int = 40, test: float = 0.0) -> Frames:
    """d(OOD) = 0.7 d(validation) + effect d(lambda_max) + noise that is correlated within trials.

    d(test) = 0.97 d(validation) + test d(lambda_max) + independent noise.
    """
    trials = two_rates(seeds, epochs)
    shape = (len(trials), epochs)
    own = generator.normal(0, 0.1, (len(trials), 1))
    d_lambda = generator.normal(0, 5, shape)
    d_validation = generator.normal(0.3, 1, shape) - 0.05 * d_lambda
    d_test = 0.97 * d_validation + test * d_lambda + generator.normal(0, 0.3, shape)
    d_ood = 0.7 * d_validation + effect * d_lambda + own + generator.normal(0, 1, shape)
    changes = {
        "hessian_lambda_max": d_lambda,
        "accuracy_validation": d_validation / 100,
        "accuracy_test": d_test / 100,
        "accuracy_ood": d_ood / 100,
    }
    zero = np.zeros((len(trials), 1))
    return frames(trials, {name: np.hstack([zero, steps.cumsum(axis=1)]) for name, steps in changes.items()})


def stopping(generator: np.random.Generator, planted: bool, seeds: int = 6, epochs: int = 50) -> Frames:
    """The trace falls to a third at a random epoch. The accuracy stops rising there or, if not `planted`, anywhere."""
    trials = two_rates(seeds, epochs)
    count = len(trials)
    drops = generator.integers(10, 40, count)
    peaks = drops if planted else generator.integers(10, 40, count)
    epoch = np.arange(epochs + 1)
    trace = 200 * np.exp(generator.normal(0, 0.1, (count, epochs + 1)))
    trace = trace * np.where(epoch[None, :] >= drops[:, None], 0.3, 1.0)
    accuracy = 0.1 + 0.6 * np.minimum(epoch[None, :] / peaks[:, None], 1)
    accuracy = accuracy + generator.normal(0, 0.003, accuracy.shape)
    return frames(trials, {"hessian_trace": trace, "accuracy_validation": accuracy})


def full(generator: np.random.Generator, trials: list[TrialConfig]) -> Frames:
    """All columns with plausible values."""
    count, epochs = len(trials), trials[0].records
    epoch = np.arange(epochs + 1)[None, :]
    noise = lambda size: generator.normal(0, size, (count, epochs + 1))  # noqa: E731
    rise = 1 - 0.9 * np.exp(-0.15 * epoch)
    sharp = np.exp(2.5 + 0.3 * np.sin(epoch / 6) + noise(0.1))
    columns = {
        "loss_train": 2.3 * np.exp(-0.1 * epoch) + np.abs(noise(0.02)),
        "loss_validation": 2.3 * np.exp(-0.1 * epoch) + 0.2 + np.abs(noise(0.02)),
        "accuracy_train": rise + noise(0.005),
        "accuracy_validation": 0.95 * rise + noise(0.005),
        "accuracy_test": 0.94 * rise + noise(0.005),
        "accuracy_ood": 0.8 * rise + noise(0.01) - 0.001 * sharp,
        "hessian_lambda_max": sharp,
        "hessian_lambda_max_residual": np.abs(noise(0.1)),
        "hessian_lambda_min": -np.abs(noise(0.5)),
        "hessian_trace": 10 * sharp + noise(5),
        "hessian_trace_standard_error": np.abs(noise(1)),
        "algorithm1_max_eigenvalue": sharp * 0.98,
        "algorithm1_trace": 10 * sharp + noise(20),
        "algorithm1_trace_std": 60 + noise(5),
        "hessian_products": 30 + 0 * epoch + noise(0),
        "gradient_norm": np.abs(noise(1)),
        "time_train_seconds": 10 + np.abs(noise(1)),
        "time_evaluate_seconds": 1 + np.abs(noise(0.1)),
        "time_measure_seconds": 5 + np.abs(noise(1)),
    }
    vectors = {
        e: {
            "algorithm1_rayleigh_quotients": tuple(10 * (1 - 0.5**k) for k in range(1, 11)),
            "lanczos_history": tuple(10 * (1 - 0.3**k) for k in range(1, 11)),
        }
        for e in range(0, epochs + 1, 5)
    }
    return frames(trials, columns, samples=vectors)
