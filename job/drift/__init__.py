"""Drift: what changed in the data since an earlier version."""
