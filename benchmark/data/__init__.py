"""Data: cards, where images come from, what is read of them, splits, caches, own vectors, batches."""
