"""The `Figure` class and the shared style. Colours are distinct for colour-blind readers, on light and dark pages."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from orchestrator.store.frames import Frames

COLOURS = ("#2184C6", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#8C6D31", "#7F7F7F")
"""Okabe and Ito's palette with a lighter blue, and for contrast, brown and grey instead of yellow and black."""
STYLES = ("-", "--", "-.", ":")
INK = "#010203"
"""Placeholder that `svg` replaces by the text colour of the page."""
_MANY_POINTS = 1_500

mpl.rcParams.update(
    {
        "svg.fonttype": "none",  # keeps text searchable and readable by screen readers
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
    """Stem of the file names, such as ``figure1``."""
    title: str
    caption: str
    needs: str
    """The data that the sweep must contain to draw this figure."""
    data: Callable[[Frames, str | None], pd.DataFrame]
    """Computes all numbers of the figure from the frames and the grouping key. Empty if the data are missing."""
    draw: Callable[[pd.DataFrame], Canvas]
    summary: Callable[[pd.DataFrame], str]
    """Returns one sentence with the main numbers. It is also the text alternative of the picture."""

    @property
    def heading(self) -> str:
        """The title, preceded by the figure number in the paper if there is one."""
        number = self.name.removeprefix("figure")
        return f"Figure {number}. {self.title}" if number.isdigit() else self.title

    @property
    def files(self) -> tuple[str, str]:
        """File names of the picture and of its numbers."""
        return f"{self.name}.svg", f"{self.name}.csv"


def canvas(rows: int, columns: int, width: float = 7.2, height: float = 2.6) -> tuple[Canvas, list[Axes]]:
    """An empty figure and its axes, row by row. `width` of the figure and `height` of a row are in inches."""
    drawn = Canvas(figsize=(width, height * rows))
    axes = drawn.subplots(rows, columns, squeeze=False)
    return drawn, list(axes.flat)


def epoch_axis(panel: Axes, fontsize: float | None = None) -> None:
    """Labels the horizontal axis as epochs, with ticks at whole ones if at least two are visible."""
    panel.set_xlabel("epoch", fontsize=fontsize)
    panel.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def crowded(points: int) -> bool:
    """Whether a scatter plot has enough points to rasterise them within the SVG."""
    return points > _MANY_POINTS


def quantiles_by_epoch(values: "pd.Series[float]", epochs: "pd.Series[int]", levels: tuple[float, ...]) -> pd.DataFrame:
    """One row per epoch, one column per level."""
    return pd.DataFrame(values.groupby(epochs).quantile(list(levels)).unstack())  # type: ignore[arg-type]


def empty(columns: list[str]) -> pd.DataFrame:
    """A frame without rows."""
    return pd.DataFrame({column: pd.Series(dtype="float64") for column in columns})


def svg(drawn: Canvas, name: str) -> str:
    """An SVG element that uses the text colour of the surrounding page. Its ids are prefixed with `name`."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, dpi=150)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    return re.sub(r' (?:d|x|y|transform)="[^"]*"', _with_two_decimals, text)


def _with_two_decimals(attribute: re.Match[str]) -> str:
    """Truncates coordinates to a hundredth of a point, which halves the file size."""
    return re.sub(r"(\d+\.\d\d)\d+", r"\1", attribute[0])


def standalone(element: str) -> str:
    """The element as a standalone SVG file with a white background."""
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return head + element.replace("<svg ", '<svg style="color:#1b1f24;background:#fff" ', 1)
