"""The HTML of the report page: descriptions of pictures, escaped texts, missing figures."""

import re

import numpy as np
import pytest
from markupsafe import Markup

from orchestrator.analysis.figures.catalogue import BEYOND
from orchestrator.analysis.page import Page, PageFigure, with_label
from orchestrator.analysis.sweep_summary import summarise
from orchestrator.analysis.tables.table1 import table1
from orchestrator.analysis.verdicts.verdict import Conclusion, Verdict
from tests.analysis import planted

VERDICT = Verdict(3, Conclusion.NOT_ENOUGH_DATA, "Only 2 < 5 trials.", "1 of 3 trials could not be used.")


def page(*figures: PageFigure) -> str:
    frames = planted.full(np.random.default_rng(0), planted.two_rates(2, 3))
    tables = table1(frames), table1(frames, epoch_0=True)
    return Page(frames.sweep, "make report SWEEP=<toy>", summarise(frames), (), [VERDICT], tables, figures, ()).html()


def test_a_picture_gets_a_description_without_changing_its_content() -> None:
    svg = '<svg width="1"><svg x="2"/></svg>'
    assert with_label(svg, 'mean "a" < b') == Markup(
        '<svg role="img" aria-label="mean &quot;a&quot; &lt; b" width="1"><svg x="2"/></svg>'
    )


def test_texts_are_escaped_and_pictures_are_not() -> None:
    shown = page(PageFigure(BEYOND[0], Markup("<svg id='drawn'></svg>"), "1 < 2"))
    assert "<svg id='drawn'></svg>" in shown
    for text in ("1 &lt; 2", "Only 2 &lt; 5 trials.", "SWEEP=&lt;toy&gt;"):
        assert text in shown


def test_a_verdict_is_shown_with_its_claim_reason_and_unused_data() -> None:
    shown = page()
    for text in (VERDICT.claim, "not enough data", VERDICT.left_out):
        assert text in shown


@pytest.mark.parametrize("figure", BEYOND, ids=lambda figure: figure.name)
def test_a_figure_that_cannot_be_drawn_names_the_data_it_needs(figure: object) -> None:
    text = re.sub(r"\s+", " ", page(PageFigure(figure)))  # type: ignore[arg-type]
    assert "cannot be drawn: it needs" in text
    assert str(Markup.escape(figure.needs)) in text  # type: ignore[attr-defined]
