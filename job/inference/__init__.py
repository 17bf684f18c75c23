"""Predictions and scores of published versions."""
