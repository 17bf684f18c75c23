"""Accuracy on real tables beside scikit-learn's MLPClassifier: `python tests/bench/tables.py`.

The same rows on both sides of five stratified splits; the same layer, optimizer, learning rate,
batches and passes. Numbers are standardised on the training rows by both; L2 is off in both.
"""

import csv
import statistics
import tempfile
import warnings
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from job import data, device, training
from job.config import Config
from job.models import mlp

TABLES = {
    "breast cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "digits": datasets.load_digits,
}
SPLITS, HIDDEN, EPOCHS, BATCH, RATE = 5, 100, 200, 200, 0.001


def theirs(x, y, x_test, y_test, seed):
    network = MLPClassifier(
        (HIDDEN,), alpha=0.0, batch_size=min(BATCH, len(x)), learning_rate_init=RATE,
        max_iter=EPOCHS, n_iter_no_change=EPOCHS, random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is stopped after as many passes as ours
        return make_pipeline(StandardScaler(), network).fit(x, y).score(x_test, y_test)


def ours(folder, names, x, y, x_test, y_test, seed):
    for part, rows, labels in (("train", x, y), ("test", x_test, y_test)):
        with (folder / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*names, "label"])
            writer.writerows(
                [*row, f"class {label}"] for row, label in zip(rows, labels, strict=True)
            )
    config = Config.of(
        data=str(folder / "train.csv"), test_data=str(folder / "test.csv"), label="label",
        name="bench", hidden=(HIDDEN,), epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE,
        validation_split=0.0, seed=seed,
    )  # fmt: skip
    device.prepare("cpu")
    dataset = data.load(
        config.data.data, test_uri=config.data.test_data, validation_split=0.0, scratch=folder,
        reading=config.data,
    )  # fmt: skip
    network = mlp.build(config, dataset)
    training.fit(network, dataset, config)
    said = training.predict(network, dataset.test.x).argmax(axis=1)
    return float((said == dataset.test.y).mean())


def main():
    print("| table | rows | columns | this job | MLPClassifier |\n|---|---|---|---|---|")
    for name, load in TABLES.items():
        bunch = load()
        scores = {"ours": [], "theirs": []}
        for seed in range(SPLITS):
            x, x_test, y, y_test = train_test_split(
                bunch.data, bunch.target, test_size=0.25, stratify=bunch.target, random_state=seed
            )
            scores["theirs"].append(theirs(x, y, x_test, y_test, seed))
            with tempfile.TemporaryDirectory() as folder:
                split = (x, y, x_test, y_test)
                scores["ours"].append(ours(Path(folder), bunch.feature_names, *split, seed))
        told = " | ".join(
            f"{statistics.mean(each):.4f} ± {np.std(each):.4f}" for each in scores.values()
        )
        print(f"| {name} | {len(bunch.data):,} | {bunch.data.shape[1]} | {told} |", flush=True)


if __name__ == "__main__":
    main()
