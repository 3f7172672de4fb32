"""Traces by parameter."""

from dataclasses import replace

import numpy as np
import pandas as pd

from orchestrator.analysis.figures.layers import TRACES, draw_layers, layers_data, summarise_layers
from orchestrator.store.frames import NAMES
from tests.analysis import planted


def test_traces_are_means_over_trials_and_shares_sum_to_one() -> None:
    trials = planted.two_rates(1, 2)
    found = planted.frames(trials, {"hessian_trace": np.ones((2, 3))})
    rows = [
        (trial.trial_id, 1, [scale * 3.0, scale * 1.0], ["a", "b"]) for trial, scale in zip(trials, (1, 3), strict=True)
    ]
    samples = pd.DataFrame(rows, columns=["trial_id", "epoch", TRACES, f"{TRACES}{NAMES}"])
    seconds = {"time_per_quantity": [[1.0]] * 2, f"time_per_quantity{NAMES}": [["lanczos"]] * 2}
    samples = samples.assign(**seconds)[["trial_id", "epoch", *seconds, TRACES, f"{TRACES}{NAMES}"]]
    data = layers_data(replace(found, samples=samples))
    assert data.trace.tolist() == [6.0, 2.0]
    assert data.share.tolist() == [0.75, 0.25]
    assert data.trials.tolist() == [2, 2]
    assert "a 75%" in summarise_layers(data)
    draw_layers(data)
