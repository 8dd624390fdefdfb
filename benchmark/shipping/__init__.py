"""Finished networks outside of a comparison: heads on new vectors, features of images as files."""
