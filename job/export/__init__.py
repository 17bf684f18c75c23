"""Exports of a trained model: files that Keras and TensorFlow Serving load."""

from job.export.export import CHECKED_ROWS, Check, ExportMismatch, tolerance, write

__all__ = ["CHECKED_ROWS", "Check", "ExportMismatch", "tolerance", "write"]
