"""Exports of a trained model: files that Keras and TensorFlow Serving load."""

from job.export.export import Check, ExportMismatch, tolerance, write

__all__ = ["Check", "ExportMismatch", "tolerance", "write"]
