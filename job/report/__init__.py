"""The report of a version: page, plots, model card and data files."""
