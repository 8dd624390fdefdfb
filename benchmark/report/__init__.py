"""From records alone to tables, figures and a page; imports no torch, so a laptop regenerates them in seconds."""

from .cells import BASELINE
from .write import Folder, find, terminal_table, write, write_report

__all__ = ["BASELINE", "Folder", "find", "terminal_table", "write", "write_report"]
