"""The third promise, proved on this machine: killed and resumed, a run ends with the same bits.

The real command trains twice into a temporary store: once undisturbed, once killed by SIGKILL,
resumed, ended by SIGTERM and resumed again.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from job import device
from job.config import GROUP_OF, MODEL_OPTIONS, Config
from job.config.options import arguments
from job.device.gpu import REPEATABLE
from job.errors import DataError, DeviceUnavailable, JobError

LIKE_THIS = dict.fromkeys(
    (
        *(name for name, group in GROUP_OF.items() if group == "data"),
        "device",
        "devices",
        *MODEL_OPTIONS,
    )
)
"""Options that the proof hands on."""
DROPOUT = 0.2
"""Where the options have none: the random state is to be proved, too."""
RUN = "proof"


def prove(config: Config, folder: Path) -> str:
    """Trains undisturbed and disturbed, and compares weights, history and predictions.

    Args:
        config: The data, the device and all that makes the model are honoured.
        folder: Is made; gets two stores, and what killed runs leave behind.

    Returns:
        What was proved.

    Raises:
        DeviceUnavailable: The bits differ.
        DataError: The data is so small that a run cannot be killed in time.
        JobError: A run ended otherwise.
    """
    folder.mkdir()
    _train(config, folder / "whole")
    for end in (signal.SIGKILL, signal.SIGTERM, None):
        _train(config, folder / "killed", end)
    whole, resumed = _bits(folder / "whole"), _bits(folder / "killed")
    differing = [name for name in whole if whole[name] != resumed[name]]
    if differing:
        raise DeviceUnavailable(
            "Expected a killed and resumed run to end with the same bits. "
            f"Received: other {', '.join(differing)}.",
            hint=f"Runs are resumed here, not to the bit. {_remedy(config)}",
        )
    return (
        "Killed, resumed, stopped by SIGTERM and resumed again, a run of these options has the "
        f"same bits as an undisturbed one: {', '.join(whole)}."
    )


def _remedy(config: Config) -> str:
    if config.training.device == "cpu" or not device.may_have_gpu():
        return "Try --no-xla."
    return f"On a GPU, use XLA with XLA_FLAGS={REPEATABLE}=true; convolutions are slower with it."


def _train(config: Config, store: Path, end: signal.Signals | None = None) -> None:
    """One process; it is sent a signal after its first checkpoint."""
    sent = False
    events: list[dict[str, object]] = []
    with _process(config, store) as process:
        for line in process.stdout or ():
            events.append(json.loads(line))
            if end and not sent and events[-1]["event.name"] == "checkpoint.saved":
                sent = True
                process.send_signal(end)
        code = process.wait()
    expected = {None: 0, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[end]
    if code == 0 and end:
        raise DataError(
            "Expected a run that takes long enough to be killed. "
            f"Received: {config.training.epochs} epochs had ended before.",
            hint="Prove it with more --epochs or on more data, such as --data mnist.",
        )
    if code != expected:
        told = events[-1] if events else {}
        kinds = [kind for kind in JobError.__subclasses__() if kind.exit_code == code]
        message = str(told.get("message", f"Received: exit code {code}."))
        if not kinds:
            raise RuntimeError(message)
        raise kinds[0](message, hint=str(told.get("hint", "")))


@contextlib.contextmanager
def _process(config: Config, store: Path) -> Iterator["subprocess.Popen[bytes]"]:
    like_this = config.replaced(dropout=config.model.dropout or DROPOUT)
    options = [
        *arguments(like_this, LIKE_THIS),
        f"--store={store}",
        f"--name={config.model_name}",
        f"--run-id={RUN}",
        "--checkpoint-every=0.2",
        "--log-format=json",
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLP_JOB_")}
    environment["TMPDIR"] = str(store.parent)  # a killed process leaves its scratch behind
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "job", "train", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _bits(store: Path) -> dict[str, object]:
    """What the run of a store published, as values that can be compared."""
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    (folder,) = (path.parent for path in store.glob("*/versions/1/*/model.keras"))
    return {
        "weights": _weights(folder / "model.keras"),
        "history": csv.read_csv(folder / "history.csv").drop(["seconds"]).to_pydict(),
        "predictions": pq.read_table(folder / "predictions.parquet").to_pydict(),
    }


def _weights(path: Path) -> dict[str, bytes]:
    """The arrays of a .keras file, by their names in it."""
    import h5py

    arrays: dict[str, bytes] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()].tobytes()

    with zipfile.ZipFile(path) as archive:
        h5py.File(io.BytesIO(archive.read("model.weights.h5"))).visititems(take)
    return arrays
