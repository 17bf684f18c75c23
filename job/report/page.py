"""render(folder, record): the report page, its plots and the model card of one run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from job.config import OPTIONS, flag
from job.data.dataset import Dataset
from job.data.findings import sentence, without_cells
from job.data.place import counts
from job.evaluation import curves
from job.evaluation.scores import TITLES
from job.record import Record
from job.registry.manifest import Manifest
from job.report import conversion, drawing, pictures, plots, rows, wording

_OPEN_ROWS = 20
"""Tables with more rows than this are folded."""

_MISTAKES = 12

_PAIRS = 4
"""Pairs of classes whose mix-ups are shown as images."""

_CLASS_CURVES = 5
"""Classes of three or more whose curves are drawn."""

_FEWEST = 5
"""Rows that have a value, at least, for it to be shown where single rows are not."""

_COLUMN_ROWS = 100
"""Columns of a table that are described."""


def render(folder: Path, record: Record) -> None:
    """Writes report.html, README.md and plots/*.png; equal records give equal bytes.

    Args:
        folder: An existing folder.
        record: The run.
    """
    dataset, metrics = record.dataset, record.metrics
    answers = rows.Answers.of(record)
    two = curves.curves(
        record.probabilities, dataset.test.y, dataset.classes, dataset.shares, metrics.threshold
    )
    hardest = (
        curves.hardest(record.probabilities, dataset.test.y, dataset.classes, _CLASS_CURVES)
        if dataset.table
        else ()
    )
    past = [each for each in record.past if each.metrics.value(record.metric) is not None]
    drawn = _plots(record, two, hardest, past)
    show = record.config.publishing.report_rows
    surest = answers.surest_mistakes(dataset.test.y, _MISTAKES)
    seen = {
        "samples": pictures.samples(dataset, answers) if show != "none" else (),
        "mistakes": pictures.pictures(surest, dataset, answers, record.occlusions)
        if show != "none"
        else (),
    }
    pairs = wording.top_confusions(metrics, _PAIRS) if seen["mistakes"] else ()
    measured = record.importance.columns if record.importance else ()
    columns = [each.column for each in measured]
    row_mistakes = rows.mistakes(dataset, answers, surest, show=show, columns=columns)
    page = _environment(autoescape=True).get_template("report.html.j2")
    card = _environment(autoescape=False).get_template("model_card.md.j2")
    context = (
        _context(record)
        | seen
        | {
            "plots": drawn,
            "curves": two,
            "hardest": hardest,
            "past": past,
            "row_mistakes": row_mistakes,
            "most_mistakes": len(surest),
            "examples": pictures.examples(dataset, answers, pairs),
        }
    )
    files = {f"plots/{name}.png": plot.png for name, plot in drawn.items()}
    files |= {f"plots/{name}.png": _sheet(found) for name, found in seen.items() if found}
    files |= {
        "report.html": page.render(context).encode(errors="replace"),
        "README.md": card.render(context).encode(errors="replace"),
    }
    (folder / "plots").mkdir(exist_ok=True)
    for path, content in files.items():
        (folder / path).write_bytes(content)


def _plots(
    record: Record,
    two: curves.Curves | None,
    hardest: Sequence[tuple[float, curves.Curves]],
    past: Sequence[Manifest],
) -> Mapping[str, drawing.Plot]:
    """The plots of a run by their names; `past` are the versions with the score that ranks."""
    metrics = record.metrics
    marked = record.best_epoch if record.history[-1].val_loss is not None else None
    kind = record.validation.kind if record.validation else "validation"
    drawn = {
        "loss": plots.learning_curve("loss", record.history, marked, kind),
        "accuracy": plots.learning_curve("accuracy", record.history, marked, kind),
        "confusion-matrix": plots.confusion(metrics),
        "reliability": plots.reliability(metrics),
    }
    if two:
        drawn |= {
            "thresholds": plots.thresholds(two),
            "gain": plots.gain(two),
            "roc": plots.roc(two),
            "precision-recall": plots.precision_recall(two),
        }
        if two.cost is not None:
            drawn["cost"] = plots.cost(two, two.cost)
    if hardest:
        drawn |= {
            "roc": plots.roc_of_classes(hardest),
            "precision-recall": plots.precision_recall_of_classes(hardest),
        }
    if past:
        drawn["trend"] = plots.trend(past, record.metric, record.version, metrics)
    return drawn


def _context(record: Record) -> dict[str, Any]:
    """What the templates see besides pictures: the record's values and what follows from them."""
    metrics, dataset = record.metrics, record.dataset
    options = record.config.flat()
    same = {name for name, value in options.items() if value == OPTIONS[name].default}
    scored = [score for score in metrics.per_class if score.support]
    return {
        "record": record,
        "config": record.config,
        "dataset": dataset,
        "warnings": _warnings(record),
        "metrics": metrics,
        "wording": wording,
        "titles": TITLES,
        "themes": (drawing.LIGHT, drawing.DARK),
        "images": pictures.are_images(dataset.test.x),
        "wrong": metrics.rows - sum(row[i] for i, row in enumerate(metrics.confusion_matrix)),
        "weakest": sorted(scored, key=lambda score: score.f1)[: _OPEN_ROWS // 2],
        "most_common": dataset.classes[int(dataset.shares.argmax())],
        "shares": _shares(dataset),
        "worst_miss": max(1 - score.recall for score in scored),
        "block": plots.block_size(len(metrics.per_class)),
        "open_rows": _OPEN_ROWS,
        "column_rows": _COLUMN_ROWS,
        "fewest": 1 if record.config.publishing.report_rows == "all" else _FEWEST,
        "confusions": wording.top_confusions(metrics),
        "given": {k: options[k] for k in options if k not in same | record.chosen},
        "chosen": {k: options[k] for k in options if k in record.chosen},
        "unchanged": {k: options[k] for k in options if k in same},
    }


def _warnings(record: Record) -> Sequence[str]:
    """The findings about the data; what they quote of single rows only where all may be shown."""
    findings = record.dataset.findings
    if record.config.publishing.report_rows != "all":
        findings = tuple(map(without_cells, findings))
    return tuple(map(sentence, findings))


def _shares(dataset: Dataset) -> Sequence[tuple[int | str, float, float]]:
    """The classes with the most training rows: their shares of the training and test rows."""
    test = counts(dataset.test.y, len(dataset.classes)) / len(dataset.test)
    most = np.argsort(-dataset.shares, kind="stable")[:_COLUMN_ROWS]
    return [(dataset.classes[i], float(dataset.shares[i]), float(test[i])) for i in most]


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
        "capitalised": wording.capitalised,
        "cell": wording.cell,
        "shown": wording.shown,
        "signed": wording.signed,
        "markdown": wording.markdown,
        "yaml": wording.yaml,
        "literal": ascii,
        "from_pandas": conversion.from_pandas,
        "read_csv": conversion.read_csv,
    }
    return environment
