"""Distil image-embedding teachers into small students by every published method, and compare them fairly."""
