"""Content-Type of an object, by the suffix of its key."""

from pathlib import PurePosixPath

TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".gz": "application/gzip",
    ".h5": "application/x-hdf5",
    ".html": "text/html; charset=utf-8",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/jsonl; charset=utf-8",
    ".keras": "application/zip",
    ".md": "text/markdown; charset=utf-8",
    ".npz": "application/zip",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".yaml": "application/yaml",
}
"""JSON has no charset parameter: it is UTF-8 by definition (RFC 8259)."""


def content_type(key: str) -> str:
    """What a browser is told about an object; bytes where the suffix says nothing."""
    return TYPES.get(PurePosixPath(key).suffix.lower(), "application/octet-stream")
