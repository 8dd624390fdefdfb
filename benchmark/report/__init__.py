"""From records alone to tables; imports no torch, so a laptop regenerates them in a second."""

from .write import find, terminal_table, write_report

__all__ = ["find", "terminal_table", "write_report"]
