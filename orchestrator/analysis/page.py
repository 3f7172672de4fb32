"""The report page: one self-contained HTML file, rendered from ``templates/``."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.analysis.expectations import Judgement
from orchestrator.analysis.expectations.describe import rows
from orchestrator.analysis.figures.figure import Figure
from orchestrator.analysis.sweep_summary import SweepSummary
from orchestrator.analysis.tables.display_rows import display_rows
from orchestrator.analysis.tables.table1 import Table1
from orchestrator.analysis.verdicts.verdict import Verdict
from orchestrator.study.sweep import Sweep


@dataclass(frozen=True)
class PageFigure:
    """A figure with its picture and summary."""

    figure: Figure
    picture: Markup | None = None
    """An SVG element; None if the figure cannot be drawn."""
    summary: str = ""


@dataclass(frozen=True)
class Page:
    """The content of a report page."""

    sweep: Sweep
    command: str
    """The shell command that recreates the report."""
    summary: SweepSummary
    judgements: Sequence[Judgement]
    verdicts: Sequence[Verdict]
    tables: Sequence[Table1]
    paper_figures: Sequence[PageFigure]
    further_figures: Sequence[PageFigure]

    def html(self) -> str:
        """The HTML source of the page."""
        environment = Environment(
            loader=PackageLoader("orchestrator.analysis"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        return environment.get_template("report.html.j2").render(
            page=self, display_rows=display_rows, expectation_rows=rows
        )


def with_label(svg: str, text: str) -> Markup:
    """Adds a description for screen readers to an SVG element."""
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(text, quote=True)}" ', 1))
