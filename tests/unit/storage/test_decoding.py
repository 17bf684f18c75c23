"""JSON documents are read from many threads."""

import subprocess
import sys

THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import make_dataclass
from job.storage.documents import decode

sys.setswitchinterval(1e-5)
names = [f"f{i}" for i in range(20)]
data = b"{" + b",".join(b'"%s": {"a": {"b": 1}}' % name.encode() for name in names) + b"}"
with ThreadPoolExecutor(8) as pool:
    for _ in range(60):
        fields = []
        for name in names:
            inner = make_dataclass("Inner", [("b", int)], frozen=True)
            fields.append((name, make_dataclass("Outer", [("a", inner)], frozen=True)))
        kind = make_dataclass("Document", fields, frozen=True)
        read = [*pool.map(lambda _: decode(data, kind, uri="x"), range(8))]
        assert all(each == read[0] for each in read)
"""


def test_many_threads_read_a_kind_for_the_first_time() -> None:
    """In a process of its own: msgspec crashes where two threads prepare one dataclass."""
    done = subprocess.run(
        [sys.executable, "-c", THREADS], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
