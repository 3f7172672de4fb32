"""Writes the report of a sweep: an HTML page, the figures as SVG and CSV, and the tables as CSV and LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from orchestrator.analysis.expectations import Judgements, judge_expectations
from orchestrator.analysis.expectations.judgement import judgement_table
from orchestrator.analysis.figures.catalogue import BEYOND, PAPER
from orchestrator.analysis.figures.figure import Figure, standalone, svg
from orchestrator.analysis.page import Page, PageFigure, with_label
from orchestrator.analysis.sweep_summary import summarise
from orchestrator.analysis.tables.table1 import Table1, table1, table1_csv, table1_latex
from orchestrator.analysis.verdicts import judge
from orchestrator.analysis.verdicts.explorers import group_key
from orchestrator.analysis.verdicts.verdict import Verdict
from orchestrator.store.frames import Frames
from orchestrator.study.expectations.expectation import Expectation

PAGE = "report.html"


@dataclass(frozen=True, repr=False)
class Report:
    """A written report."""

    page: Path
    verdicts: tuple[Verdict, ...]
    judgements: Judgements
    missing: tuple[str, ...]
    """Names of the figures that could not be drawn."""
    published: str = ""
    """Where the report is in the storage, if that is a bucket."""

    def __repr__(self) -> str:
        """Returns the path of the page and the verdicts."""
        verdicts = [f"conjecture {each.conjecture}: {each.outcome.value}" for each in self.verdicts]
        return "\n".join([str(self.page), *verdicts, *([repr(self.judgements)] if self.judgements else [])])


def write_report(
    frames: Frames, folder: Path, by: str | None = None, expectations: Sequence[Expectation] | None = None
) -> Report:
    """Writes all files of a report. The page is always written and lists what is missing.

    Args:
        frames: the frames of the sweep.
        folder: created if missing; files of an earlier report are replaced.
        by: the grouping key of Figure 1 and conjecture 1. None selects one, see `group_key`.
        expectations: what the results are judged by. None: the expectations of the sweep as it was last run.

    Raises:
        GroupKeyError: trials cannot be grouped by this key.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = group_key(frames, by)
    verdicts = judge(frames, key)
    tables = table1(frames), table1(frames, epoch_0=True)
    judgements = judge_expectations(frames, expectations)
    _write_tables(tables, verdicts, folder)
    _write_csv(judgement_table(judgements), folder / "expectations.csv")
    paper = [_write_figure(figure, frames, key, folder) for figure in PAPER]
    further = [_write_figure(figure, frames, key, folder) for figure in BEYOND]
    command = f"make report SWEEP={frames.sweep.name}" + (f" BY={by}" if by else "")
    page = Page(frames.sweep, command, summarise(frames), judgements, verdicts, tables, paper, further)
    (folder / PAGE).write_text(page.html(), encoding="utf-8")
    missing = tuple(drawn.figure.name for drawn in (*paper, *further) if not drawn.picture)
    return Report(folder / PAGE, verdicts, judgements, missing)


def _write_tables(tables: Sequence[Table1], verdicts: Sequence[Verdict], folder: Path) -> None:
    _write_csv(table1_csv(tables), folder / "table1.csv")
    (folder / "table1.tex").write_text(table1_latex(tables[0]), encoding="utf-8")
    (folder / "table1_with_epoch_0.tex").write_text(table1_latex(tables[1]), encoding="utf-8")
    rows = [(v.conjecture, v.outcome.value, v.sentence, v.left_out) for v in verdicts]
    _write_csv(pd.DataFrame(rows, columns=["conjecture", "outcome", "sentence", "left_out"]), folder / "verdicts.csv")


def _write_figure(figure: Figure, frames: Frames, key: str | None, folder: Path) -> PageFigure:
    """Writes the files of a figure. If it cannot be drawn, removes the files of an earlier report."""
    picture, numbers = (folder / file for file in figure.files)
    data = figure.data(frames, key)
    if data.empty:
        picture.unlink(missing_ok=True)
        numbers.unlink(missing_ok=True)
        return PageFigure(figure)
    _write_csv(data, numbers)
    element, summary = svg(figure.draw(data), figure.name), figure.summary(data)
    picture.write_text(standalone(element), encoding="utf-8")
    return PageFigure(figure, with_label(element, f"{figure.title}. {summary}"), summary)


def _write_csv(frame: pd.DataFrame, file: Path) -> None:
    frame.to_csv(file, index=False, float_format="%.8g")
