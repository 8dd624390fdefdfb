"""Networks as ONNX files, and what onnxruntime computes with them."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from ..data.arrays import Rows
from ..errors import BenchmarkError, UsageError

OPSET = 20
LEAST_OPSET = 18  # of torch's exporter
PROVIDERS = ("CPUExecutionProvider",)
OUTPUT = "embedding"
BATCH = 64  # rows of a pass
EXTRA = "pip install 'embedding-distillation-benchmark[export]'"


def write_onnx(module: nn.Module, name: str, example: torch.Tensor, path: Path, opset: int = OPSET) -> None:
    """Write a module of one input and one output, whose first dimension may have any size.

    Args:
        name: of the input.
        example: an input of two rows or more.

    Raises:
        UsageError: the opset is older than what can be written.
        BenchmarkError: the exporter is not installed, or does not know what the module does.
    """
    if opset < LEAST_OPSET:
        raise UsageError(f"--opset {opset} is too old: {LEAST_OPSET} is the oldest that can be written")
    _imported("onnxscript")
    with _silenced():
        try:
            program = torch.onnx.export(
                module.eval(), (example,), dynamo=True, opset_version=opset, verbose=False,
                input_names=[name], output_names=[OUTPUT], dynamic_shapes=({0: torch.export.Dim("n")},),
            )  # fmt: skip
        except Exception as error:  # whatever it says to a module of the user's
            why = next(filter(None, str(error).splitlines()), type(error).__name__)
            raise BenchmarkError(f"the network cannot be written as ONNX: {why.strip()[:300]}") from error
        assert program is not None
        program.save(str(path))
    if isinstance(batch := Session(path).batch, int):
        fix = "write x.flatten(1) or x.shape[0] instead of len(x)"
        raise BenchmarkError(
            f"the network as ONNX takes {batch} rows at a time and no others: it fixes their number; {fix}"
        )


class Session:
    """An ONNX file, ready to compute."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Open a file. Raises a BenchmarkError where onnxruntime is not installed, or it is no such file."""
        runtime = _imported("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=list(PROVIDERS))
        except Exception as error:  # onnxruntime has error types of its own for each fault of a file
            raise BenchmarkError(f"{path} cannot be read by onnxruntime: {str(error).splitlines()[0]}") from None
        (self._input,) = self._session.get_inputs()

    @property
    def name(self) -> str:
        """The name of its input."""
        return str(self._input.name)

    @property
    def batch(self) -> int | str:
        """How many rows it takes: a name where that is any number."""
        return self._input.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a row of its input."""
        return tuple(self._input.shape[1:])

    @property
    def dim(self) -> int:
        return int(self._session.get_outputs()[0].shape[1])

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input.name: rows})[0]

    def embed(self, rows: Rows) -> np.ndarray:
        """Embeddings float32 [n, d] of all rows, in batches."""
        starts = range(0, len(rows), BATCH)
        return np.concatenate([self(np.array(rows[start : start + BATCH])) for start in starts])


def quantise(path: Path, out: Path, batches: Iterable[np.ndarray]) -> None:
    """Write the int8 form of an ONNX file: weights by channel, activations by what they are on some batches of its input."""
    quantization = _imported("onnxruntime.quantization")
    name = Session(path).name
    feeds = ({name: batch} for batch in batches)
    reader: Any = SimpleNamespace(get_next=lambda: next(feeds, None))  # as onnxruntime's calibration asks for them
    with _silenced():
        quantization.quantize_static(
            str(path), str(out), reader, per_channel=True, quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        )  # fmt: skip


def runtime_version() -> str:
    """The version of onnxruntime. Raises a BenchmarkError where it is not installed."""
    return str(_imported("onnxruntime").__version__)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise BenchmarkError(f"{name.partition('.')[0]} is not installed: {EXTRA}") from None


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Without the exporters' remarks on their own progress."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
