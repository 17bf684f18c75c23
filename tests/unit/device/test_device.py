import os
import subprocess
import sys

import pytest
import tensorflow as tf

from job import device
from job.device import gpu, proof
from job.errors import DeviceOutOfMemory, DeviceUnavailable, UsageError

HAS_GPU = bool(tf.config.list_physical_devices("GPU"))
without_gpu = pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")


def test_cpu_is_described_and_has_no_gpu():
    info = device.prepare("cpu")
    assert info.kind == "cpu"
    assert info.name
    assert info.cores >= 1
    assert tf.config.get_visible_devices("GPU") == []


def test_a_table_is_read_while_keras_is_imported():
    lines = (
        "import sys",
        "from job.device import proof",
        "sys.modules.update(dict.fromkeys(proof.UNUSED))",  # as during the import
        "import pyarrow as pa, pyarrow.compute as pc",
        "assert pc.equal(pa.array(['']), '').to_pylist() == [True]",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


@pytest.mark.parametrize("variable", proof.FORBIDDEN)
def test_a_variable_that_cuts_training_short_is_refused(variable, monkeypatch):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(UsageError, match=variable):
        device.prepare("cpu")


@without_gpu
def test_a_gpu_that_is_missing_is_refused_with_the_reason():
    with pytest.raises(DeviceUnavailable, match=r"Received: .*(driver|device|CUDA)") as caught:
        device.prepare("gpu")
    assert "--device cpu" in caught.value.hint


@without_gpu
def test_auto_falls_back_to_the_cpu_and_says_why(caplog):
    info = device.prepare("auto")
    assert info.kind == "cpu"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Training on the CPU" in caplog.text


@pytest.mark.slow
@without_gpu
def test_the_first_operation_may_come_before_the_gpu_is_given_up():
    code = (
        "from job import device\n"
        "from job.device import gpu\n"
        "import tensorflow as tf\n"
        "tf.constant(1) + 1\n"  # now TensorFlow refuses to change what is visible
        "gpu.forget()\n"
        "assert device.prepare('cpu').kind == 'cpu'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=os.environ)


@pytest.mark.parametrize(
    ("flags", "repeats"),
    [
        ("", True),
        ("--xla_gpu_cuda_data_dir=/cuda", True),
        (f"{gpu.REPEATABLE}=true", True),
        (gpu.REPEATABLE, True),
        (f"{gpu.REPEATABLE}=false", False),
    ],
)
def test_xla_is_asked_for_the_same_bits_unless_the_user_chose(flags, repeats, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", flags)
    gpu.ask_for_repeatable()
    asked = os.environ["XLA_FLAGS"]
    assert asked.startswith(flags)
    assert asked.count(gpu.REPEATABLE) == 1
    on_gpu = proof.DeviceInfo(kind="gpu", name="H100", cores=1)
    assert device.repeats(on_gpu, xla=True) is repeats
    assert not device.repeats(on_gpu, xla=False)
    assert device.repeats(proof.DeviceInfo(kind="cpu", name="x", cores=1), xla=False)


def test_a_gpu_that_was_not_asked_does_not_repeat(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert not device.repeats(proof.DeviceInfo(kind="gpu", name="H100", cores=1), xla=True)


@pytest.mark.slow
def test_xla_knows_the_flag_that_it_is_asked_by():
    code = (
        "from job.device import gpu\n"
        "gpu.ask_for_repeatable()\n"
        "import tensorflow as tf\n"
        "tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(1.0))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)  # else XLA aborts


@pytest.mark.parametrize(
    "error",
    [
        # Real exhaustion of the host's memory makes TensorFlow wait for ten seconds.
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nmore"),
        MemoryError("activations of 9 GiB"),
        MemoryError(),
        tf.errors.InternalError(None, None, "Failed copying: Dst tensor is not initialized."),
        tf.errors.InvalidArgumentError(
            None, None, "Graph execution error:\n\nCannot parse tensor from proto: dtype: DT_FLOAT"
        ),
        tf.errors.ResourceExhaustedError(
            None, None, "Graph execution error:\n\nDetected at node y\nOOM when allocating z"
        ),
    ],
)
def test_spent_memory_names_batch_and_data(error):
    with (
        pytest.raises(DeviceOutOfMemory, match=r"45 MiB.* 250 rows") as caught,
        device.foreign_errors(batch_size=250, data_bytes=47_040_000),
    ):
        raise error
    assert caught.value.details == {"batch_size": 250, "data_bytes": 47_040_000}
    assert "Graph execution error" not in caught.value.message


def test_spent_memory_names_the_size_of_images():
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
    with (
        pytest.raises(DeviceOutOfMemory, match="batches of 64 images of 256 × 128") as caught,
        device.foreign_errors(batch_size=64, data_bytes=1, image_size=(256, 128)),
    ):
        raise error
    assert caught.value.details["image_size"] == [256, 128]
    assert "--image-size" in caught.value.hint


def test_other_errors_pass():
    with (
        pytest.raises(tf.errors.InvalidArgumentError),
        device.foreign_errors(batch_size=1, data_bytes=1),
    ):
        tf.linalg.matmul(tf.zeros((2, 3)), tf.zeros((2, 3)))


def test_peak_memory_is_that_of_a_process_with_tensorflow():
    assert 100 < device.peak_memory_mb() < 100_000
    assert HAS_GPU or device.gpu_peak_memory_mb() is None


IMPORTED = """
import sys, threading, time
import pyarrow as pa
from job import device
importing = threading.Thread(target=device.import_libraries)
importing.start()
while "tensorflow" not in sys.modules:
    time.sleep(0.01)
assert pa.array([1, 2]).to_pylist() == [1, 2]
importing.join()
assert "keras" in sys.modules
assert not {"matplotlib", "sklearn"} & {*sys.modules}
import matplotlib
"""


@pytest.mark.slow
def test_data_is_read_while_keras_is_imported_without_what_is_unused():
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
