"""The gate: decides whether a version may become the champion."""
