import dataclasses
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tiny

from job import device, export, training
from job.config import Config
from job.evaluation.threshold import Threshold, decide
from job.models import mlp


def trained(dataset):
    """(model, raw test rows) after a short training."""
    device.prepare("cpu")
    config = Config.of(hidden=(16,), epochs=2, batch_size=50)
    net = mlp.build(config, dataset)
    training.fit(net, dataset, config)
    return net, dataset.test.x


@pytest.fixture(scope="module")
def pixels():
    return trained(tiny.corners())


@pytest.fixture(scope="module")
def columns():
    return trained(tiny.flat(tiny.corners()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pixels", "columns"])
def test_both_files_reload_in_a_fresh_process_and_predict_the_same(kind, request, tmp_path, capfd):
    net, rows = request.getfixturevalue(kind)
    with export.Check() as check:
        export.write(net, tmp_path)
        check.submit(tmp_path, rows)
        check.result(training.predict(net, rows), export.tolerance(net))
    assert capfd.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "saved_model"]


@pytest.mark.slow
@pytest.mark.parametrize("classes", [("ok", "frød"), (7, -3)])
@pytest.mark.parametrize("value", [None, 0.2])
def test_the_saved_model_answers_with_labels(classes, value, tmp_path):
    import tensorflow as tf

    dataset = dataclasses.replace(tiny.corners(), classes=classes)
    dataset = dataclasses.replace(
        dataset,
        train=dataclasses.replace(dataset.train, y=dataset.train.y % 2),
        test=dataclasses.replace(dataset.test, y=dataset.test.y % 2),
    )
    net, rows = trained(dataset)
    threshold = value and Threshold(label=classes[1], value=value, rule="0.2")
    with export.Check() as check:
        export.write(net, tmp_path, classes=classes, threshold=threshold)
        check.submit(tmp_path, rows)
        said, near = training.predict(net, rows), export.tolerance(net)
        check.result(said, near, classes=classes, threshold=threshold)
        first = decide(said, classes, threshold)[0]
        other = Threshold(label=classes[first], value=1.1, rule="1.1")  # never that class
        with pytest.raises(export.ExportMismatch, match="the label of its probabilities"):
            check.result(said, near, classes=classes, threshold=other)
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    said = served(rows=tf.constant(rows))
    labels = [label.encode() if isinstance(label, str) else label for label in classes]
    expected = decide(said["probabilities"].numpy(), classes, threshold)
    assert said["classes"].numpy().tolist() == [labels[k] for k in expected]
    lines = (tmp_path / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [str(label) for label in classes]
    assert (tmp_path / "saved_model/assets.extra/labels.txt").exists()


@pytest.mark.slow
def test_other_predictions_are_a_mismatch(pixels, tmp_path):
    net, rows = pixels
    export.write(net, tmp_path)
    probabilities = training.predict(net, rows)
    probabilities[7, 0] += 0.01
    with export.Check() as check:
        check.submit(tmp_path, rows)
        with pytest.raises(export.ExportMismatch, match="a difference of"):
            check.result(probabilities, export.tolerance(net))


@pytest.mark.slow
def test_a_torn_file_is_a_mismatch(pixels, tmp_path):
    net, rows = pixels
    export.write(net, tmp_path)
    file = tmp_path / "model.keras"
    file.write_bytes(file.read_bytes()[:1000])
    with export.Check() as check:
        check.submit(tmp_path, rows)
        with pytest.raises(export.ExportMismatch, match="exit code 1"):
            check.result(training.predict(net, rows), export.tolerance(net))


def checking_process(pixels, folder, code):
    """The kind of process that a job whose code is given checked its exports in."""
    net, rows = pixels
    export.write(net, folder)
    np.save(folder / "rows.npy", rows)
    np.save(folder / "probabilities.npy", training.predict(net, rows))
    lines = (
        "import os, signal, sys, numpy as np",
        "from pathlib import Path",
        "from job import device, export",
        "folder = Path(sys.argv[1])",
        "with export.Check() as check:",
        *(f"    {line}" for line in code),
        "    check.submit(folder, np.load(folder / 'rows.npy'))",
        "    check.result(np.load(folder / 'probabilities.npy'), 1e-4)",
        "    print(check._process.name)",
    )
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), folder],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return run.stdout.strip() or run.stderr


@pytest.mark.slow
def test_the_fork_of_a_job_knows_nothing_of_its_training(pixels, tmp_path):
    code = (
        "check.start(device.import_libraries())",
        "import keras",
        "ours = type('Ours', (keras.layers.Layer,), {})",
        "keras.saving.register_keras_serializable('job')(ours)",
    )
    kind = "Spawn" if device.may_have_gpu() else "Fork"
    assert checking_process(pixels, tmp_path, code) == f"{kind}Process-1"


@pytest.mark.slow
@pytest.mark.skipif(device.may_have_gpu(), reason="a GPU's driver does not survive a fork")
def test_a_fork_that_hangs_is_followed_by_a_fresh_process(pixels, tmp_path):
    code = ("check.start(fork=True)", "os.kill(check._process.pid, signal.SIGSTOP)")
    assert checking_process(pixels, tmp_path, code) == "SpawnProcess-2"


def test_no_process_is_left_behind():
    def fail():
        with export.Check() as check:
            check.start(fork=False)
            processes.append(check._process)
            raise KeyboardInterrupt

    processes = []
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert processes[0].exitcode is not None


def test_the_archive_is_plain_keras(pixels, tmp_path):
    export.write(pixels[0], tmp_path)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        text = archive.read("config.json").decode()
    assert json.loads(text)["class_name"] == "Sequential"
    assert '"job' not in text
    assert "Lambda" not in text


@pytest.mark.slow
def test_the_saved_model_takes_any_number_of_raw_rows(pixels, tmp_path):
    net, rows = pixels
    export.write(net, tmp_path)
    np.save(tmp_path / "rows.npy", rows[:3])
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        "served = tf.saved_model.load(sys.argv[1] + '/saved_model').signatures['serving_default']\n"
        "rows = np.load(sys.argv[1] + '/rows.npy')\n"
        "for n in (1, 3):\n"
        "    print(served(rows=tf.constant(rows[:n]))['probabilities'].shape)\n"
        "assert 'job' not in sys.modules\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert run.stdout.split("\n")[:2] == ["(1, 4)", "(3, 4)"]
