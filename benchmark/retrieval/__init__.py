"""Measures of embeddings: nearest neighbours and the metrics of a search, and how embeddings lie in their space."""
