"""What a figure is, and how it looks: colours that the colour-blind can tell apart, on white and on black."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from orchestrator.store.frames import Frames

COLOURS = ("#2184C6", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#8C6D31", "#7F7F7F")
"""Okabe and Ito's, without yellow and black, which vanish on white or on black, and a lighter blue; brown, grey."""
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLES = ("-", "--", "-.", ":")
INK = "#010203"
"""Stands for the page's own text colour; `svg` puts that in its place."""
_MANY_POINTS = 1_500

mpl.rcParams.update(
    {
        "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9,
        "axes.grid": True,
        "grid.alpha": 0.18,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "savefig.transparent": True,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "axes.titlecolor": INK,
    }
)


@dataclass(frozen=True)
class Figure:
    """One figure of the report."""

    name: str
    """Of its files: ``figure1``."""
    title: str
    caption: str
    """What is shown and how it was computed."""
    needs: str
    """What a sweep must have for it."""
    data: Callable[[Frames, str | None], pd.DataFrame]
    """All its numbers, from the frames and the key of the groups; no rows where there is too little."""
    draw: Callable[[pd.DataFrame], Canvas]
    summary: Callable[[pd.DataFrame], str]
    """What one sees, in a sentence with numbers: for those who do not see it, too."""

    @property
    def heading(self) -> str:
        """The title, with the number where the paper has one."""
        number = self.name.removeprefix("figure")
        return f"Figure {number}. {self.title}" if number.isdigit() else self.title


def canvas(rows: int, columns: int, width: float = 7.2, height: float = 2.6) -> tuple[Canvas, list[Axes]]:
    """An empty figure, so wide and each row so high in inches, and its axes row by row."""
    drawn = Canvas(figsize=(width, height * rows))
    axes = drawn.subplots(rows, columns, squeeze=False)
    return drawn, list(axes.flat)


def few(count: int) -> bool:
    """Whether so many points may be drawn one by one; more become a picture within the SVG."""
    return count <= _MANY_POINTS


def svg(drawn: Canvas, name: str) -> str:
    """The drawing as an SVG element that takes the text colour of its page. Its ids begin with its name."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, dpi=150)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    return re.sub(r' (?:d|x|y|transform)="[^"]*"', _shortened, text)


def _shortened(attribute: re.Match[str]) -> str:
    """Two decimals are a hundredth of a point; they halve the file."""
    return re.sub(r"(\d+\.\d\d)\d+", r"\1", attribute[0])


def standalone(element: str) -> str:
    """The same as a file of its own, on white."""
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return head + element.replace("<svg ", '<svg style="color:#1b1f24;background:#fff" ', 1)


def empty(columns: list[str]) -> pd.DataFrame:
    """No rows."""
    return pd.DataFrame({column: pd.Series(dtype="float64") for column in columns})
