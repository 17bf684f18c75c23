"""A small job on images of 8×8, its data and a store with one version of it."""

import numpy as np
import pytest
import tiny
from program import QUICK, mlp_job


@pytest.fixture(scope="session")
def corners(tmp_path_factory):
    """A small .npz of the user's own: string labels, 8×8 uint8 images."""
    path = tmp_path_factory.mktemp("data") / "corners.npz"
    train, test = tiny.split(600, 0), tiny.split(200, 1)
    names = np.array(tiny.CLASSES)
    np.savez(path, x_train=train.x, y_train=names[train.y], x_test=test.x, y_test=names[test.y])
    return path


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory, corners):
    """A folder with one published version; for commands that only read."""
    store = tmp_path_factory.mktemp("published") / "store"
    done = mlp_job("train", *QUICK, "--data", corners, "--name", "corners", "--store", store)
    assert done.returncode == 0, done.stdout + done.stderr
    return store
