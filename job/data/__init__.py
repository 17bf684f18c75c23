"""Labelled data, in memory or streamed: load(...) → Dataset; rows(...) to predict."""

from job.data.dataset import Classes, Dataset, Split
from job.data.load import digest, identity, load, load_test, load_test_table
from job.data.rows import images_of, rows, table_rows
from job.data.sources.imageset import unlabelled

__all__ = [
    "Classes",
    "Dataset",
    "Split",
    "digest",
    "identity",
    "images_of",
    "load",
    "load_test",
    "load_test_table",
    "rows",
    "table_rows",
    "unlabelled",
]
