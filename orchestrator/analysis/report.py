"""Writes the report of a sweep: a page, and beside it every figure as SVG and CSV, and the tables as CSV and LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from orchestrator.analysis import page
from orchestrator.analysis.figures.catalogue import BEYOND, PAPER
from orchestrator.analysis.figures.figure import Figure, standalone, svg
from orchestrator.analysis.sweep_summary import Account, account
from orchestrator.analysis.table_page import table_html
from orchestrator.analysis.tables.table1 import Table1, table1, table1_csv, table1_latex
from orchestrator.analysis.verdicts.judge import Verdict, group_key, judge
from orchestrator.store.frames import Frames

PAGE = "report.html"


@dataclass(frozen=True)
class Report:
    """What was written."""

    page: Path
    verdicts: tuple[Verdict, ...]
    missing: tuple[str, ...]
    """The names of the figures that could not be drawn."""


def write_report(frames: Frames, folder: Path, by: str | None = None) -> Report:
    """Writes everything into a folder. Whatever is missing, the page comes, and says so.

    Args:
        frames: of the sweep.
        folder: made where it does not exist; older files of the same names are replaced.
        by: the key of the groups in Figure 1 and conjecture 1; None takes the first that can be told apart.

    Raises:
        GroupKeyError: where no trial has such a key.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = group_key(frames, by)
    command = f"make report SWEEP={frames.sweep.name}" + (f" BY={by}" if by else "")
    verdicts = judge(frames, key)
    tables = table1(frames.epochs), table1(frames.epochs, epoch_0=True)
    _write_tables(tables, verdicts, folder)
    drawn = {figure.name: _drawn(figure, frames, key, folder, command) for figure in (*PAPER, *BEYOND)}
    body = _body(frames, account(frames), verdicts, tables, drawn, command)
    title = f"The curvature of the loss in sweep {frames.sweep.name}"
    (folder / PAGE).write_text(page.document(title, body), encoding="utf-8")
    missing = tuple(name for name in drawn if not (folder / f"{name}.svg").exists())
    return Report(folder / PAGE, verdicts, missing)


def _write_tables(tables: Sequence[Table1], verdicts: Sequence[Verdict], folder: Path) -> None:
    _csv(table1_csv(tables), folder / "table1.csv")
    (folder / "table1.tex").write_text(table1_latex(tables[0]), encoding="utf-8")
    (folder / "table1_with_epoch_0.tex").write_text(table1_latex(tables[1]), encoding="utf-8")
    rows = [(v.conjecture, v.outcome.value, v.sentence, v.left_out) for v in verdicts]
    _csv(pd.DataFrame(rows, columns=["conjecture", "outcome", "sentence", "left_out"]), folder / "verdicts.csv")


def _drawn(figure: Figure, frames: Frames, key: str | None, folder: Path, command: str) -> str:
    """The figure on the page; its files are written, or taken away where it cannot be drawn any more."""
    files = [f"{figure.name}.svg", f"{figure.name}.csv"]
    data = figure.data(frames, key)
    if not len(data):
        for file in files:
            (folder / file).unlink(missing_ok=True)
        return page.missing_figure(figure.heading, figure.needs)
    _csv(data, folder / files[1])
    element, summary = svg(figure.draw(data), figure.name), figure.summary(data)
    (folder / files[0]).write_text(standalone(element), encoding="utf-8")
    picture = page.described(element, f"{figure.title}. {summary}")
    return page.figure(figure.heading, picture, f"{figure.caption} {summary}", files, command)


def _csv(frame: pd.DataFrame, file: Path) -> None:
    frame.to_csv(file, index=False, float_format="%.8g")


def _body(
    frames: Frames,
    counted: Account,
    verdicts: Sequence[Verdict],
    tables: Sequence[Table1],
    drawn: dict[str, str],
    command: str,
) -> list[str]:
    sections = {"run": "What was run", "verdicts": "Verdicts", "table1": "Table 1", "figures": "Figures"}
    sections |= {"beyond": "Beyond the paper", "trials": "Trials that are not whole", "missing": "What is missing"}
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in sections.items())
    return [
        f"<h1>The curvature of the loss in sweep {frames.sweep.name}</h1>",
        page.paragraph(frames.sweep.description, "lead"),
        f"<nav>{links}</nav>",
        page.section("run", sections["run"], page.facts(counted.facts)),
        page.section("verdicts", sections["verdicts"], *_verdicts(verdicts)),
        page.section("table1", sections["table1"], *_tables(tables, command)),
        page.section("figures", sections["figures"], *(drawn[figure.name] for figure in PAPER)),
        page.section("beyond", sections["beyond"], *(drawn[figure.name] for figure in BEYOND)),
        page.section("trials", sections["trials"], _not_whole(counted)),
        page.section("missing", sections["missing"], _missing(counted)),
    ]


def _verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    rules = "The rules were written down before: docs/conjectures.md. Level 5%; what was left out is counted."
    return [
        *(page.verdict(v.conjecture, v.claim, v.outcome.value, v.sentence, v.left_out) for v in verdicts),
        page.paragraph(rules, "small"),
    ]


def _tables(tables: Sequence[Table1], command: str) -> list[str]:
    files = "table1.csv, table1.tex and table1_with_epoch_0.tex lie beside this page"
    explained = (
        "Ordinary least squares on changes between consecutive epochs of one trial, accuracies in percentage points, "
        "lambda_max "
        "in nats. Stars as in the paper: *** p < 0.01, ** p < 0.05, † not significant; in brackets the standard error. "
        "Errors by trial: clustered, their p from the wild bootstrap where trials are fewer than 50. Trial effects: a "
        f"constant for each trial. {files}; again: {command}"
    )
    parts = [page.paragraph(explained, "small")]
    for table in tables:
        what = (
            "With the change from the untrained model (epoch 0)"
            if table.epoch_0
            else "Epoch 0 left out, as in the text"
        )
        left = f"Left out: {table.used.gaps} gaps, {table.used.not_finite} changes with a value missing or not finite."
        parts += [f"<h3>{what}</h3>", table_html(table), page.paragraph(left, "small")]
    return parts


def _not_whole(counted: Account) -> str:
    if not len(counted.not_whole):
        return page.paragraph("Every trial has all its epochs.")
    return page.text_table(counted.not_whole)


def _missing(counted: Account) -> str:
    return page.bullets(counted.missing) if counted.missing else page.paragraph("Nothing.")
