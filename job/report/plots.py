"""The report's plots and contact sheets, drawn by Matplotlib."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from job.config.gate import Metric
from job.evaluation.curves import Curves
from job.evaluation.metrics import Metrics, wilson_interval
from job.evaluation.scores import TITLES
from job.report.drawing import LEGEND, LIGHT, NOBODY, PNG_DPI, Plot, plot, png, style
from job.report.wording import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from job.registry.manifest import Manifest
    from job.training.state import EpochResult

_RIGHT, _WRONG = "#5b8cff", "#ff7a45"  # between the themes: an image inside an SVG has one colour
_HOLLOW: dict[str, Any] = {
    "ms": 7, "mfc": LIGHT["paper"], "mec": LIGHT["accent"], "mew": 1.6, "ls": "none",
}  # fmt: skip
"""The mark of what counts: the best epoch, this version, the model's threshold."""

_LOOKS: Sequence[dict[str, Any]] = (
    {"color": LIGHT["bad"]},
    {"color": LIGHT["accent"], "ls": (0, (4, 1.5))},
    {"color": LIGHT["ink"], "lw": 1.0},
    {"color": LIGHT["good"], "ls": (0, (1, 1))},
    {"color": LIGHT["muted"], "ls": (0, (4, 1.5, 1, 1.5))},
)
"""Lines of several classes, which can be told apart without colours, too."""

_CHANCE: dict[str, Any] = {"color": LIGHT["muted"], "lw": 0.9, "ls": (0, (3, 2))}
_LINE_POINTS = 150
_CELLS_WITH_NUMBERS = 12
_MOST_CELLS = 100


def learning_curve(
    what: str, history: Sequence["EpochResult"], best_epoch: int | None, kind: str
) -> Plot:
    """`what` ("loss" or "accuracy") by epoch, for training and, where there is one, validation.

    Args:
        what: The field of EpochResult to draw.
        history: One result for each epoch.
        best_epoch: The epoch to mark, counted from 1; None for no mark.
        kind: The kind of validation: held-out or out-of-fold.
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
            axes.plot(epochs, validation, color=LIGHT["accent"], marker=marker, label=kind)
            if best_epoch is not None:
                best = validation[best_epoch - 1]
                axes.axvline(best_epoch, color=LIGHT["accent"], lw=0.8, ls=(0, (1, 2)))
                axes.plot(best_epoch, best, "o", **_HOLLOW, label=f"best: epoch {best_epoch}")
        axes.set_title(what.capitalize())
        axes.set_xlabel("epoch")
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if what == "accuracy":
            axes.yaxis.set_major_formatter(lambda share, _: f"{share * 100:.4g}%")
        axes.set_xlim(min(epochs) - 0.3, max(epochs) + 0.3)
        axes.legend(**LEGEND)

    return plot(what, (4.3, 2.9), draw)


def trend(past: Sequence["Manifest"], metric: Metric, version: int, metrics: Metrics) -> Plot:
    """The score of the last versions and of this one; of accuracy with its 95 % intervals.

    Args:
        past: Versions that have the score.
        metric: What versions are compared by.
        version: This one's number.
        metrics: This one's scores.
    """
    from matplotlib.ticker import MaxNLocator

    def draw(axes: "Axes") -> None:
        numbers = [*(m.version for m in past), version]
        now = getattr(metrics.scores, metric)
        values = [*(m.metrics.value(metric) for m in past), now]
        if metric == "accuracy":
            ends = [*(m.metrics.accuracy_interval for m in past), metrics.accuracy_interval]
            low, high = zip(*ends, strict=True)
            axes.fill_between(numbers, low, high, color=LIGHT["accent"], alpha=0.15, lw=0)
            axes.yaxis.set_major_formatter(lambda share, _: f"{share * 100:.4g}%")
        axes.plot(numbers, values, color=LIGHT["accent"], marker="o", ms=3)
        axes.plot(version, now, "o", **_HOLLOW, label="this version")
        axes.set_title(f"Test {TITLES[metric]}")
        axes.set_xlabel("version")
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(**LEGEND)

    return plot("trend", (4.3, 2.9), draw)


def reliability(metrics: Metrics) -> Plot:
    """Accuracy against confidence for each bin, with the bin's 95 % Wilson interval."""

    def draw(axes: "Axes") -> None:
        bins = metrics.calibration
        accuracy = np.array([b.accuracy for b in bins])
        ends = np.array([wilson_interval(round(b.accuracy * b.count), b.count) for b in bins])
        axes.plot([0, 1], [0, 1], **_CHANCE, label="ideal")
        axes.errorbar(
            [b.confidence for b in bins], accuracy,
            yerr=np.clip(np.stack([accuracy - ends[:, 0], ends[:, 1] - accuracy]), 0, 1),
            fmt="o", ms=5, lw=1.2, color=LIGHT["accent"], label="model, 95% interval",
        )  # fmt: skip
        _shares(axes, "Named correctly", "stated confidence")

    return plot("reliability", (4.3, 3.6), draw)


def thresholds(curves: Curves) -> Plot:
    """Precision and recall of a class by the threshold from which it is the answer."""

    def draw(axes: "Axes") -> None:
        some = _thinned(curves)
        at = curves.thresholds[some]
        axes.plot(at, curves.recall[some], color=LIGHT["accent"], label="recall")
        axes.plot(at, curves.precision[some], color=LIGHT["bad"], ls=(0, (3, 2)), label="precision")
        axes.axvline(
            curves.threshold, color=LIGHT["ink"], lw=0.8, ls=(0, (1, 2)),
            label=f"now: {curves.threshold:.3g}",
        )  # fmt: skip
        _shares(axes, "By threshold", "threshold", ratio=True)

    return plot("thresholds", (4.3, 3.2), draw)


def gain(curves: Curves) -> Plot:
    """The share of a class among the rows that are likeliest to belong to it."""
    title, across = f"Share of all {shown(curves.label, 16)} found", "share of all rows looked at"
    return _curve("gain", curves, curves.flagged, curves.recall, title, across, (0, 1))


def roc(curves: Curves) -> Plot:
    """The receiver operating characteristic of a class."""
    across = f"{shown(curves.other or '', 16)} taken for {shown(curves.label, 16)}"
    rates = curves.false_positive_rate
    return _curve("roc", curves, rates, curves.recall, "Recall (ROC)", across, (0, 1))


def precision_recall(curves: Curves) -> Plot:
    """Precision of a class against its recall."""
    share = curves.positives / curves.rows
    found = curves.recall, curves.precision
    return _curve(
        "precision-recall", curves, *found, "Precision by recall", "recall", (share, share)
    )


def roc_of_classes(each: Sequence[tuple[float, Curves]]) -> Plot:
    """The receiver operating characteristics of classes, each with the area below it."""
    lines = [
        (f"{shown(curves.label, 12)} {area:.3f}", curves, curves.false_positive_rate, curves.recall)
        for area, curves in each
    ]
    return _lines("roc", lines, "Recall (ROC)", "others taken for the class")


def precision_recall_of_classes(each: Sequence[tuple[float, Curves]]) -> Plot:
    """Precision of classes against their recall, each with its average precision."""
    lines = [
        (
            f"{shown(curves.label, 12)} {curves.average_precision:.3f}",
            curves,
            curves.recall,
            curves.precision,
        )
        for _, curves in each
    ]
    return _lines("precision-recall", lines, "Precision by recall", "recall")


def cost(curves: Curves, costs: NDArray[np.float64]) -> Plot:
    """The expected cost of a row by the threshold; `costs` is that of each in `curves`."""

    def draw(axes: "Axes") -> None:
        some = _thinned(curves)
        axes.plot(curves.thresholds[some], costs[some], color=LIGHT["accent"])
        now = curves.threshold
        axes.plot(now, curves.at(now).cost or 0.0, "o", **_HOLLOW, label=f"now: {now:.3g}")
        axes.set_title("Expected cost of a row")
        axes.set_xlabel("threshold")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(bottom=0)
        axes.grid()
        axes.legend(**LEGEND)

    return plot("cost", (4.3, 3.2), draw)


def _curve(
    name: str,
    curves: Curves,
    across: NDArray[np.float64],
    up: NDArray[np.float64],
    title: str,
    label: str,
    chance: tuple[float, float],
) -> Plot:
    """One curve of shares with the model's threshold on it.

    Args:
        name: Of the plot.
        curves: Where the curve comes from.
        across: (n,); horizontal.
        up: (n,); vertical.
        title: What is vertical.
        label: What is horizontal.
        chance: Both ends of what a model without knowledge reaches.
    """

    def draw(axes: "Axes") -> None:
        some = _thinned(curves)
        start = ([0.0], [0.0]) if chance[0] == 0 else ([], [])
        axes.plot([0, 1], chance, **_CHANCE, label="by chance")
        axes.plot([*start[0], *across[some]], [*start[1], *up[some]], color=LIGHT["accent"])
        last = int((curves.thresholds >= np.float32(curves.threshold)).sum()) - 1
        if last >= 0:
            axes.plot(across[last], up[last], "o", **_HOLLOW, label=f"now: {curves.threshold:.3g}")
        _shares(axes, title, label)

    return plot(name, (4.3, 3.2), draw)


def _lines(
    name: str,
    lines: Sequence[tuple[str, Curves, NDArray[np.float64], NDArray[np.float64]]],
    title: str,
    label: str,
) -> Plot:
    """A curve of shares for each of several classes: its name, where it comes from, across, up."""

    def draw(axes: "Axes") -> None:
        for (text, curves, across, up), look in zip(lines, _LOOKS, strict=False):
            some = _thinned(curves)
            start = [] if name == "precision-recall" else [0.0]
            axes.plot([*start, *across[some]], [*start, *up[some]], label=text, **look)
        _shares(axes, title, label)
        axes.legend(**LEGEND | {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)})

    return plot(name, (4.3, 3.6), draw, margins=(0.4, 0.85, 0.1, 0.35))


def _thinned(curves: Curves) -> NDArray[np.int64]:
    """Indices of enough thresholds for a line, so that a page does not grow with the rows.

    The highest ones are nearest to each other: there each row counts for the most.
    """
    last = len(curves.thresholds) - 1
    even, dense = np.linspace(0, last, _LINE_POINTS), np.geomspace(1, last + 1, _LINE_POINTS) - 1
    return np.unique(np.append(even, dense).round().astype(np.int64))


def _shares(axes: "Axes", title: str, across: str, *, ratio: bool = False) -> None:
    """Axes of two shares; `ratio` for a horizontal one that is a probability."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    axes.set_title(title)
    axes.set_xlabel(across)
    ticks = np.linspace(0, 1, 6)
    percent = [f"{tick:.0%}" for tick in ticks]
    axes.yaxis.set_ticks(ticks, percent)
    axes.xaxis.set_ticks(ticks, [f"{tick:.1f}" for tick in ticks] if ratio else percent)
    axes.grid()
    axes.legend(**LEGEND)


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

    return plot("confusion-matrix", (3.7 + left, 3.7 + top), draw, (left, 0.05, 0.05, top))


def block_size(classes: int) -> int:
    """How many neighbouring classes share a cell of the confusion matrix."""
    return -(-classes // _MOST_CELLS)


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


def picture(pixels: NDArray[np.uint8]) -> bytes:
    """(height, width, 3) pixels as a PNG file's bytes."""
    import matplotlib.image

    file = io.BytesIO()
    matplotlib.image.imsave(file, np.ascontiguousarray(pixels), format="png", metadata=NOBODY)
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
    with style("sheet"):
        figure = Figure(figsize=(page.shape[1] / PNG_DPI, page.shape[0] / PNG_DPI))
        figure.figimage(page)
        for caption, (y, x) in zip(captions, corners, strict=True):
            below = 1 - (y + tiles.shape[1] + 6) / page.shape[0]
            figure.text(x / page.shape[1], below, caption, va="top", size=7)
        return png(figure)
