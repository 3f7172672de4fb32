"""The report: whole, self-contained, and there whatever is missing."""

import re
import time
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.figures.catalogue import BEYOND, PAPER
from orchestrator.analysis.groups import GroupKeyError
from orchestrator.analysis.report import Report, write_report
from orchestrator.analysis.sweep_summary import account
from orchestrator.store.frames import Frames
from tests.analysis import planted
from tests.analysis.browser import CHROMIUM, look


@pytest.fixture(scope="module")
def frames() -> Frames:
    return planted.full(np.random.default_rng(0), planted.two_rates(4, 15))


@pytest.fixture(scope="module")
def report(frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(frames, tmp_path_factory.mktemp("report"))


def _text(report: Report) -> str:
    return unescape(re.sub(r"<[^>]+>", "", report.page.read_text()))


def test_every_figure_has_its_numbers_beside_it(report: Report) -> None:
    folder = report.page.parent
    for figure in (*PAPER, *BEYOND):
        there = figure.name not in report.missing
        assert (folder / f"{figure.name}.svg").exists() == there
        assert (folder / f"{figure.name}.csv").exists() == there
    assert report.missing == ("figure4", "trace_fraction", "layers")
    assert len(pd.read_csv(folder / "table1.csv")) == 20
    assert (folder / "table1.tex").exists()
    assert pd.read_csv(folder / "verdicts.csv").conjecture.tolist() == [1, 2, 3]


def test_captions_say_how_to_make_a_figure_again_and_pictures_say_what_they_show(report: Report) -> None:
    page = report.page.read_text()
    drawn = len(PAPER) + len(BEYOND) - len(report.missing)
    assert page.count("<code>make report SWEEP=toy</code>") == drawn
    assert len(re.findall(r'<svg role="img" aria-label="[^"]{60,}"', page)) == drawn


def test_the_page_says_what_was_run(report: Report) -> None:
    text = _text(report)
    for word in ("toy", "8: 8 completed", "abc123", "a processor", "digits", "0.01, 0.05", "trial hours"):
        assert word in text


def test_nothing_of_the_page_lies_elsewhere(report: Report) -> None:
    page = report.page.read_text()
    assert "<script" not in page
    assert "@import" not in page
    fetched = re.findall(r'(?:src|xlink:href|<link[^>]*href|<image[^>]*href)="([^"]*)"', page)
    assert [link for link in fetched if not link.startswith(("data:", "#"))] == []
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("flags", [(), ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")])
def test_a_browser_shows_it_without_a_complaint(report: Report, tmp_path: Path, flags: tuple[str, ...]) -> None:
    seen, console = look(report.page, tmp_path, *flags)
    assert console == []
    assert (seen["broken"], seen["asked"], seen["over"]) == (0, [], 0)
    assert seen["seen"] == len(PAPER) + len(BEYOND) - len(report.missing)
    assert seen["ink"] == ("rgb(230, 233, 237)" if flags else "rgb(27, 31, 36)")


def test_trials_that_are_not_whole_are_listed_with_their_reason(frames: Frames, tmp_path: Path) -> None:
    trials = frames.trials.copy()
    trials.loc[0, ["state", "failure"]] = ["failed", "RuntimeError: <b>out of memory</b>"]
    trials.loc[1, "state"] = "diverged"
    trials.loc[2, ["state", "last_epoch"]] = ["pending", -1]
    epochs = frames.epochs[frames.epochs.trial_id != trials.trial_id[2]]
    written = write_report(replace(frames, trials=trials, epochs=epochs), tmp_path)
    text = _text(written)
    assert "RuntimeError: <b>out of memory</b>" in text
    assert "its training loss is no finite number: a result" in text
    assert "0/15" in text
    assert "3 of 8 trials could not be used" in text


def test_what_is_missing_is_counted(frames: Frames) -> None:
    epochs = frames.epochs.copy()
    epochs["hessian_lambda_min"] = np.nan
    epochs.loc[[3, 4], "accuracy_ood"] = np.nan
    found = account(replace(frames, epochs=epochs.drop(index=7))).missing
    assert any(line.startswith("Never measured: hessian/lambda_min, ") for line in found)
    assert "accuracy/ood is missing at 2 of 127 epochs." in found
    assert f"Trial {frames.trials.trial_id[0]} lacks 1 epochs in between." in found


def test_what_was_not_asked_for_is_not_missing(frames: Frames) -> None:
    trials, epochs = frames.trials.copy(), frames.epochs.copy()
    trials["measurement.estimators"], trials["measurement.algorithm1_every"] = "lanczos, algorithm1", 5
    epochs["hessian_gauss_newton_trace"] = np.nan
    epochs["algorithm1_trace"] = np.where(epochs.epoch % 5 == 0, 1.0, np.nan)
    keys = ("algorithm1/trace ", "gauss_newton_trace")
    asked = replace(frames, trials=trials, epochs=epochs)
    assert not [line for line in account(asked).missing if any(key in line for key in keys)]
    due = int((epochs.epoch % 5 == 0).sum())
    epochs.loc[epochs.epoch == 5, "algorithm1_trace"] = np.nan
    absent = int((epochs.epoch == 5).sum())
    assert f"algorithm1/trace is missing at {absent} of {due} epochs." in account(asked).missing
    trials["measurement.estimators"] = "lanczos"
    assert not [line for line in account(asked).missing if "algorithm1" in line]


@pytest.mark.parametrize("epochs", [0, 1, 2, 3])
def test_it_comes_however_little_there_is(frames: Frames, tmp_path: Path, epochs: int) -> None:
    few = frames.epochs[frames.epochs.epoch < epochs]
    samples = frames.samples[frames.samples.epoch < epochs]
    trials = frames.trials.assign(state="interrupted", last_epoch=epochs - 1)
    written = write_report(replace(frames, epochs=few, samples=samples, trials=trials), tmp_path)
    assert "cannot be drawn: it needs" in _text(written)
    if epochs == 0:
        assert "Not one epoch is stored yet." in _text(written)
        assert len(written.missing) == len(PAPER) + len(BEYOND)


def test_columns_that_were_never_measured_hinder_nothing(frames: Frames, tmp_path: Path) -> None:
    bare = frames.epochs.copy()
    bare[[c for c in bare if c.startswith(("hessian", "algorithm1", "accuracy_ood"))]] = np.nan
    written = write_report(replace(frames, epochs=bare, samples=frames.samples.iloc[:0]), tmp_path)
    assert {"figure2", "figure3", "figure5", "figure6"} < set(written.missing)
    assert "figure1" not in written.missing, "losses and accuracies are there"


def test_a_figure_that_can_be_drawn_no_more_leaves_no_old_files(frames: Frames, tmp_path: Path) -> None:
    write_report(frames, tmp_path)
    write_report(replace(frames, samples=frames.samples.iloc[:0]), tmp_path)
    assert not (tmp_path / "figure3.svg").exists()
    assert not (tmp_path / "figure3.csv").exists()


def test_an_unknown_key_is_an_error_before_anything_is_written(frames: Frames, tmp_path: Path) -> None:
    with pytest.raises(GroupKeyError, match="no trial has such a key"):
        write_report(frames, tmp_path, by="lr")


@pytest.mark.slow
def test_156_trials_of_70_epochs_take_less_than_a_minute(tmp_path: Path) -> None:
    trials = [
        planted.trial(seed, 70, optimizer={"name": "sgd", "lr": lr}, batch_size=batch)
        for lr in (0.01, 0.02, 0.05)
        for batch in (32, 64, 128, 256)
        for seed in range(13)
    ]
    frames = planted.full(np.random.default_rng(0), trials)
    started = time.perf_counter()
    write_report(frames, tmp_path)
    assert time.perf_counter() - started < 60
