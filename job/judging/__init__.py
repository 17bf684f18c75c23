"""How good a model is: scored on a test split, and compared with the champion on the same rows."""
