"""Networks: their names, trunks with an embedding head, and finished ones as files."""
