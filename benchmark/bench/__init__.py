"""Measure things beside the plain way, in one run: ratios and their spread, never a test with a time limit."""
