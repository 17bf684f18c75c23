"""The published model of a table: it takes raw columns and computes what was trained on."""

import dataclasses
import json
import subprocess
import sys

import churn
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from job import data, device, evaluation, export, training
from job.config import Config, DataOptions
from job.data.schema import MISSING_INTEGER, Column, Schema
from job.errors import DeviceOutOfMemory
from job.models import mlp, plan, tabular
from job.models.inputs import published, tensors, vectors
from job.models.inputs import standard as features

NAMES = ("n/1", "n-1", "n 1", "1", "n_1", "n_1_2", "with", "ü", "a\nb")
LAYERS = (
    *("dense", "probabilities", "mlp", "network", "network_", "numbers", "number_columns", "isnan"),
    *("where", "matrix", "concatenate", "lookup_0", "rows", "self", "class", "None"),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    device.prepare("cpu")
    path = churn.write_parquet(tmp_path_factory.mktemp("t") / "churn.parquet", churn.rows())
    reading = DataOptions(label="churned", exclude=("household",))
    return data.load(
        str(path), test_uri=None, validation_split=0.2, scratch=path.parent, reading=reading
    )


def standard(schema):
    """A network that gives back its features."""
    import keras

    rows = tensors(schema)
    return keras.Model(rows, features(schema, rows))


def test_raw_columns_give_the_features_that_are_trained_on(dataset):
    schema, raw = dataset.table.schema, dict(dataset.table.test)
    network = standard(schema)
    names = schema.inputs()
    said = published(network, schema).predict_on_batch({names[k]: v for k, v in raw.items()})
    np.testing.assert_array_equal(said, training.predict(network, dataset.test.x))
    assert said.shape[1] == schema.width
    assert {c.kind for c in schema.columns} == {"number", "boolean", "category"}
    assert np.isnan(dataset.test.x["numbers"]).any()
    assert (said[:, 2] == 1).any()  # values are missing
    fitted = training.predict(network, dataset.train.x)[dataset.fit_rows]
    np.testing.assert_allclose(fitted[:, 1].mean(), 0, atol=1e-5)  # nothing is missing there
    np.testing.assert_allclose(fitted[:, 1].std(), 1, atol=1e-5)


def test_a_table_lies_on_the_device_in_its_smallest_form(dataset):
    numbers, codes = dataset.train.x["numbers"], dataset.train.x["codes"]
    assert (numbers.dtype, codes.dtype) == (np.float32, np.int32)
    schema = dataset.table.schema
    assert numbers.shape == (len(dataset.train), len(schema.numbers))
    assert codes.shape == (len(dataset.train), len(schema.lookups))
    assert dataset.nbytes == 4 * len(dataset.train) * len(schema.columns)


def test_values_that_training_never_saw_fall_into_their_slots():
    schema = Schema(
        columns=(
            Column(name="n", kind="number", mean=10.0, variance=4.0),
            Column(name="m", kind="number", mean=0.0, variance=1.0, has_missing=True),
            Column(name="c", kind="category", categories=("[UNK]", "a\nb"), has_missing=True),
            Column(name="i", kind="category", categories=(-1, 7)),
            Column(name="b", kind="boolean", categories=(0, 1), has_missing=True),
        ),
        label="y",
    )
    rows = {
        "n": np.array([12, np.nan, 0], np.float32),
        "m": np.array([np.nan, 3, 0], np.float32),
        "c": np.array(["", "a\nb", "?"], object),
        "i": np.array([MISSING_INTEGER, -1, 8]),
        "b": np.array([1, MISSING_INTEGER, 5]),
    }
    said = published(standard(schema), schema).predict_on_batch(rows)
    assert said.tolist() == [
        [1, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0],
        [0, 3, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1],
        [-5, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0],
    ]


@pytest.mark.slow
def test_both_files_take_raw_columns_in_a_fresh_process(dataset, tmp_path):
    config = Config.of(data="churn", name="churn", hidden=(16,), epochs=25, batch_size=25)
    net = mlp.build(config, dataset)
    training.fit(net, dataset, config)
    probabilities = training.predict(net, dataset.test.x)
    table = dataset.table
    with export.Check() as check:
        export.write(net, tmp_path, table.schema)
        check.submit(tmp_path, table.test, table.schema)
        check.result(probabilities, export.tolerance(net))
    code = (
        "import json, sys, keras, numpy as np, tensorflow as tf\n"
        "m = keras.models.load_model(sys.argv[1] + '/model.keras', safe_mode=True)\n"
        "row = {'monthly fee': [61.5], 'tenure_months': [3.0], 'complaints': [3],"
        " 'paperless': [1], 'city': ['Osaka']}\n"
        "k = m.predict({n: np.array(v, object if n == 'city' else None) for n, v in row.items()},"
        " verbose=0)\n"
        "s = tf.saved_model.load(sys.argv[1] + '/saved_model').signatures['serving_default']\n"
        "t = s(monthly_fee=tf.constant([61.5]), tenure_months=tf.constant([3.0]),"
        " complaints=tf.constant([3], tf.int64), paperless=tf.constant([1], tf.int64),"
        " city=tf.constant(['Osaka']))['probabilities']\n"
        "print(json.dumps([type(m).__name__, k.tolist(), t.numpy().tolist()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    kind, keras_says, tensorflow_says = json.loads(done.stdout.splitlines()[-1])
    assert kind == "Functional"
    np.testing.assert_allclose(keras_says, tensorflow_says, atol=1e-6)
    assert keras_says[0][1] > 0.8  # much to pay, many complaints
    metrics = evaluation.evaluate(probabilities, dataset.test.y, dataset.classes)
    assert metrics.accuracy > 0.85


def test_every_column_has_an_input_of_its_own():
    schema = Schema(columns=tuple(Column(name=name, kind="number") for name in NAMES), label="y")
    for names in (schema.inputs(), schema.identifiers()):
        assert len(set(names.values())) == len(NAMES)
        assert names["n_1"] == "n_1"  # no other column gets the name of this one
        assert names["n_1_2"] == "n_1_2"
    model = published(standard(schema), schema)
    assert {each.name for each in model.inputs} == set(schema.inputs().values())


@pytest.mark.slow
def test_columns_may_have_the_names_of_layers(tmp_path):
    rng = np.random.default_rng(0)
    names = [*NAMES, *LAYERS]
    table = pa.table(
        {name: rng.normal(size=200) for name in names}
        | {"string_lookup": ["p", "q"] * 100, "y": rng.integers(0, 2, 200)}
    )
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    dataset = data.load(
        str(tmp_path / "t.parquet"), test_uri=None, validation_split=0.2, scratch=tmp_path,
        reading=DataOptions(label="y"),
    )  # fmt: skip
    net = mlp.build(Config.of(data="t", name="t", hidden=(8,)), dataset)
    schema = dataset.table.schema
    with export.Check() as check:
        export.write(net, tmp_path, schema)
        check.submit(tmp_path, dataset.table.test, schema)
        check.result(training.predict(net, dataset.test.x), export.tolerance(net))


def test_vectors_and_heads_that_memory_does_not_hold_are_an_error_before_training(dataset):
    import keras

    with pytest.raises(DeviceOutOfMemory, match="Received: 1,616,000,000,000 weights"):
        vectors(keras.Input((1,), dtype="int32"), 10**9, 101, 16)
    options = Config.of(model="tabular", members=2, hidden=(8,))
    settled = plan.decide(options, dataset, gpu=False).config
    with pytest.raises(DeviceOutOfMemory, match="--members, --hidden: expected"):
        tabular.build(settled, dataclasses.replace(dataset, classes=range(10**9)))


@pytest.mark.slow
def test_class_weights_weigh_the_rare_class_up(dataset):
    rare = dataclasses.replace(
        dataset,
        fit_rows=np.array(
            [*dataset.fit_rows[dataset.train.y[dataset.fit_rows] == 0],
             *dataset.fit_rows[dataset.train.y[dataset.fit_rows] == 1][:12]]
        ),
    )  # fmt: skip
    found = {}
    for weighted in (False, True):
        device.prepare("cpu")
        config = Config.of(
            data="c", name="c", hidden=(8,), epochs=6, batch_size=25, class_weights=weighted
        )
        net = mlp.build(config, rare)
        training.fit(net, rare, config)
        said = training.predict(net, rare.test.x).argmax(axis=1)
        found[weighted] = int((said == 1).sum())
    assert found[True] > found[False]
