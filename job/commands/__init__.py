"""The commands beside `train`, and how their results look on standard output."""
