"""The report's pictures, drawn by Matplotlib without pyplot and without global state.

A plot is drawn once and comes as SVG whose colours are the page's custom properties, so that it
follows the page's theme, and as PNG in the light theme. Equal input gives equal bytes.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from job.evaluation import Metrics, wilson_interval
from job.wording import percent, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from job.training import EpochResult

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
    "legend.facecolor": LIGHT["paper"],
    "legend.edgecolor": LIGHT["paper"],
    "legend.framealpha": 1,
    "legend.fancybox": False,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}
_RIGHT, _WRONG = "#5b8cff", "#ff7a45"  # between the themes: an image inside an SVG has one colour
_ANONYMOUS = ("Creator", "Date", "Format", "Type")
_NOBODY: dict[str, Any] = {"Software": None}
_PNG_DPI = 150
_CELLS_WITH_NUMBERS = 12
_MOST_CELLS = 100


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot as an inline `<svg>` element and as a PNG file's bytes."""

    svg: str
    png: bytes


def learning_curve(what: str, history: Sequence["EpochResult"], best_epoch: int | None) -> Plot:
    """`what` ("loss" or "accuracy") by epoch, for training and, where held out, validation.

    Args:
        what: The field of EpochResult to draw.
        history: One result for each epoch.
        best_epoch: The epoch to mark, counted from 1; None for no mark.
    """
    from matplotlib.ticker import MaxNLocator

    def draw(axes: "Axes") -> None:
        epochs = [result.epoch for result in history]
        validation = [getattr(result, f"val_{what}") for result in history]
        marker = "o" if len(epochs) == 1 else ""
        train = [getattr(result, what) for result in history]
        axes.plot(
            epochs, train, color=LIGHT["muted"], ls=(0, (3, 2)), marker=marker, label="training"
        )
        if None not in validation:
            axes.plot(epochs, validation, color=LIGHT["accent"], marker=marker, label="validation")
            if best_epoch is not None:
                best = validation[best_epoch - 1]
                said = percent(best, 1) if what == "accuracy" else f"{best:.3f}"
                axes.axvline(best_epoch, color=LIGHT["accent"], lw=0.8, ls=(0, (1, 2)))
                axes.plot(
                    best_epoch, best, "o", ms=7, mfc=LIGHT["paper"], mec=LIGHT["accent"], mew=1.6,
                    label=f"best: epoch {best_epoch}, {said}", ls="none",
                )  # fmt: skip
        axes.set_title(what.capitalize())
        axes.set_xlabel("epoch")
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if what == "accuracy":
            axes.yaxis.set_major_formatter(lambda share, _: f"{share * 100:.4g}%")
        axes.set_xlim(min(epochs) - 0.3, max(epochs) + 0.3)
        axes.legend(loc="upper right" if what == "loss" else "lower right")

    return _plot(what, (4.3, 2.9), draw)


def reliability(metrics: Metrics) -> Plot:
    """Accuracy against confidence for each bin, with the bin's 95 % Wilson interval."""

    def draw(axes: "Axes") -> None:
        bins = metrics.calibration
        accuracy = np.array([b.accuracy for b in bins])
        ends = np.array([wilson_interval(round(b.accuracy * b.count), b.count) for b in bins])
        axes.plot([0, 1], [0, 1], color=LIGHT["muted"], lw=0.9, ls=(0, (3, 2)), label="ideal")
        axes.errorbar(
            [b.confidence for b in bins], accuracy,
            yerr=np.clip(np.stack([accuracy - ends[:, 0], ends[:, 1] - accuracy]), 0, 1),
            fmt="o", ms=5, lw=1.2, color=LIGHT["accent"], label="this model, 95% interval",
        )  # fmt: skip
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
        axes.set_title("Share named correctly")
        axes.set_xlabel("stated confidence")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(np.linspace(0, 1, 6), [f"{t}%" for t in range(0, 101, 20)])
        axes.grid()
        axes.legend(loc="lower right")

    return _plot("reliability", (4.3, 3.6), draw)


def confusion(metrics: Metrics) -> Plot:
    """The confusion matrix, true classes down, said across; each row shaded by its shares.

    Up to 12 classes carry their counts; more than 100 are drawn in blocks of neighbours.
    """
    counts = np.array(metrics.confusion_matrix, dtype=np.int64)
    labels = [shown(score.label, limit=12) for score in metrics.per_class]
    starts = np.arange(0, len(counts), block_size(len(counts)))
    counts = np.add.reduceat(np.add.reduceat(counts, starts, axis=0), starts, axis=1)
    size = len(counts)
    step = 1 if size <= _CELLS_WITH_NUMBERS else -(-size // 8)
    ticks = range(0, size, step)
    names = [labels[starts[tick]] for tick in ticks]
    longest = max(map(len, names))
    left, top = 0.45 + 0.066 * longest, 0.45 + (0.066 * longest if longest > 3 else 0.1)

    def draw(axes: "Axes") -> None:
        axes.imshow(shades(counts), interpolation="none")
        axes.set_xticks(ticks, names, rotation=0 if longest <= 3 else 90)
        axes.set_yticks(ticks, names)
        axes.set_xlabel("said")
        axes.set_ylabel("true")
        axes.xaxis.set_label_position("top")
        axes.xaxis.tick_top()
        axes.spines[:].set_visible(False)
        if size > _CELLS_WITH_NUMBERS:
            axes.spines[:].set(visible=True, color=LIGHT["line"])
            return
        axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=LIGHT["paper"], lw=2)
        for row, column in zip(*counts.nonzero(), strict=True):
            axes.text(
                column, row, f"{counts[row, column]}", ha="center", va="center",
                size=8 if counts.max() < 10_000 else 6,
                weight="bold" if row == column else "normal",
            )  # fmt: skip

    return _plot("confusion-matrix", (3.7 + left, 3.7 + top), draw, (left, 0.05, 0.05, top))


def block_size(classes: int) -> int:
    """How many neighbouring classes share a cell of the confusion matrix."""
    return -(-classes // _MOST_CELLS)


def picture(pixels: NDArray[np.uint8]) -> bytes:
    """(height, width, 3) pixels as a PNG file's bytes."""
    import matplotlib.image

    file = io.BytesIO()
    matplotlib.image.imsave(file, np.ascontiguousarray(pixels), format="png", metadata=_NOBODY)
    return file.getvalue()


def sheet(images: NDArray[np.uint8], captions: Sequence[str]) -> bytes:
    """(images, height, width, 3) pixels with a caption below each, as one PNG file's bytes."""
    from matplotlib.figure import Figure

    enlarged = max(1, 150 // images.shape[2])
    tiles = images.repeat(enlarged, axis=1).repeat(enlarged, axis=2)
    height, width = tiles.shape[1] + 44, max(tiles.shape[2], 150) + 20
    columns = min(len(tiles), 6)
    page = np.full((-(-len(tiles) // columns) * height, columns * width, 3), 255, np.uint8)
    corners = [(10 + i // columns * height, 10 + i % columns * width) for i in range(len(tiles))]
    for tile, (y, x) in zip(tiles, corners, strict=True):
        page[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    with _style("sheet"):
        figure = Figure(figsize=(page.shape[1] / _PNG_DPI, page.shape[0] / _PNG_DPI))
        figure.figimage(page)
        for caption, (y, x) in zip(captions, corners, strict=True):
            below = 1 - (y + tiles.shape[1] + 6) / page.shape[0]
            figure.text(x / page.shape[1], below, caption, va="top", size=7)
        return _png(figure)


def _plot(
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
    with _style(name):
        figure = Figure(figsize=size)
        across, down = (width - left - right) / width, (height - bottom - top) / height
        draw(figure.add_axes((left / width, bottom / height, across, down)))
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(_ANONYMOUS))
        return Plot(svg=_inline(file.getvalue()), png=_png(figure))


@contextlib.contextmanager
def _style(name: str) -> Iterator[None]:
    import matplotlib as mpl

    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        # What Matplotlib's font lacks is a box in the PNG; the page has the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_PNG_DPI, metadata=_NOBODY)
    return file.getvalue()


def _inline(document: str) -> str:
    """An SVG file as an element of the page: its ids, size and colours become the page's."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)
    end = svg.index(">")
    head = re.sub(r' (width|height|version|xmlns(:xlink)?)="[^"]*"', "", svg[:end])
    svg = head + ' aria-hidden="true"' + svg[end:]
    for name, colour in LIGHT.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


def shades(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(rows, columns, 4) colours: hits in the accent colour, mistakes in the warning colour.

    The opacity of a hit follows its share of the row, that of a mistake its share against the
    largest one, by their square roots, so that rare mistakes show. It stops short of full: the
    page's ink stays legible on it in both themes.
    """
    from matplotlib.colors import to_rgb

    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    hits = np.eye(len(counts), dtype=bool)
    colours = np.empty((*counts.shape, 4))
    colours[hits, :3] = to_rgb(_RIGHT)
    colours[~hits, :3] = to_rgb(_WRONG)
    share[~hits] /= max(share[~hits].max(), 1e-9)
    colours[..., 3] = np.sqrt(share) * 0.45
    return colours
