"""render(folder, record): the report page, its plots and the model card of one run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from job.config import OPTIONS, flag
from job.evaluation.scores import TITLES
from job.record import Record
from job.report import conversion, drawing, pictures, plots, wording

_OPEN_ROWS = 20
"""Tables with more rows than this are folded."""

_COLUMN_ROWS = 100
"""Columns of a table that are described."""


def render(folder: Path, record: Record) -> None:
    """Writes report.html, README.md and plots/*.png; equal records give equal bytes.

    Args:
        folder: An existing folder.
        record: The run.
    """
    metrics = record.metrics
    marked = record.best_epoch if record.history[-1].val_loss is not None else None
    drawn = {
        "loss": plots.learning_curve("loss", record.history, marked),
        "accuracy": plots.learning_curve("accuracy", record.history, marked),
        "confusion-matrix": plots.confusion(metrics),
        "reliability": plots.reliability(metrics),
    }
    if record.past:
        drawn["trend"] = plots.trend(record.past, metrics)
    seen = {
        "samples": pictures.samples(record.dataset, record.probabilities),
        "mistakes": pictures.mistakes(record.dataset, record.probabilities),
    }
    page = _environment(autoescape=True).get_template("report.html.j2")
    card = _environment(autoescape=False).get_template("model_card.md.j2")
    context = _context(record) | seen | {"plots": drawn}
    files = {f"plots/{name}.png": plot.png for name, plot in drawn.items()}
    files |= {f"plots/{name}.png": _sheet(found) for name, found in seen.items() if found}
    files |= {
        "report.html": page.render(context).encode(errors="replace"),
        "README.md": card.render(context).encode(errors="replace"),
    }
    (folder / "plots").mkdir(exist_ok=True)
    for path, content in files.items():
        (folder / path).write_bytes(content)


def _context(record: Record) -> dict[str, Any]:
    """What the templates see besides pictures: the record's values and what follows from them."""
    metrics, dataset = record.metrics, record.dataset
    options = record.config.flat().items()
    scored = [score for score in metrics.per_class if score.support]
    return {
        "record": record,
        "config": record.config,
        "dataset": dataset,
        "metrics": metrics,
        "wording": wording,
        "titles": TITLES,
        "themes": (drawing.LIGHT, drawing.DARK),
        "images": pictures.are_images(dataset.test.x),
        "wrong": metrics.rows - sum(row[i] for i, row in enumerate(metrics.confusion_matrix)),
        "weakest": sorted(scored, key=lambda score: score.f1)[: _OPEN_ROWS // 2],
        "macro_f1": sum(score.f1 for score in scored) / len(scored),
        "worst_miss": max(1 - score.recall for score in scored),
        "block": plots.block_size(len(metrics.per_class)),
        "open_rows": _OPEN_ROWS,
        "column_rows": _COLUMN_ROWS,
        "confusions": wording.top_confusions(metrics),
        "changed": [(name, value) for name, value in options if value != OPTIONS[name].default],
        "unchanged": [(name, value) for name, value in options if value == OPTIONS[name].default],
    }


def _sheet(found: Sequence[pictures.Picture]) -> bytes:
    captions = [wording.said_and_true(picture.said, picture.true) for picture in found]
    return plots.sheet(np.stack([picture.pixels for picture in found]), captions)


def _environment(*, autoescape: bool) -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("job.report"),
        autoescape=autoescape,  # noqa: S701 (the Markdown template escapes with its own filter)
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": wording.count,
        "flag": flag,
        "percent": wording.percent,
        "duration": wording.duration,
        "shown": wording.shown,
        "markdown": wording.markdown,
        "yaml": wording.yaml,
        "literal": ascii,
        "from_pandas": conversion.from_pandas,
    }
    return environment
