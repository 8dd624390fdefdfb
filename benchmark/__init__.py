"""Distil image-embedding teachers into small students by published methods, and compare them fairly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import load_results, load_student, run, tune, write_report
    from .errors import BenchmarkError
    from .methods.base import Batch, Method
    from .retrieval.metrics import evaluate

__all__ = [
    "Batch",
    "BenchmarkError",
    "Method",
    "evaluate",
    "load_results",
    "load_student",
    "run",
    "tune",
    "write_report",
]
_MODULES = {
    "Batch": "methods.base",
    "BenchmarkError": "errors",
    "Method": "methods.base",
    "evaluate": "retrieval.metrics",
    "load_results": "api",
    "load_student": "api",
    "run": "api",
    "tune": "api",
    "write_report": "api",
}


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first asked for, so that the command line starts without torch."""
    import importlib

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
