"""Exports of a trained model: files that Keras and TensorFlow Serving load."""

from job.export.check import CHECKED_ROWS, Check, ExportMismatch, tolerance
from job.export.export import write

__all__ = ["CHECKED_ROWS", "Check", "ExportMismatch", "tolerance", "write"]
