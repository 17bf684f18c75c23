"""Convolutional networks as a real job: published, reproduced, killed, and what bad input gets."""

import json
import signal

import kill
import numpy as np
import pytest
import tiny
from kill import Kill, expect_promises
from PIL import Image
from program import mlp_job

OPTIONS = (
    "--model=mlp cnn", "--epochs=5", "--hidden=8 8", "--batch-size=50", "--dropout=0.2",
    "--augment=shift rotate zoom", "--device=cpu", "--checkpoint-every=0.1", "--margin=0.5",
)  # fmt: skip

pytestmark = pytest.mark.timeout(600)  # several processes, one after the other


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders of images in colour."""
    root = tmp_path_factory.mktemp("images")
    split = tiny.split(300, 0)
    for i, (pixels, label) in enumerate(zip(split.x, split.y, strict=True)):
        (root / "data" / tiny.CLASSES[label]).mkdir(parents=True, exist_ok=True)
        colours = np.stack([pixels, pixels // 2, pixels], axis=2)
        Image.fromarray(colours).save(root / "data" / tiny.CLASSES[label] / f"{i}.png")
    return root


def train(folder, *options):
    return mlp_job(
        "train", f"--data={folder / 'data'}", f"--store={folder / 'store'}", "--device=cpu",
        "--log-format=json", *options,
    )  # fmt: skip


def test_from_files_to_predictions_and_the_same_bits_again(folder):
    done = train(folder, "--name=c", "--model=cnn", "--epochs=4", "--hidden=8 8")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    [planned] = [each for each in events if each["event.name"] == "network.planned"]
    assert planned["chosen"]["augment"] == ["shift", "rotate", "zoom"]
    where = ("--name=c", f"--store={folder / 'store'}")
    output = folder / "said.csv"
    said = mlp_job("predict", "champion", folder / "data" / "ne", *where, f"--output={output}")
    assert said.returncode == 0, said.stderr
    assert len(output.read_text().splitlines()) > 50
    again = mlp_job("reproduce", "champion", *where, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["same_bits"] is True


def test_auto_names_the_network_that_is_worth_a_try(folder):
    done = train(folder, "--name=auto", "--epochs=1")
    assert done.returncode in (0, 3), done.stderr
    assert "a convolutional network may do better: mlp-job train --model=cnn --data=" in done.stdout
    [report] = (folder / "store" / "auto" / "versions" / "1").glob("*/report.html")
    assert "mlp-job train --model=cnn" in report.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--augment=turn",), "some of shift, rotate, zoom, flip and elastic"),
        (("--model=cnn mlp",), "'mlp cnn'"),
        (("--model=cnn", "--image-size=3 9"), "expected images of at least 4"),
    ],
)
def test_bad_options_end_with_2(options, words, folder):
    done = train(folder, "--name=bad", *options)
    assert done.returncode == 2
    assert words in " ".join((done.stderr + done.stdout).replace("│", " ").split())


def test_a_table_is_not_augmented(folder):
    table = folder / "table.csv"
    table.write_text("a,y\n" + "".join(f"{i % 7},{'no' if i % 2 else 'yes'}\n" for i in range(60)))
    done = train(folder, "--name=t", f"--data={table}", "--label=y", "--augment=shift")
    assert done.returncode == 2
    assert "shift, rotate, zoom, flip" in done.stdout


@pytest.fixture(scope="module")
def images(s3, tmp_path_factory):
    with kill.bench(s3, "images", tmp_path_factory.mktemp("kills"), options=OPTIONS) as made:
        yield made


def test_killed_in_training_it_ends_with_the_same_bits(images):
    kills = [
        Kill(signal=signal.SIGKILL, event="epoch.ended", count=1, delay=0.15),
        Kill(signal=signal.SIGTERM, event="epoch.ended", count=2, delay=0.05),
    ]
    for each in kills:
        ended = images.train("killed", each)
        assert ended.code in (143, -signal.SIGKILL), ended
    ended = images.train("killed")
    assert ended.code == 0, ended
    expect_promises(images, "killed")
