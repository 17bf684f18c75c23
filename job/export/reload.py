"""serve(...): reload exported files, as a user would, in a process without the trained model."""

import os
import signal
import sys
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import Any


def serve(requests: Connection, chatter: str, others: Iterable[Connection] = ()) -> None:
    """Answers one request; without one, it ends when the other process does.

    Args:
        requests: Gets the paths of the files, of rows in an archive of NumPy, and of the answers.
        chatter: The file that gets all output.
        others: Connections to close.

    Raises:
        RuntimeError: Keras knows a class that is not its own.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    for other in others:
        other.close()
    output = os.open(chatter, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    import keras

    if keras.saving.get_custom_objects():
        raise RuntimeError("Expected no class besides Keras's own.")
    try:
        request = requests.recv()
    except EOFError:
        return
    _reload(**request)


def _reload(
    *,
    rows: str,
    names: dict[str, str],
    keras: str,
    saved_model: str,
    from_keras: str,
    from_saved_model: str,
    classes: str,
) -> None:
    import numpy as np
    import tensorflow as tf
    from keras.saving import load_model

    columns: dict[str, Any] = {name: tf.constant(values) for name, values in np.load(rows).items()}
    given = {names.get(name, name): values for name, values in columns.items()}
    model = load_model(keras, safe_mode=True)
    np.save(from_keras, model.predict_on_batch(given if names else columns["rows"]))
    served = tf.saved_model.load(saved_model).signatures["serving_default"]
    answers = served(**columns)
    np.save(from_saved_model, answers["probabilities"].numpy())
    if "classes" in answers:
        labels = answers["classes"].numpy()
        np.save(classes, labels.astype("S") if labels.dtype == object else labels)
