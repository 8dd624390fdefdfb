"""From a group of specs to records: what networks read, the training loop, evaluation, and where groups run."""
