"""Labelled data in memory: load(...) → Dataset, one module per format; rows(...) to predict."""

from job.data.dataset import Classes, Dataset, Split
from job.data.load import digest, load, load_test
from job.data.rows import rows

__all__ = ["Classes", "Dataset", "Split", "digest", "load", "load_test", "rows"]
