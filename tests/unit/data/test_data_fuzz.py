"""No input may end in anything but a clear error, soon and in little memory."""

import gzip
import io
import resource
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from data_files import arrays, idx_bytes, load, npy_bytes, npy_header, write_idx, write_npz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from job import data
from job.errors import DataError

MEMORY = 512 << 20
FUZZ = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
BYTES = st.binary(max_size=400)


@pytest.fixture(autouse=True)
def little_memory():
    """The process may grow by half a gigabyte, no more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as path:
        write_idx(Path(path) / "idx", arrays())
        yield Path(path)


@st.composite
def mutated(draw, valid):
    """A valid file, a few of whose bytes were changed, removed, doubled or cut off."""
    body = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(body[: draw(st.one_of(st.none(), st.integers(0, len(body))))])


def zipped(save, **parts):
    buffer = io.BytesIO()
    save(buffer, **parts)
    return buffer.getvalue()


def may_be_refused(read):
    try:
        return read()
    except DataError as error:
        refusal = error
    assert "Received: " in refusal.message
    assert len(refusal.message) < 1500
    return None


IMAGES = idx_bytes(arrays()["x_train"])
FLOATS = idx_bytes(np.linspace(0, 1, 240).reshape(40, 6))
PACKED = [gzip.compress(IMAGES, mtime=0), gzip.compress(FLOATS, mtime=0)]


@FUZZ
@given(body=st.one_of(BYTES, mutated([IMAGES, FLOATS, *PACKED])))
def test_idx(folder, body):
    (folder / "idx" / "train-images-idx3-ubyte").write_bytes(body)
    dataset = may_be_refused(lambda: load(folder / "idx"))
    assert dataset is None or len(dataset.train) == 40


ARCHIVES = [zipped(np.savez, **arrays()), zipped(np.savez_compressed, **arrays())]


@FUZZ
@given(body=st.one_of(BYTES, mutated(ARCHIVES)))
def test_npz(folder, body):
    (folder / "a.npz").write_bytes(body)
    may_be_refused(lambda: load(folder / "a.npz"))


HEADERS = st.one_of(
    st.text(alphabet="{}()[]'\":, \\\n0123456789-+.LdescrfotanhpTueFl<>|=ifubSUOVMm", max_size=200),
    mutated([b"{'descr': '<f4', 'fortran_order': False, 'shape': (40, 6), }"]).map(
        lambda body: body.decode("latin1")
    ),
    st.builds(
        "{{'descr': {!r}, 'fortran_order': {}, 'shape': {!r}, }}".format,
        st.one_of(st.sampled_from(["<f4", "|O", "<U3", "|V0", "<M8[s]"]), st.text(max_size=5)),
        st.booleans(),
        st.lists(st.integers(-(2**70), 2**70), max_size=4).map(tuple),
    ),
)


@FUZZ
@given(text=HEADERS, values=st.sampled_from([0, 240, 960]), version=st.sampled_from([1, 2, 3]))
@pytest.mark.parametrize("key", ["x_train", "y_train"])
def test_npy_headers(folder, key, text, values, version):
    body = npy_header(text.encode("latin1", "replace").decode("latin1"), (version, 0))
    write_npz(folder / "h.npz", **(arrays() | {key: body + bytes(values)}))
    may_be_refused(lambda: load(folder / "h.npz"))


LABELS = [npy_bytes(np.array(names)[np.arange(40) % 2]) for names in (["a", "ß"], [b"a", b"b"])]


@FUZZ
@given(body=mutated(LABELS))
def test_labels(folder, body):
    write_npz(folder / "l.npz", **(arrays() | {"y_train": body}))
    may_be_refused(lambda: load(folder / "l.npz"))


def parquet_bytes():
    buffer = io.BytesIO()
    parquet.write_table(pa.table({key: [1.0, 2.5] for key in "abc"}), buffer)
    return buffer.getvalue()


TABLES = {
    "a.csv": b"a,b,c\n1,2,3\n4,5.5,6\n",
    "a.jsonl": b'{"a": 1, "b": 2, "c": 3}\n{"a": 1, "b": 2.5, "c": 3}\n',
    "a.parquet": parquet_bytes(),
    "a.npy": npy_bytes(np.ones((4, 3), np.float32)),
}


# pyarrow decodes a row with another number of fields before it asks what to do with it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@FUZZ
@given(content=st.data())
@pytest.mark.parametrize("name", TABLES)
def test_rows(folder, name, content):
    valid = [TABLES[name], gzip.compress(TABLES[name], mtime=0)]
    (folder / name).write_bytes(content.draw(st.one_of(BYTES, mutated(valid))))
    rows = may_be_refused(
        lambda: list(
            data.rows(
                str(folder / name),
                shape=(3,),
                dtype="float32",
                scratch=folder,
                block_rows=9,
            )
        )
    )
    assert rows is None or all(np.isfinite(block).all() for block in rows)
