"""The figures' numbers; that they can be drawn is tested with the report."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from estimators import required_probes
from orchestrator.analysis.figures import (
    convergence,
    cost,
    edge_of_stability,
    explorers,
    layers,
    noise,
    probes,
    shift,
    stopping,
    traces,
)
from orchestrator.analysis.figures.figure import svg
from orchestrator.store.frames import NAMES, Frames
from orchestrator.store.gallery import Gallery
from tests.analysis import planted


@pytest.fixture(scope="module")
def full() -> Frames:
    return planted.full(np.random.default_rng(0), planted.two_rates(4, 20))


def test_figure_1_is_a_running_mean_and_standard_deviation_of_five_epochs(full: Frames) -> None:
    data = explorers.explorers_data(full)
    one = data[(data.trial_id == full.trials.trial_id[0]) & (data.quantity == "accuracy_validation")]
    values = 100 * full.epochs.accuracy_validation[:21]
    assert one.value.tolist() == pytest.approx(values.tolist())
    assert one["mean"].iloc[10] == pytest.approx(values[6:11].mean())
    assert one["std"].iloc[10] == pytest.approx(values[6:11].std(ddof=0))
    assert one["mean"].iloc[1] == pytest.approx(values[:2].mean())
    assert set(data.group) == {"optimizer.lr=0.01", "optimizer.lr=0.05"}
    assert data.groupby(["group", "quantity"]).trial_id.nunique().tolist() == [4] * 8


def test_figure_1_shows_one_block_only_and_leaves_out_what_is_not_finite() -> None:
    trials = [
        planted.trial(seed, 3, optimizer={"name": "sgd", "lr": lr}, batch_size=batch)
        for batch, seeds in ((32, 2), (64, 4))
        for lr in (0.01, 0.05)
        for seed in range(seeds)
    ]
    loss = np.ones((12, 4))
    loss[-1, 2] = np.inf
    data = explorers.explorers_data(planted.frames(trials, {"loss_train": loss}), "optimizer.lr")
    assert data.trial_id.nunique() == 8
    assert len(data) == 8 * 4 - 1


def test_figure_2_is_the_librarys_bound(full: Frames) -> None:
    data = probes.probes_data(full)
    first = full.epochs[full.epochs.trial_id == full.trials.trial_id[0]]
    for (condition, (epsilon, delta)), formula in ((c, f) for c in probes.CONDITIONS.items() for f in (True, False)):
        needed = [
            required_probes(mean, std, epsilon, 1.0, delta, published=formula)
            for mean, std in zip(first.algorithm1_trace, first.algorithm1_trace_std, strict=True)
        ]
        name = "published" if formula else "corrected"
        row = data[(data.trial_id == first.trial_id.iloc[0]) & (data.condition == condition) & (data.formula == name)]
        assert row["mean"].item() == pytest.approx(np.mean(needed))
        assert row["median"].item() == pytest.approx(np.median(needed))
        assert row.largest.item() == pytest.approx(max(needed))
        assert row.epochs.item() == 21


def test_figure_3_has_the_error_against_lanczos_where_lanczos_measured(full: Frames) -> None:
    data = convergence.convergence_data(full)
    row = data.iloc[3]
    truth = full.epochs[(full.epochs.trial_id == row.trial_id) & (full.epochs.epoch == row.epoch)]
    assert row.iteration == 4
    assert row.error == pytest.approx(abs(row.quotient / truth.hessian_lambda_max.item() - 1))
    without = replace(full, epochs=full.epochs.assign(hessian_lambda_min=np.nan))
    assert convergence.convergence_data(without).error.isna().all()


def test_figure_3_shows_a_hundred_measurements_at_most() -> None:
    many = planted.full(np.random.default_rng(0), planted.two_rates(10, 40))
    data = convergence.convergence_data(many)
    assert len(data[["trial_id", "epoch"]].drop_duplicates()) == 100
    assert data.trial_id.nunique() == 20


def test_figure_4_is_the_images_noted_with_the_sweep(full: Frames) -> None:
    assert not len(noise.noise_data(full))
    gallery = Gallery((0.0, 0.25), ("cat", "dog"), (2, 2, 3, 1, 2), bytes(range(24)))
    data = noise.noise_data(replace(full, gallery=gallery))
    pixel = data[(data.noise == 0.25) & (data.label == "dog") & (data.channel == 1) & (data.column == 0)]
    assert pixel.value.tolist() == [12 + 6 + 2]
    noise.draw_noise(data)
    assert noise.summarise_noise(data) == "Test images of cat, dog at noise 0, 0.25."


def test_figure_5_is_a_line_through_the_changes(full: Frames) -> None:
    data = shift.shift_data(full)
    slope, start = np.polyfit(data.x, data.y, 1)
    assert data.fit.to_numpy() == pytest.approx(start + slope * data.x.to_numpy())
    assert (data.low < data.fit).all()
    assert len(data) == 8 * 19


def test_figure_6_takes_twelve_trials_over_the_whole_sweep_and_their_drops() -> None:
    found = planted.stopping(np.random.default_rng(0), planted=True, seeds=20)
    data = stopping.stopping_data(found)
    assert data.trial_id.nunique() == 12
    assert {data.trial_id.iloc[0], data.trial_id.iloc[-1]} == {
        found.trials.trial_id.iloc[0],
        found.trials.trial_id.iloc[-1],
    }
    for _, trial in data.groupby("trial_id"):
        falls = trial.trace.diff().idxmin()
        assert abs(trial.epoch[falls] - trial["drop"].iloc[0]) <= 1


def test_the_edge_of_stability_is_2_over_lr_and_further_with_momentum() -> None:
    trials = [
        planted.trial(0, 2, optimizer={"name": "sgd", "lr": 0.1}),
        planted.trial(0, 2, optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9}),
        planted.trial(0, 2, optimizer={"name": "adam", "lr": 0.1}),
    ]
    data = edge_of_stability.edge_data(planted.frames(trials, {"hessian_lambda_max": np.full((3, 3), 10.0)}))
    assert data.groupby("group", sort=False).threshold.first().to_dict() == pytest.approx(
        {"lr=0.1": 20.0, "lr=0.1, momentum=0.9": 38.0}
    )
    assert data.ratio.iloc[0] == pytest.approx(0.5)


def test_the_bias_of_algorithm_1_is_relative_and_knows_what_to_expect() -> None:
    columns = {"hessian_trace": [[-50.0, 200, 100]], "algorithm1_trace": [[-40.0, 210, 100]]}
    columns |= {"algorithm1_trace_std": [[10.0, 20, 30]]}
    arrays = {name: np.array(values) for name, values in columns.items()}
    data = traces.bias_data(planted.frames([planted.trial(0, 2)], arrays))
    assert data.deviation.tolist() == pytest.approx([0.2, 0.05]), "equal numbers are one number, not two"
    assert data.expected_std.tolist() == pytest.approx([10 / 10**0.5 / 50, 20 / 10**0.5 / 200])


def test_fractions_stand_beside_the_largest_at_the_same_epoch() -> None:
    again = np.array([[np.nan, 100.0, 80.0]])
    columns = {"hessian_trace": np.array([[1.0, 110.0, 76.0]]), "fraction-1.0/hessian_trace": again}
    columns["fraction-0.5_lanczos_products-3/hessian_trace"] = np.array([[np.nan, 105.0, np.nan]])
    data = traces.fraction_data(planted.frames([planted.trial(0, 2)], columns))
    found = {(row.epoch, row.fraction): row.deviation for row in data.itertuples()}
    assert found == pytest.approx({(1, 0.1): 0.1, (2, 0.1): -0.05, (1, 0.5): 0.05})


def test_costs_are_means_of_epochs_that_trained(full: Frames) -> None:
    data = cost.cost_data(full)
    trained = full.epochs[full.epochs.epoch > 0]
    assert data.group.tolist() == ["cnn, batch 64, cpu"]
    assert data.time_measure_seconds.item() == pytest.approx(trained.time_measure_seconds.mean())
    assert data.measure_over_train.item() == pytest.approx(
        trained.time_measure_seconds.mean() / trained.time_train_seconds.mean()
    )
    assert (data.trials.item(), data.epochs.item()) == (8, 160)


def test_layers_are_means_of_the_trials_and_shares_sum_to_one() -> None:
    trials = planted.two_rates(1, 2)
    found = planted.frames(trials, {"hessian_trace": np.ones((2, 3))})
    column = "algorithm1_trace_samples"  # any vector will do: what has names is told by its column of names
    rows = [
        (trial.trial_id, 1, [scale * 3.0, scale * 1.0], ["a", "b"]) for trial, scale in zip(trials, (1, 3), strict=True)
    ]
    samples = pd.DataFrame(rows, columns=["trial_id", "epoch", column, f"{column}{NAMES}"])
    data = layers.layers_data(replace(found, samples=samples))
    assert data.trace.tolist() == [6.0, 2.0]
    assert data.share.tolist() == [0.75, 0.25]
    assert data.trials.tolist() == [2, 2]
    assert "a 75%" in layers.summarise_layers(data)
    layers.draw_layers(data)


def test_a_drawing_shortens_coordinates_and_no_label() -> None:
    trials = [planted.trial(seed, 15, optimizer={"name": "adam", "lr": 0.00125}) for seed in range(2)]
    trials += [planted.trial(0, 15, optimizer={"name": "adam", "lr": 0.3})]
    found = planted.full(np.random.default_rng(0), trials)
    picture = svg(stopping.draw_stopping(stopping.stopping_data(found)), "figure6")
    assert "lr=0.00125" in picture
    assert "currentColor" in picture
    assert 'id="figure6-' in picture
