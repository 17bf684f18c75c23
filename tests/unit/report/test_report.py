"""The report's files as files: what they say, how they escape, and that the card's snippet runs."""

import base64
import dataclasses
import html.parser
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import drafts
import numpy as np
import pytest
import records
import yaml
from PIL import Image
from sklearn.metrics import average_precision_score, brier_score_loss

from job import evaluation, export
from job.config import OPTIONS, Config, flag
from job.data.findings import Finding
from job.data.place import Disk
from job.evaluation import curves
from job.evaluation.occlusion import Occlusion
from job.models import plan
from job.record import Record
from job.registry.manifest import Manifest, Scores
from job.registry.verdict import Verdict
from job.report import artifacts, page, pictures, plots, wording
from job.training import ValidationScores


class Page(html.parser.HTMLParser):
    """The elements of a page, in order, as (tag, attributes), and its text."""

    def __init__(self, source: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def rendered(folder: Path, record: Record) -> Page:
    folder.mkdir(exist_ok=True)
    page.render(folder, record)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def front_matter(folder: Path) -> tuple[dict[str, Any], str]:
    _, matter, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(matter), body


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """What a run on MNIST leaves in its folder, as far as the report goes."""
    folder = tmp_path_factory.mktemp("published")
    network, record = records.real()
    export.write(network, folder)
    artifacts.write(folder, record)
    page.render(folder, record)
    return folder, record


def test_the_page_tells_the_run(published: tuple[Path, Record]) -> None:
    folder, record = published
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    metrics = record.metrics
    low, high = metrics.accuracy_interval
    said = record.probabilities.argmax(axis=1)
    surest = max(
        np.flatnonzero(said != record.dataset.test.y), key=lambda i: max(record.probabilities[i])
    )
    for fact in (
        f"{metrics.accuracy:.2%} of 10,000 unseen images",
        "Always answering “1”, the most common class, would be right on "
        f"{metrics.baseline.accuracy:.2%}.",
        "mnist · version 7 · training report",
        f"{low * 100:.2f}–{high * 100:.2f}%",
        "Cleared for promotion",
        record.verdict.reasons[0],
        record.run_id,
        record.dataset.digest,
        "6,000 images to learn from, 1,000 to validate on and 10,000 to test on, in 10 classes.",
        "Every epoch in figures",
        "Keras",
        "3.15.1",
    ):
        assert fact in page.text
    alts = [image["alt"] or "" for image in page.all("img")]
    assert len(alts) == 20 + 4 * 6 + 12  # samples, mixed-up classes, surest mistakes
    assert alts[44].startswith(f"Test image {surest}: the model said “{said[surest]}”")


def test_the_page_is_accessible(published: tuple[Path, Record]) -> None:
    page = Page((published[0] / "report.html").read_text(encoding="utf-8"))
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert len(page.all("title")) == 1
    headings = [tag for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings == ["h1"] + ["h2"] * (len(headings) - 1)
    assert all(image["alt"] for image in page.all("img"))
    pictured = [a for _, a in page.elements if a.get("role") == "img"]
    assert len(pictured) == len(page.all("svg")) == 4
    assert all(len(a["aria-label"] or "") > 40 for a in pictured)
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_loads_nothing(published: tuple[Path, Record]) -> None:
    page = Page((published[0] / "report.html").read_text(encoding="utf-8"))
    assert not {tag for tag, _ in page.elements} & {"script", "iframe", "object", "base"}
    links = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "action")
    ]
    assert links
    assert all((link or "").startswith(("data:", "#")) for link in links)


def luminance(colour: tuple[float, ...]) -> float:
    """WCAG 2.2's relative luminance of sRGB from 0 to 1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_is_enough_in_both_themes(published: tuple[Path, Record]) -> None:
    source = (published[0] / "report.html").read_text(encoding="utf-8")
    themes = [
        {
            name: tuple(int(value[i : i + 2], 16) / 255 for i in (0, 2, 4))
            for name, value in re.findall(r"--(\w+): #(\w{6});", root)
        }
        for root in re.findall(r":root \{([^}]*)\}", source)
    ]
    assert len(themes) == 2
    for theme in themes:
        for ink in ("ink", "muted", "accent", "good", "bad"):
            assert contrast(theme[ink], theme["paper"]) >= 4.5
        for shade in plots.shades(np.array([[9, 1], [0, 10]])).reshape(-1, 4):
            behind = tuple(shade[:3] * shade[3] + np.array(theme["paper"]) * (1 - shade[3]))
            assert contrast(theme["ink"], behind) >= 4.5


def test_the_plots_follow_the_theme(published: tuple[Path, Record]) -> None:
    source = (published[0] / "report.html").read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", source, re.DOTALL))
    assert "var(--accent)" in drawn
    assert "var(--ink)" in drawn
    assert not re.findall(r"(?:fill|stroke): ?#\w+", drawn)


def test_the_plots_stand_as_png(published: tuple[Path, Record]) -> None:
    names = {path.name for path in (published[0] / "plots").iterdir()}
    assert names == {
        "loss.png", "accuracy.png", "confusion-matrix.png", "reliability.png",
        "samples.png", "mistakes.png",
    }  # fmt: skip
    for path in (published[0] / "plots").iterdir():
        with Image.open(path) as image:
            assert min(image.size) > 200
            assert len(set(image.convert("L").tobytes())) > 10


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        page.render(folder, records.invented(shape=(8, 8), dtype="uint8"))
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 12
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in files)


def test_the_card_is_true(published: tuple[Path, Record]) -> None:
    folder, record = published
    matter, body = front_matter(folder)
    assert matter["license"] == "cc-by-sa-3.0"
    assert matter["library_name"] == "keras"
    assert matter["pipeline_tag"] == "image-classification"
    assert matter["datasets"] == ["ylecun/mnist"]
    assert matter["metrics"] == ["accuracy", "f1"]
    (entry,) = matter["model-index"]
    assert entry["name"] == "mnist"
    (result,) = entry["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"]["split"] == "test"
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["accuracy"] == record.metrics.accuracy
    assert values["cross_entropy"] == record.metrics.loss
    assert values["expected_calibration_error"] == record.metrics.calibration_error
    assert values["f1"] == pytest.approx(np.mean([score.f1 for score in record.metrics.per_class]))
    for title in ("Intended use", "How to use", "Training data", "Results", "Calibration",
                  "Limitations", "Provenance"):  # fmt: skip
        assert f"\n## {title}\n" in body
    for path in re.findall(r"\]\(([^)]+)\)", body):
        assert (folder / path).is_file()


@pytest.mark.slow
def test_the_cards_snippet_runs_beside_the_model(published: tuple[Path, Record]) -> None:
    folder, record = published
    (snippet,) = re.findall(r"```python\n(.*?)```", front_matter(folder)[1], re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said, sure = done.stdout.splitlines()[-1].split()
    assert int(said) in record.dataset.classes
    assert 0 < float(sure) <= 1


def test_the_card_of_own_data_claims_no_licence(tmp_path: Path) -> None:
    page.render(tmp_path, records.invented(uri='s3://b/"quoted": [x].npz'))
    matter, body = front_matter(tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8").endswith("manifest.json.\n")
    assert matter["license"] == "unknown"
    assert matter["pipeline_tag"] == "tabular-classification"
    assert "datasets" not in matter
    assert matter["model-index"][0]["results"][0]["dataset"]["name"] == 's3://b/"quoted": [x].npz'
    assert "settle it before you pass this model on" in body


@pytest.mark.parametrize(
    ("model", "tags"), [("mlp", ["mlp"]), ("cnn", ["cnn"]), ("mlp cnn", ["mlp", "cnn"])]
)
def test_the_card_names_the_kind_of_network(tmp_path: Path, model: str, tags: list[str]) -> None:
    config = Config.of(data="s3://b/x.npz", name="rows", model=model)
    page.render(tmp_path, records.invented(config=config, shape=(8, 8), dtype="uint8"))
    matter, body = front_matter(tmp_path)
    assert matter["tags"] == [*tags, "image-classification"]
    assert ("It looks at each pixel by its place" in body) is (model == "mlp")


def test_hostile_labels_stay_text(tmp_path: Path) -> None:
    page = rendered(
        tmp_path,
        records.invented(
            classes=records.HOSTILE,
            shape=(8, 8),
            dtype="uint8",
            uri="<b>`x`\n",
            device=dataclasses.replace(records.ABOUT["device"], name="<i>GPU</i>"),
        ),
    )
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe"}
    assert "i" in tags  # the bars, and no other
    assert all(set(attributes) == {"style"} for attributes in page.all("i"))
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert "<script>alert(1)</script>" in page.text
    assert "var(" not in page.text
    assert "\u202e" not in page.text
    assert "\x1b" not in page.text
    assert "w" * 100 not in page.text
    _, body = front_matter(tmp_path)
    assert "\n# forged" not in body
    assert "<script>" not in body.replace("\\<", "")
    table = [line for line in body.splitlines() if line.startswith("| \\| a")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in table] == [6]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "dtype", "scale", "images"),
    [
        ((28, 28), "uint8", 1, True),
        ((28, 28, 1), "uint8", 1, True),
        ((32, 32, 3), "uint8", 1, True),
        ((300, 200, 3), "uint8", 1, True),
        ((28, 28), "float32", 1 / 255, True),
        ((28, 28), "float32", 1, False),
        ((28, 28, 2), "uint8", 1, False),
        ((9,), "uint8", 1, False),
        ((9,), "float32", 1, False),
    ],
)
def test_rows_of_any_shape(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, scale: float, images: bool
) -> None:
    record = records.invented(shape=shape, dtype=dtype, rows=100, right=0.5)
    scaled = dataclasses.replace(
        record.dataset.test, x=(record.dataset.test.x * scale).astype(dtype)
    )
    page = rendered(
        tmp_path,
        dataclasses.replace(record, dataset=dataclasses.replace(record.dataset, test=scaled)),
    )
    assert len(page.all("img")) == (20 + 2 * 6 + 12 if images else 0)
    assert ("Its surest mistakes" in page.text) is images
    assert (tmp_path / "plots/mistakes.png").exists() is images


def test_a_picture_shows_the_pixels_of_its_row(published: tuple[Path, Record]) -> None:
    folder, record = published
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    for image in page.all("img"):
        row = int(re.findall(r"Test image (\d+)", image["alt"] or "")[0])
        png = base64.b64decode((image["src"] or "").split(",")[1])
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
        assert (pixels == record.dataset.test.x[row]).all()


@pytest.mark.parametrize("classes", [2, 21, 100, 1000])
def test_many_classes(tmp_path: Path, classes: int) -> None:
    page = rendered(tmp_path, records.invented(classes=range(classes), rows=3000))
    folded = "The 10 weakest of" in page.text
    assert folded is (classes > 20)
    assert len(page.all("details")) == 2 + 2 * folded
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    _, body = front_matter(tmp_path)
    assert len(body) < 20_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"validation": 0}, "No rows were held out for validation."),
        ({"validation": 0, "epochs": 1}, "in 1 epoch."),
        ({"epochs": 1}, "more epochs may still help"),
        ({"right": 1.0}, "All 300 test rows were named correctly."),
        ({"rows": 1, "right": 1.0}, "100.00% of 1 unseen rows"),
        ({"rows": 2, "right": 0.0, "classes": ("a", "b", "c")}, "of 2 unseen rows"),
        ({"verdict": Verdict(promote=False, reasons=("Too low.",))}, "Not promoted Too low."),
    ],
)
def test_unusual_runs(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    page = rendered(tmp_path, records.invented(shape=(8, 8, 1), dtype="uint8", **changes))
    assert said in page.text.replace("images", "rows")
    assert ("Its surest mistakes" in page.text) is (changes.get("right", 0.8) < 1)


def test_the_last_runs_are_a_line(tmp_path: Path) -> None:
    assert "the last versions" not in rendered(tmp_path, records.invented()).text
    past = []
    for version, accuracy in ((3, 0.7), (5, 0.8), (6, 0.75)):
        scores = Scores(accuracy=accuracy, accuracy_interval=(accuracy - 0.05, 0.9), loss=0.5)
        described = vars(drafts.draft("run")) | {"metrics": scores}
        past.append(
            Manifest(
                schema_version=1,
                name="rows",
                version=version,
                created=records.ABOUT["created"],
                files={},
                **described,
            )
        )
    page = rendered(tmp_path, records.invented(past=tuple(past)))
    assert "points against version 6. The best of the 3 versions before was version 5" in page.text
    with Image.open(tmp_path / "plots/trend.png") as image:
        assert len(set(image.convert("L").tobytes())) > 10


def test_the_kept_weights_are_named(tmp_path: Path) -> None:
    record = records.invented(epochs=4, best_epoch=2)
    assert "The published weights are those of epoch 4." in rendered(tmp_path, record).text
    patient = dataclasses.replace(record, kept_epoch=2)
    assert "The published weights are those of epoch 2." in rendered(tmp_path, patient).text
    members = dataclasses.replace(record, kept_epoch=None)
    each = "Each member is published with the weights of an epoch of its own."
    assert each in rendered(tmp_path, members).text


def test_the_most_frequent_mistake_is_found(tmp_path: Path) -> None:
    y = np.array([0] * 10 + [1] * 10, np.int32)
    probabilities = np.eye(2, dtype=np.float32)[np.array([0] * 10 + [0] * 3 + [1] * 7)]
    record = records.invented(rows=20)
    metrics = evaluation.evaluate(probabilities, y, ("cat", "dog"))
    changed = dataclasses.replace(record, metrics=metrics, probabilities=probabilities)
    assert "“dog” taken for “cat”, 3 times (30.0% of “dog”)" in rendered(tmp_path, changed).text


def test_the_columns_that_matter_come_first(tmp_path: Path) -> None:
    record = records.table(tmp_path)
    page = rendered(tmp_path, record)
    assert "The model owes the most to “monthly fee”. 1 column of 5 surely matters" in page.text
    assert "“monthly fee”" in front_matter(tmp_path)[1]
    artifacts.write(tmp_path, record)
    written = json.loads((tmp_path / "metrics.json").read_text())["importance"]
    assert written["columns"][0]["column"] == "monthly fee"
    low, high = written["columns"][0]["loss_interval"]
    assert 0 < low < written["columns"][0]["loss"] < high
    assert f"{low:+.4f} to {high:+.4f}" in page.text
    assert [each["lost"] for each in written["columns"][1:]] == [0] * 4


def test_the_threshold_says_what_it_does_and_costs(tmp_path: Path) -> None:
    record = records.table(tmp_path, "cost=5:1")
    page = rendered(tmp_path, record)
    y, yes = record.dataset.test.y, record.probabilities[:, 1] >= np.float32(0.3)
    found, alarms = int((yes & (y == 1)).sum()), int((yes & (y == 0)).sum())
    positives = int((y == 1).sum())
    cost = (5 * (positives - found) + alarms) / len(y)
    for fact in (
        "The answer is “yes” when it has a probability of at least 0.3, chosen by cost=5:1 on "
        f"validation rows. That finds {found} of {positives} test rows of “yes”",
        f"and {alarms} of {found + alarms} such answers are false alarms",
        f"a thousand rows cost {1000 * cost:,.0f}. A threshold of 0.5 would cost",
        f"never answering “yes” {5000 * positives / len(y):,.0f}",
        "0.3 now",
    ):
        assert fact in page.text
    area = average_precision_score(y, record.probabilities[:, 1])
    assert record.metrics.scores.average_precision != pytest.approx(area)  # “no” is the rarer
    assert page.text.count(f"average precision {area:.4f}; by chance 0.5") == 1
    plots = {path.stem for path in (tmp_path / "plots").iterdir()}
    assert {"thresholds", "cost", "gain", "roc", "precision-recall"} <= plots
    assert len(page.all("svg")) == 9
    card = front_matter(tmp_path)[1]
    assert "`saved_model/` and `mlp-job predict` apply the threshold" in card
    assert "\nsaid = 1 if probabilities[0, 1] >= 0.3 else 0\n" in card


def test_without_a_threshold_the_more_probable_class_is_the_answer(tmp_path: Path) -> None:
    page = rendered(tmp_path, records.table(tmp_path))
    assert "The answer is “no” when it is more probable than not." in page.text
    assert "0.5 now" in page.text
    assert not (tmp_path / "plots/cost.png").exists()
    three = rendered(tmp_path / "three", records.invented(classes=("a", "b", "c")))
    assert "Where to set the threshold" not in three.text
    assert "How well it ranks each class" not in three.text  # which is of tables


@pytest.mark.parametrize("show", ["none", "keys", "all"])
def test_rows_are_shown_as_far_as_allowed(tmp_path: Path, show: str) -> None:
    record = records.table(tmp_path, report_rows=show)
    page = rendered(tmp_path, record)
    predicted = record.probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != record.dataset.test.y)
    surest = wrong[record.probabilities[wrong].max(axis=1).argmax()]
    source = record.dataset.table.source
    number = str(source.where(int(surest))[1])
    cells = [source.column("monthly fee")[int(row)].as_py() for row in wrong]
    shown = [cell for cell in cells if cell and cell in page.text]
    assert ("Its surest mistakes" in page.text) is (show != "none")
    if show != "none":
        heads = re.findall(r"Its surest mistakes.*?Sure\s+(\d+)", page.text, re.DOTALL)
        assert heads == [number]
    assert bool(shown) is (show == "all")


@pytest.mark.parametrize("show", ["none", "keys", "all"])
def test_warnings_quote_cells_only_where_rows_may_be_shown(tmp_path: Path, show: str) -> None:
    record = records.table(tmp_path, report_rows=show)
    odd = Finding(code="odd-values", column="monthly fee", count=2, of=9, values=("cellA", "cellB"))
    gone = Finding(code="split-moved", count=1, values=("a column",))
    dataset = dataclasses.replace(record.dataset, findings=(odd, gone))
    page = rendered(tmp_path, dataclasses.replace(record, dataset=dataset))
    assert "2 values of 9 cannot be read like the others" in page.text
    assert ["cellA" in page.text, "cellB" in page.text] == [show == "all"] * 2
    assert "a column" in page.text


@pytest.mark.slow  # a table is read and its columns are measured
@pytest.mark.parametrize("show", ["keys", "all"])
def test_values_of_few_rows_are_shown_only_where_rows_may_be(tmp_path: Path, show: str) -> None:
    record = records.table(tmp_path, report_rows=show)
    schema = record.dataset.table.schema
    values = (("five rows", 5), ("four rows", 4))
    columns = tuple(
        column if column.kind == "number" else dataclasses.replace(column, most_common=values)
        for column in schema.columns
    )
    table = dataclasses.replace(
        record.dataset.table, schema=dataclasses.replace(schema, columns=columns)
    )
    dataset = dataclasses.replace(record.dataset, table=table)
    page = rendered(tmp_path, dataclasses.replace(record, dataset=dataset))
    assert ["five rows" in page.text, "four rows" in page.text] == [True, show == "all"]


def test_kept_columns_name_the_rows(tmp_path: Path) -> None:
    page = rendered(tmp_path, records.table(tmp_path, keep=("household",), exclude=()))
    assert re.search(r"HouseholdSaidWasSure\s+h\d+(yesno|noyes)", page.text)
    assert "Row numbers count" not in page.text
    both = rendered(tmp_path, records.table(tmp_path, keep=("customer_id", "household")))
    assert re.search(r"Sure\s+customer_id \d+, household h\d+", both.text)


def test_the_row_number_is_that_of_the_file(tmp_path: Path) -> None:
    record = records.table(tmp_path)
    source = record.dataset.table.source
    lines = (tmp_path / "churn.csv").read_text(encoding="utf-8").splitlines()[1:]
    fees = [line.split(",")[1] for line in lines]
    for row, value in enumerate(source.column("monthly fee").to_pylist()):
        assert fees[source.where(row)[1]] == (value or "")


def test_no_picture_of_a_test_row_when_none_may_be_shown(tmp_path: Path) -> None:
    config = Config.of(data="s3://bucket/rows.npz", name="rows", report_rows="none")
    page = rendered(tmp_path, records.invented(config=config, shape=(8, 8), dtype="uint8"))
    assert not page.all("img")
    assert {path.stem for path in (tmp_path / "plots").iterdir()}.isdisjoint(
        {"samples", "mistakes"}
    )


def test_the_page_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    rendered(tmp_path, records.invented(rows=100_000))
    assert (tmp_path / "report.html").stat().st_size < 200_000


def test_the_metric_that_ranks_is_the_headline(tmp_path: Path) -> None:
    record = records.table(tmp_path, metric="roc_auc")
    page = rendered(tmp_path, record)
    assert f"ROC AUC {record.metrics.scores.roc_auc:.4f} on " in page.text
    assert "Always answering “yes”, the most common class, reaches 0.5000." in page.text


@pytest.mark.parametrize("classes", [2, 3])
def test_the_brier_score_says_what_it_sums(tmp_path: Path, classes: int) -> None:
    record = records.invented(classes=range(classes), right=0.5)
    page = rendered(tmp_path, record)
    _, card = front_matter(tmp_path)
    two = "of one of two classes alone it is half as much"
    for text in (page.text, card):
        assert "The Brier score sums the squared errors of all classes: 0 is the best" in text
        assert (two in text) is (classes == 2)
    if classes == 2:
        half = brier_score_loss(record.dataset.test.y, record.probabilities[:, 1])
        assert record.metrics.scores.brier == pytest.approx(2 * half, rel=1e-4)


def test_the_options_that_were_set_come_before_those_that_the_job_chose(tmp_path: Path) -> None:
    config = Config.of(data="s3://b/x.npz", name="rows", epochs=3)
    record = records.invented(config=config, chosen=frozenset({"batch_size", "members"}))
    page.render(tmp_path, record)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    given, rest = html.split("Options that were set")[1].split("Options that the job chose")
    chosen, others = rest.split("Every other option")
    row = '<tr><th scope="row"><code>--{}</code></th><td>{}</td></tr>'
    assert row.format("epochs", 3) in given
    assert row.format("batch-size", 250) in chosen
    names = [re.findall("<code>(--[a-z-]+)</code>", part) for part in (given, chosen, others)]
    assert names[1] == ["--members", "--batch-size"]
    assert sorted([*names[0], *names[1], *names[2]]) == sorted(map(flag, OPTIONS))
    all_open = records.invented(
        config=Config(), chosen=frozenset(plan.REFERENCE), uri="mnist", shape=(8, 8), dtype="uint8"
    )
    assert "Options that were set" not in rendered(tmp_path, all_open).text


def test_the_learning_curves_name_the_validation(tmp_path: Path) -> None:
    scores = ValidationScores(kind="out-of-fold", rows=200, loss=0.5, accuracy=0.8, temperature=1.0)
    page = rendered(tmp_path, dataclasses.replace(records.invented(), validation=scores))
    assert page.text.count("out-of-fold") == 1 + 2  # the sentence and both legends
    assert "280 rows to learn from, in turn to validate on, and 300 to test on" in page.text
    _, card = front_matter(tmp_path)
    assert "280 rows to learn from, in turn for validation, 300 for the test." in card
    assert "out-of-fold: each of 200 training rows is scored" in card
    assert "Accuracy 80.00%, loss 0.5000." in card


def test_mixed_up_images_and_where_the_surest_mistakes_come_from(tmp_path):
    run = records.invented(shape=(8, 8), dtype="uint8", classes=("cat", "dog", "<b>"), right=0.5)
    predicted = run.probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != run.dataset.test.y)
    sure = run.probabilities[wrong].max(axis=1)
    surest = wrong[np.argsort(-sure, kind="stable")[:2]]
    lost = np.linspace(-0.1, 0.9, 64, dtype=np.float32).reshape(8, 8)
    looked = tuple(Occlusion(row=int(row), lost=lost) for row in surest)
    page.render(tmp_path, dataclasses.replace(run, occlusions=looked))
    written = (tmp_path / "report.html").read_text()
    assert written.count('class="places"') == 2
    assert "The second picture of the first 2" in written
    assert written.count("taken for <bdi>") == 4
    assert "<b>”" not in written
    page.render(tmp_path, run)
    assert 'class="places"' not in (tmp_path / "report.html").read_text()


def test_places_that_matter_are_warm():
    lost = np.zeros((8, 8), np.float32)
    lost[0, 7] = 0.5
    pixels = pictures._places(np.full((16, 24, 3), 100, np.uint8), lost).astype(int)
    warmth = pixels[:, :, 0] - pixels[:, :, 2]
    assert warmth.max() == warmth[0, -1] > 100
    assert (warmth[4:, :18] == 0).all()


@pytest.mark.parametrize(
    ("model", "members", "words"),
    [
        ("mlp", 1, "A multilayer perceptron"),
        ("tabular", 5, "An average of 5 multilayer perceptrons"),
        ("cnn", 1, "A convolutional network"),
        ("mlp cnn", 1, "An average of 1 multilayer perceptron and 1 convolutional network"),
    ],
)
def test_the_kind_of_network_in_words(model, members, words):
    assert wording.network(Config.of(model=model, members=members).model) == words


def test_what_families_count_in_words():
    options = Config.of(model="mlp cnn", members=3).model
    assert wording.network(options, {"mlp": 0.004, "cnn": 0.996}) == (
        "An average of 3 multilayer perceptrons and 3 convolutional networks, which count for "
        "<1% and >99%,"
    )


def test_samples_are_drawn_from_all_rows_the_same_from_the_disk(tmp_path):
    y = np.repeat(np.arange(10, dtype=np.int32), 1000)
    drawn = [pictures.drawn(y, label, 5) for label in range(10)]
    streamed = Disk(folder=tmp_path).kept(y, "y")
    for label, rows in enumerate(drawn):
        assert {*y[rows]} == {label}
        assert len({*rows}) == 5
        assert [*pictures.drawn(streamed, label, 5)] == [*rows]
    assert np.std([rows % 1000 for rows in drawn]) > 200


def test_curves_of_classes_name_each_with_its_area() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 200).astype(np.int32)
    said = rng.dirichlet(np.ones(4), 200).astype(np.float32)
    found = curves.hardest(said, y, ("a", "b", "c", "<d>"), 4)
    for plot, areas in (
        (plots.roc_of_classes(found), [area for area, _ in found]),
        (plots.precision_recall_of_classes(found), [each.average_precision for _, each in found]),
    ):
        drawn = html.unescape(plot.svg)
        for (_, each), area in zip(found, areas, strict=True):
            assert f"{each.label} {area:.3f}" in drawn
