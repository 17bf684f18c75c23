"""Tables and images from outside: the real command, its files, its answers."""

import json
import subprocess
import sys

import churn
import numpy as np
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
import pytest
from program import mlp_job

QUICK = ("--epochs=12", "--hidden=16", "--batch-size=25", "--device=cpu")


def events(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder with churn.csv and a store, the log of the run)."""
    place = tmp_path_factory.mktemp("job")
    data = churn.write_csv(place / "churn.csv", churn.rows())
    done = mlp_job(
        "train", *QUICK, "--data", data, "--label", "churned", "--keep", "household",
        "--name", "churn", "--store", place / "store", "--class-weights",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return place, events(done.stdout)


def where(place):
    return ("--store", place / "store", "--name", "churn")


def test_the_log_shows_the_columns_and_what_was_left_out(trained):
    _, log = trained
    [found] = [e for e in log if e["event.name"] == "columns.found"]
    assert found["columns"]["monthly fee"] == "number"
    assert found["columns"]["paperless"] == "boolean"
    warned = [e["message"] for e in log if e["event.name"] == "data.warned"]
    assert any("customer_id" in message for message in warned)


def test_the_manifest_holds_the_schema_and_the_report_the_columns(trained):
    place, _ = trained
    version = place / "store/churn/versions/1"
    manifest = json.loads((version / "manifest.json").read_text())
    columns = {column["name"]: column for column in manifest["schema"]["columns"]}
    assert columns["city"]["categories"] == ["Köln", "Osaka", "San Juan, PR"]
    assert manifest["schema"]["label"] == "churned"
    assert manifest["config"]["keep"] == ["household"]
    assert "household" not in columns
    files = version / manifest["attempt"]
    carried = pyarrow.parquet.read_table(files / "predictions.parquet")
    pairs = {(row["household"], row["churned"]) for row in churn.rows()}
    assert set(zip(*(carried[n].to_pylist() for n in ("household", "label")), strict=True)) <= pairs
    page = (files / "report.html").read_text()
    assert "tenure/months" in page
    assert "Köln" in page
    assert "looks like an identifier" in page
    options = page.split("Options that were set")[1].split("Every other option")[0]
    given, chosen = options.split("Options that the job chose")
    for name in ("--batch-size", "--hidden", "--label"):
        assert name in given
        assert name not in chosen
    for name in ("--members", "--model", "--feed"):
        assert name in chosen
        assert name not in given
    card = (files / "README.md").read_text()
    assert "a row of 5 columns" in card
    code = card.split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=files, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2] in {"yes", "no"}


def test_evaluate_gives_the_published_accuracy_in_any_format(trained, tmp_path):
    place, _ = trained
    version = place / "store/churn/versions/1"
    published = json.loads((version / "manifest.json").read_text())["metrics"]["accuracy"]
    parquet = churn.write_parquet(tmp_path / "churn.parquet", churn.rows())
    for extra in ((), ("--data", parquet)):
        done = mlp_job("evaluate", "champion", *where(place), "--json", *extra)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["accuracy"] == pytest.approx(published)
        assert "of 800 rows of" in done.stderr


def test_a_table_s_network_is_trained_again_bit_for_bit(trained):
    place, log = trained
    [planned] = [e for e in log if e["event.name"] == "network.planned"]
    assert planned["chosen"]["model"] == "tabular"
    again = mlp_job("reproduce", "champion", *where(place), "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(again.stdout)["same_bits"]


def test_what_the_time_limit_ended_is_trained_again_up_to_the_same_step(tmp_path):
    data = churn.write_csv(tmp_path / "churn.csv", churn.rows(400))
    few = ("--members=2", "--no-xla", "--time-limit=0.001")
    done = mlp_job("train", *QUICK, *few, "--data", data, "--label", "churned", *where(tmp_path))
    assert done.returncode in (0, 3), done.stdout + done.stderr
    manifest = json.loads((tmp_path / "store/churn/versions/1/manifest.json").read_text())
    assert manifest["time_limited"] > 0
    assert manifest["exact"] is False
    again = mlp_job("reproduce", "1", *where(tmp_path), "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads(again.stdout)["same_bits"]


def test_free_text_is_learned_from_where_its_words_help(tmp_path):
    table = churn.rows(800)
    for i, row in enumerate(table):
        mood = "furious" if row["churned"] == "yes" else "content"
        row["call"] = f"{mood} about bill number {i}"
    data = churn.write_csv(tmp_path / "churn.csv", table)
    done = mlp_job("train", *QUICK, "--data", data, "--label", "churned", *where(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    [tried] = [e for e in events(done.stdout) if e["event.name"] == "text.tried"]
    [trial] = tried["trials"]
    assert (trial["column"], trial["kept"]) == ("call", True)
    manifest = json.loads((tmp_path / "store/churn/versions/1/manifest.json").read_text())
    assert manifest["config"]["text"] == ["call"]
    assert "call" in [column["name"] for column in manifest["schema"]["columns"]]
    assert "call" not in manifest["schema"]["hashed"]  # the test rows are those without it
    again = mlp_job("reproduce", "champion", *where(tmp_path), "--json")
    assert json.loads(again.stdout)["same_bits"], again.stderr


def test_validation_of_members_is_out_of_fold(trained):
    place, _ = trained
    [path] = (place / "store/churn/versions/1").glob("*/metrics.json")
    validation = json.loads(path.read_text())["validation"]
    assert validation["kind"] == "out-of-fold"
    assert validation["rows"] > 500  # all that were trained on


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_predict_takes_raw_rows_by_name(trained, tmp_path, suffix):
    place, _ = trained
    rows = churn.rows(50, seed=9)
    labels = [row.pop("churned") for row in rows]
    rows = [dict(reversed(row.items())) | {"extra": "e"} for row in rows]
    write = churn.write_parquet if suffix == "parquet" else churn.write_csv
    out = tmp_path / "out.csv"
    new = write(tmp_path / f"new.{suffix}", rows)
    done = mlp_job("predict", "champion", new, "-o", out, *where(place))
    assert done.returncode == 0, done.stderr
    answers = pyarrow.csv.read_csv(out)
    said = answers["class"].to_pylist()
    assert answers["household"].to_pylist() == [row["household"] for row in rows]
    assert np.mean([a == b for a, b in zip(said, labels, strict=True)]) > 0.7
    assert any("'extra'" in e["message"] for e in events(done.stderr))
    for name, code in (("extra", 0), ("extr", 2)):
        done = mlp_job("predict", "champion", new, "-o", out, "--keep", name, *where(place))
        assert done.returncode == code, done.stderr
    assert "'extra'" in done.stderr
    assert pyarrow.csv.read_csv(out).column_names[:2] == ["extra", "class"]


def test_a_part_without_rows_gets_an_output_without_rows(trained, tmp_path):
    place, _ = trained
    new, out = tmp_path / "new", tmp_path / "out"
    new.mkdir()
    out.mkdir()
    churn.write_csv(new / "a, b.csv", churn.rows(3, seed=9))
    header = (new / "a, b.csv").read_text().splitlines()[0]
    (new / "c[1].csv").write_text(header + "\n")
    done = mlp_job("predict", "champion", new, "-o", out / "{file}", *where(place))
    assert done.returncode == 0, done.stderr
    full, empty = ((out / name).read_text().splitlines() for name in ("a, b.csv", "c[1].csv"))
    assert (len(full), empty) == (4, full[:1])


def test_a_retraining_tells_what_changed(trained, tmp_path):
    place, _ = trained
    rows = churn.rows(400, seed=4)
    for row in rows:
        del row["paperless"]
    data = churn.write_csv(tmp_path / "tonight.csv", rows)
    done = mlp_job(
        "train", *QUICK, "--epochs=1", "--data", data, "--label", "churned",
        "--exclude", "household", *where(place),
    )  # fmt: skip
    [told] = [e for e in events(done.stdout) if e["event.name"] == "data.changed"]
    assert told["changes"] == ["column 'paperless' is gone"]
    codes = [e["code"] for e in events(done.stdout) if e["event.name"] == "data.warned"]
    assert "split-moved" in codes  # it chose the test rows
    [verdict] = [e for e in events(done.stdout) if e["event.name"] == "verdict"]
    assert not verdict["promote"]
    assert any("Not comparable" in reason for reason in verdict["reasons"])


def test_data_reads_as_the_next_version_of_a_model_would(trained, tmp_path):
    place, _ = trained
    rows = churn.rows(400, seed=4)
    for row in rows:
        del row["paperless"]
    data = churn.write_csv(tmp_path / "tonight.csv", rows)
    options = ("--label", "churned", "--exclude", "household")
    fresh, known = (mlp_job("data", data, *options, *more) for more in ((), where(place)))
    assert (fresh.returncode, known.returncode) == (0, 0)
    assert "test rows may have been trained on before" in known.stdout
    assert "Since version 1: column 'paperless' is gone." in known.stdout
    assert "version 1" not in fresh.stdout


def test_lost_classes_and_rows_hold_a_version_back(tmp_path):
    rows, test = churn.rows(400), churn.rows(200, seed=1)
    store = ("--store", tmp_path / "store", "--name", "churn", "--label", "churned")
    unknown = [row | {"churned": "maybe"} for row in test[:3]] + test[3:]
    blank = [row | {"churned": " "} if i % 7 == 0 else row for i, row in enumerate(rows)]
    once = ("train", *QUICK, "--epochs=2", "--model=mlp", *store)

    def night(number, rows, test, *more, code):
        data = churn.write_csv(tmp_path / f"{number}.csv", rows)
        other = churn.write_csv(tmp_path / f"test-{number}.csv", test)
        done = mlp_job(*once, "--data", data, "--test-data", other, *more)
        assert done.returncode == code, done.stdout + done.stderr
        [verdict] = [e for e in events(done.stdout) if e["event.name"] == "verdict"]
        pointer = json.loads((tmp_path / "store/churn/champion.json").read_text())
        return " ".join(verdict["reasons"]), pointer["version"]

    assert night(1, blank, unknown, code=0)[1] == 1  # without a champion it only warns
    why, champion = night(2, rows, unknown, code=3)
    assert "'maybe'" in why
    assert champion == 1
    why, champion = night(3, blank, test, code=3)
    assert "are left out because of what had to be assumed" in why
    assert champion == 1
    assert (tmp_path / "store/churn/versions/3/manifest.json").exists()
    allowed = ("--allow", "lost-class lost-rows")
    assert night(4, blank, unknown, *allowed, code=0)[1] == 4


@pytest.mark.parametrize(
    ("header", "line", "label"),
    [
        ("Kunden 2023\n\n;Alter;Umsatz;Tarif;Beginn;gekauft\n",
         "{i};{age};{sum};{plan};{day:02}.{month:02}.2023;{label}\n", "gekauft"),
        ("", "{age}, {plain}, {plan}, {sign}, 2023-{month:02}-{day:02}, {label}\n", "x5"),
    ],
)  # fmt: skip
def test_files_as_people_have_them_go_through_every_command(header, line, label, tmp_path):
    rng, lines = np.random.default_rng(0), []
    for i in range(600):
        amount = rng.normal(1500, 400)
        lines.append(line.format(
            i=i, age=rng.integers(18, 90), plain=f"{amount:.2f}", day=1 + i % 28, month=1 + i % 12,
            sum=f"{amount:,.2f}".translate(str.maketrans(",.", ".,")),
            sign="?" if i % 9 == 0 else f"{rng.normal():.3f}", plan=rng.choice(["A 1", "B?", "3+"]),
            label="None" if amount > 1500 else "Ja",
        ))  # fmt: skip
    data = tmp_path / "kunden.csv"
    data.write_text(header + "".join(lines))
    store = ("--store", tmp_path / "store", "--name", "k")
    seen = json.loads(mlp_job("data", data, "--label", label, "--json").stdout)
    done = mlp_job("train", *QUICK, "--data", data, "--label", label, *store)
    assert done.returncode == 0, done.stdout + done.stderr
    warned = [e["message"] for e in events(done.stdout) if e["event.name"] == "data.warned"]
    assert seen["problems"] == warned
    assert seen["classes"].keys() == {"Ja", "None"}
    manifest = json.loads((tmp_path / "store/k/versions/1/manifest.json").read_text())
    kinds = [column["kind"] for column in manifest["schema"]["columns"]]
    assert kinds.count("datetime") == 1
    assert kinds.count("number") == (2 if header else 3)
    scored = mlp_job("evaluate", "1", *store, "--json")
    assert json.loads(scored.stdout)["accuracy"] == manifest["metrics"]["accuracy"] > 0.9
    out = tmp_path / "out.csv"
    assert mlp_job("predict", "1", data, "-o", out, *store).returncode == 0
    said = pyarrow.csv.read_csv(out)["class"].to_pylist()
    truth = ["None" if "None" in each else "Ja" for each in lines]
    assert np.mean([a == b for a, b in zip(said, truth, strict=True)]) > 0.9


def test_bad_values_are_missing_ones_everywhere(trained, tmp_path):
    place, _ = trained
    rows = churn.rows(400, seed=4)
    rows[7]["monthly fee"] = "much"
    data = churn.write_csv(tmp_path / "bad.csv", rows)
    out = tmp_path / "out.csv"
    for words, code in (
        (("predict", "champion", data, "-o", out, *where(place)), "bad-values"),
        (("evaluate", "champion", "--test-data", data, *where(place)), "bad-values"),
        (("train", *QUICK, "--data", data, "--label", "churned", "--name", "c", "--store",
          tmp_path / "s", "--epochs=1", "--rejection-ok"), "odd-values"),
    ):  # fmt: skip
        done = mlp_job(*words)
        assert done.returncode == 0, done.stderr
        [said] = [e for e in events(done.stdout + done.stderr) if e.get("code") == code]
        assert (said["column"], said["count"]) == ("monthly fee", 1)
        assert "'much'" in said["message"]
    assert pyarrow.csv.read_csv(out).num_rows == 400
    assert "'much'" in mlp_job("data", data, "--label", "churned").stdout


def test_data_prints_what_the_job_sees(trained, tmp_path):
    place, _ = trained
    seen = json.loads(mlp_job("data", place / "churn.csv", "--json").stdout)
    assert seen["rows"] == {"all": 800}
    kinds = {column["name"]: column["kind"] for column in seen["columns"]}
    assert kinds["complaints"] == "whole number"
    done = mlp_job("data", place / "churn.csv", "--label", "churned")
    assert done.returncode == 0, done.stderr
    assert "customer_id" in done.stdout
    assert "left out" in done.stdout
    assert "rows to test (held out by a hash)" in done.stdout


def test_images_train_score_and_predict(tmp_path):
    from PIL import Image

    root, rng = tmp_path / "in", np.random.default_rng(0)
    for i in range(120):
        path = root / ("blue", "red")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 100, (8, 9, 3))
        pixels[:, :, 0 if i % 2 else 2] += 120
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    store = ("--store", tmp_path / "store", "--name", "hue")
    size = ("--image-size", "6 6", "--learning-rate", "0.01")
    done = mlp_job("train", *QUICK, "--data", root, *size, *store)
    assert done.returncode == 0, done.stdout + done.stderr
    scored = mlp_job("evaluate", "champion", *store, "--json")
    assert json.loads(scored.stdout)["accuracy"] > 0.9
    assert "of 120 rows of" in scored.stderr
    other = mlp_job(
        "train", *QUICK, "--data", root, "--image-size", "9 8", *size[2:], *store
    )  # fmt: skip
    [verdict] = [e for e in events(other.stdout) if e["event.name"] == "verdict"]
    assert [each["version"] for each in verdict["comparisons"]] == [1]  # at its own size
    assert "Not comparable" not in " ".join(verdict["reasons"])
    files = sorted(str(path) for path in (root / "red").iterdir())
    for suffix, read in (
        ("csv", pyarrow.csv.read_csv),
        ("parquet", pyarrow.parquet.read_table),
        ("jsonl", pyarrow.json.read_json),
    ):
        out = tmp_path / f"out.{suffix}"
        done = mlp_job("predict", "champion", root / "red", "-o", out, *store)
        assert done.returncode == 0, done.stderr
        table = read(out)
        assert table["class"].to_pylist().count("red") > 50
        assert table["file"].to_pylist() == files
    [carried] = (tmp_path / "store/hue/versions/1").glob("*/predictions.parquet")
    told = pyarrow.parquet.read_table(carried).to_pylist()
    assert all(f"/{row['label']}/" in row["file"] for row in told)
    one = tmp_path / "one.csv"
    mlp_job("predict", "champion", files[3], "-o", one, *store)
    assert pyarrow.csv.read_csv(one)["file"].to_pylist() == [files[3]]
