"""Metrics of a classifier's probabilities on labelled rows."""

from job.evaluation.metrics import Metrics, evaluate

__all__ = ["Metrics", "evaluate"]
