"""Finished networks outside of a comparison: embeddings of any images, networks as files."""
