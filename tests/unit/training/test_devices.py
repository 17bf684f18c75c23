"""Several devices train as one does; virtual ones, in a process that has them from its start."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# TensorFlow traces for several devices slowly.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CASES = {
    # Neither a batch nor the rest, 500 % 53 rows, can be halved.
    "weighted, dropped out, ragged": {
        "dropout": 0.3, "batch_size": 53, "class_weights": True, "hidden": (16,), "epochs": 2,
    },
    "members, and a rest of fewer rows than devices": {
        "members": 2, "batch_size": 499, "hidden": (8,), "epochs": 1,
    },
    "normalised": {"model": "cnn", "hidden": (4,), "batch_size": 125, "epochs": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def results():
    """Case → what one device came to, and what two did."""
    program = [sys.executable, str(Path(__file__).resolve())]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_history_and_weights_are_those_of_one_device_up_to_rounding(results, case):
    alone, both = results[case]
    np.testing.assert_allclose(both["history"], alone["history"], atol=1e-4)
    for ours, theirs in zip(both["weights"], alone["weights"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert both["variables"] == alone["variables"], "what is published knows one device"
    assert both["efficiency"] > 0
    assert alone["efficiency"] is None


def test_a_run_that_was_stopped_goes_on_with_the_same_bits_on_as_many_devices(results):
    assert 0 < results["resumed"]["step"] < 8
    assert results["resumed"]["same"] == {"weights": True, "history": True}


def test_a_run_goes_on_with_another_number_of_devices(results):
    assert results["resumed"]["elsewhere"] == pytest.approx(results["resumed"]["history"], abs=1e-4)


def test_a_stop_in_validation_saves_the_metrics_of_all_hosts_as_they_were(results):
    assert results["stopped in validation"] == {"step": [8, 8], "same": True}


def _main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "support"))
    import tiny

    from job import device, models, training
    from job.config import Config
    from job.errors import Preempted
    from job.models import plan
    from job.training import blocks, fitting
    from job.training.devices import Alone

    fitting.MEASURED_SECONDS = 0.0
    device.import_libraries()
    import keras
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

    def fit(devices, options, **arguments):
        dataset = tiny.corners()
        config = Config.of(**({"model": "mlp", "xla": False} | options))
        config = plan.decide(config, dataset, gpu=False).config
        info = device.DeviceInfo(kind="cpu", name="CPU", cores=2, count=devices)
        plain = models.build(config, dataset) if devices > 1 else None
        with device.scope(device.strategy(info)):
            model = models.build(config, dataset)
        return training.fit(model, dataset, config, plain=plain, **arguments)

    def weights(fitted):
        return [np.asarray(weight.numpy()) for weight in fitted.network.trainable_weights]

    def history(fitted):
        return [[r.loss, r.accuracy, r.val_loss, r.val_accuracy] for r in fitted.history]

    def described(fitted):
        speedup = fitted.speedup
        return {
            "history": history(fitted),
            "weights": [weight.tolist() for weight in weights(fitted)],
            "variables": type(fitted.network.trainable_weights[0].value).__name__,
            "efficiency": speedup.efficiency if speedup else None,
        }

    results = {
        name: [described(fit(devices, options)) for devices in (1, 2)]
        for name, options in CASES.items()
    }
    blocks.BLOCK_SECONDS = 1e-9  # every block is one step
    options = {"hidden": (8,), "dropout": 0.3, "epochs": 1, "batch_size": 64}
    whole, asked, states = fit(2, options), [], []

    def stop():
        asked.append(1)
        return len(asked) > 5  # in the middle of the epoch

    with contextlib.suppress(Preempted):
        fit(2, options, should_stop=stop, save=states.append)
    again, elsewhere = (fit(devices, options, resume=states[-1]) for devices in (2, 1))
    results["resumed"] = {
        "step": states[-1].position.step,
        "same": {
            "weights": all(map(np.array_equal, weights(again), weights(whole))),
            "history": history(again) == history(whole),
        },
        "history": [r.loss for r in whole.history],
        "elsewhere": [r.loss for r in elsewhere.history],
    }

    class TwoHosts(Alone):
        hosts = 2

        def gather(self, value):
            return [value, value]

    class Validating(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            begun.append(1)

    begun, states = [], []
    with contextlib.suppress(Preempted):
        fit(
            2,
            options,
            callbacks=[Validating()],
            due=lambda: True,
            save=states.append,
            should_stop=lambda: bool(begun),
            peers=TwoHosts(),
        )
    before, last = states[-2:]
    results["stopped in validation"] = {
        "step": [state.position.step for state in (before, last)],
        "same": all(np.array_equal(last.arrays[name], before.arrays[name]) for name in last.arrays),
    }
    print(json.dumps(results))


if __name__ == "__main__":
    _main()
