"""Trackers of finished runs, one per file."""
