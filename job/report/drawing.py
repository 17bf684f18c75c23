"""How a Matplotlib figure becomes part of the report: its style, its SVG and its PNG.

A plot is drawn once and comes as SVG whose colours are the page's custom properties, so that it
follows the page's theme, and as PNG in the light theme. There is no pyplot and no lasting change
of Matplotlib's settings; equal input gives equal bytes.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIGHT = {
    "paper": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#15171c",
    "muted": "#5a6170",
    "line": "#e1e4ea",
    "accent": "#2555d8",
    "good": "#18734a",
    "bad": "#b0431a",
}
DARK = {
    "paper": "#101216",
    "panel": "#191c22",
    "ink": "#eceef2",
    "muted": "#a1a9b7",
    "line": "#2c313a",
    "accent": "#8cb0ff",
    "good": "#6cd09f",
    "bad": "#ff9d75",
}
"""The page's two themes: the same names, so that a colour of one can stand for the other."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, searchable, in the page's font
    "text.parse_math": False,  # a label may hold dollar signs
    "font.size": 8,
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["line"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 9,
    "axes.titlepad": 10,
    "axes.axisbelow": True,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}
LEGEND: dict[str, Any] = {
    "loc": "lower right",
    "bbox_to_anchor": (1.01, 1.0),
    "ncols": 3,
    "columnspacing": 1.2,
    "handlelength": 1.6,
    "fontsize": 7.5,
}
"""On the line of the title, where it hides no data."""

PNG_DPI = 150

NOBODY: dict[str, Any] = {"Software": None}
"""PNG metadata without the name of the program."""

_ANONYMOUS = ("Creator", "Date", "Format", "Type")


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot as an inline `<svg>` element and as a PNG file's bytes."""

    svg: str
    png: bytes


def plot(
    name: str,
    size: tuple[float, float],
    draw: Callable[["Axes"], None],
    margins: tuple[float, float, float, float] = (0.4, 0.45, 0.1, 0.35),
) -> Plot:
    """Draws once and writes twice.

    Args:
        name: Makes the ids inside the SVG the plot's own.
        size: Width and height, inches.
        draw: Fills the axes.
        margins: Left, bottom, right and top of the axes, inches; Matplotlib's own layout engines
            find them too, and take as long as all the drawing.
    """
    from matplotlib.figure import Figure

    (width, height), (left, bottom, right, top) = size, margins
    with style(name):
        figure = Figure(figsize=size)
        across, down = (width - left - right) / width, (height - bottom - top) / height
        draw(figure.add_axes((left / width, bottom / height, across, down)))
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(_ANONYMOUS))
        return Plot(svg=_inline(file.getvalue()), png=png(figure))


@contextlib.contextmanager
def style(name: str) -> Iterator[None]:
    """The report's style, while a figure is drawn and written.

    Args:
        name: Makes the ids inside an SVG the figure's own.
    """
    import matplotlib as mpl

    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        # What Matplotlib's font lacks is a box in the PNG; the page has the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def png(figure: "Figure") -> bytes:
    """A figure as a PNG file's bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=PNG_DPI, metadata=NOBODY)
    return file.getvalue()


def _inline(document: str) -> str:
    """An SVG file as an element of the page: its ids, size and colours become the page's."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<\w+) id="[\w.]+_\d+"', r"\1", svg)
    end = svg.index(">")
    head = re.sub(r' (width|height|version|xmlns(:xlink)?)="[^"]*"', "", svg[:end])
    svg = head + ' aria-hidden="true"' + svg[end:]
    for name, colour in LIGHT.items():
        svg = re.sub(rf"\b(fill|stroke): {colour}\b", rf"\1: var(--{name})", svg)
    return svg
