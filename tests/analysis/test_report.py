"""The report is complete and self-contained, and is written even if data are missing."""

import re
import time
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis import report as report_module
from orchestrator.analysis.figures import convergence
from orchestrator.analysis.figures.catalogue import BEYOND, PAPER
from orchestrator.analysis.groups import GroupKeyError
from orchestrator.analysis.report import Report, write_report
from orchestrator.store.frames import Frames
from orchestrator.study.expectations.expectation import Expectation
from tests.analysis import planted
from tests.analysis.browser import CHROMIUM, look


@pytest.fixture(scope="module")
def frames() -> Frames:
    return planted.full(np.random.default_rng(0), planted.two_rates(4, 15))


@pytest.fixture(scope="module")
def report(frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(frames, tmp_path_factory.mktemp("report"))


@pytest.fixture
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips drawing, which takes seconds. These tests only read the text of the page."""
    monkeypatch.setattr(report_module, "PAPER", ())
    monkeypatch.setattr(report_module, "BEYOND", ())


def _text(report: Report) -> str:
    return unescape(re.sub(r"<[^>]+>", "", report.page.read_text()))


def test_every_figure_has_a_csv_with_its_numbers(report: Report) -> None:
    folder = report.page.parent
    for figure in (*PAPER, *BEYOND):
        drawn = figure.name not in report.missing
        assert (folder / f"{figure.name}.svg").exists() == drawn
        assert (folder / f"{figure.name}.csv").exists() == drawn
    assert report.missing == (
        "figure4",
        "trace_fraction",
        "layers",
        "stability_ratio",
        "batch_sharpness",
        "top_eigenvalues",
        "spectral_density",
        "layer_sharpness",
    )
    assert len(pd.read_csv(folder / "table1.csv")) == 20
    assert (folder / "table1.tex").exists()
    assert pd.read_csv(folder / "verdicts.csv").conjecture.tolist() == [1, 2, 3]


def test_captions_have_the_command_and_pictures_a_description(report: Report) -> None:
    page = report.page.read_text()
    drawn = len(PAPER) + len(BEYOND) - len(report.missing)
    assert page.count("<code>make report SWEEP=toy</code></figcaption>") == drawn
    assert len(re.findall(r'<svg role="img" aria-label="[^"]{60,}"', page)) == drawn


def test_page_lists_the_facts_of_the_sweep(report: Report) -> None:
    text = _text(report)
    for word in ("toy", "8: 8 completed", "abc123", "a processor", "digits", "0.01, 0.05", "trial hours"):
        assert word in text


def test_page_is_self_contained(report: Report) -> None:
    page = report.page.read_text()
    assert "<script" not in page
    assert "@import" not in page
    fetched = re.findall(r'(?:src|xlink:href|<link[^>]*href|<image[^>]*href)="([^"]*)"', page)
    assert [link for link in fetched if not link.startswith(("data:", "#"))] == []
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("_no_figures")
def test_expectations_are_judged_on_the_page_and_in_a_table(frames: Frames, tmp_path: Path) -> None:
    lines = [
        {"quantity": "accuracy/test", "over": "last record", "at_least": 0.5, "claim": "<b>It learns.</b>"},
        {"quantity": "hessian/trace", "over": "last half", "value": 1, "within": "10%", "source": "nobody"},
    ]
    written = write_report(frames, tmp_path, expectations=[Expectation.model_validate(line) for line in lines])
    assert [judgement.outcome.value for judgement in written.judgements] == ["reproduced", "not reproduced"]
    text = _text(written)
    for words in ("<b>It learns.</b>", "accuracy/test, last record", "0.9 to 1.1 (expected 1)", "nobody"):
        assert words in text
    table = pd.read_csv(tmp_path / "expectations.csv")
    assert list(table.outcome.unique()) == ["reproduced", "not reproduced"]
    ends = frames.epochs[frames.epochs.epoch == frames.epochs.epoch.max()]
    group = ends.trial_id.isin(frames.trials.trial_id[frames.trials["optimizer.lr"] == 0.01])
    assert table.measured[0] == pytest.approx(ends.accuracy_test[group].mean(), rel=1e-6)


@pytest.mark.usefixtures("_no_figures")
def test_a_report_without_expectations_says_so(frames: Frames, tmp_path: Path) -> None:
    written = write_report(frames, tmp_path)
    assert "The sweep file states no expectations." in _text(written)
    assert pd.read_csv(tmp_path / "expectations.csv").empty


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("flags", [(), ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")])
def test_browser_shows_the_page_without_errors(report: Report, tmp_path: Path, flags: tuple[str, ...]) -> None:
    seen, console = look(report.page, tmp_path, *flags)
    assert console == []
    assert (seen["broken"], seen["asked"], seen["over"]) == (0, [], 0)
    assert seen["seen"] == len(PAPER) + len(BEYOND) - len(report.missing)
    assert seen["ink"] == ("rgb(230, 233, 237)" if flags else "rgb(27, 31, 36)")


@pytest.mark.usefixtures("_no_figures")
def test_incomplete_trials_are_listed_with_their_reason(frames: Frames, tmp_path: Path) -> None:
    trials = frames.trials.copy()
    trials.loc[0, ["state", "failure"]] = ["failed", "RuntimeError: <b>out of memory</b>"]
    trials.loc[1, "state"] = "diverged"
    trials.loc[2, ["state", "last_epoch"]] = ["pending", -1]
    epochs = frames.epochs[frames.epochs.trial_id != trials.trial_id[2]]
    written = write_report(replace(frames, trials=trials, epochs=epochs), tmp_path)
    text = _text(written)
    assert "RuntimeError: <b>out of memory</b>" in text
    assert "the training loss is not finite (a valid result)" in text
    assert "0/15" in text
    assert "3 of 8 trials could not be used" in text


@pytest.mark.parametrize("epochs", [0, 1, 2, 3])
def test_page_is_written_for_any_number_of_epochs(frames: Frames, tmp_path: Path, epochs: int) -> None:
    few = frames.epochs[frames.epochs.epoch < epochs]
    samples = frames.samples[frames.samples.epoch < epochs]
    trials = frames.trials.assign(state="interrupted", last_epoch=epochs - 1)
    written = write_report(replace(frames, epochs=few, samples=samples, trials=trials), tmp_path)
    assert "cannot be drawn: it needs" in _text(written)
    if epochs == 0:
        assert "No epoch is stored yet." in _text(written)
        assert len(written.missing) == len(PAPER) + len(BEYOND)


def test_missing_columns_do_not_affect_other_figures(frames: Frames, tmp_path: Path) -> None:
    bare = frames.epochs.copy()
    bare[[c for c in bare if c.startswith(("hessian", "algorithm1", "accuracy_ood"))]] = np.nan
    written = write_report(replace(frames, epochs=bare, samples=frames.samples.iloc[:0]), tmp_path)
    assert {"figure2", "figure3", "figure5", "figure6"} < set(written.missing)
    assert "figure1" not in written.missing, "losses and accuracies are measured"


def test_report_of_a_regression_leaves_out_what_needs_accuracies(real_targets: Frames, tmp_path: Path) -> None:
    written = write_report(real_targets, tmp_path)
    text = _text(written)
    assert {"figure5", "figure6"} <= set(written.missing)
    assert "figure1" not in written.missing
    assert "Table 1 cannot be computed: it needs accuracies, and no stored epoch has one." in text
    assert "No stored epoch has an accuracy." in text
    assert "12 epochs with a trace and a validation accuracy" in text


@pytest.mark.usefixtures("_no_figures")
def test_old_files_are_removed_if_the_figure_can_no_longer_be_drawn(
    frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "PAPER", (convergence.FIGURE,))
    write_report(frames, tmp_path)
    assert (tmp_path / "figure3.svg").exists()
    write_report(replace(frames, samples=frames.samples.iloc[:0]), tmp_path)
    assert not (tmp_path / "figure3.svg").exists()
    assert not (tmp_path / "figure3.csv").exists()


def test_unknown_key_is_an_error(frames: Frames, tmp_path: Path) -> None:
    with pytest.raises(GroupKeyError, match="trials cannot be grouped by it"):
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
