"""Readers of arrays and images, one per format."""
