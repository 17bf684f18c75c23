"""Labelled data in memory: load(...) → Dataset, one module per format."""
