"""From records alone to tables, figures and a page; imports no torch, so a laptop regenerates them in seconds."""

from .comparison import BASELINE
from .contrast import contrast_folders, contrast_methods
from .readme import update
from .render import rich
from .write import Folder, find, overview_files, terminal_table, verify, write, write_files, write_report

__all__ = [
    "BASELINE",
    "Folder",
    "contrast_folders",
    "contrast_methods",
    "find",
    "overview_files",
    "rich",
    "terminal_table",
    "update",
    "verify",
    "write",
    "write_files",
    "write_report",
]
