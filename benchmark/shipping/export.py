"""A finished student as a folder that needs nothing of this suite: ONNX, weights, what to do to an image, a model card."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch

from ..costs.measure import Fastest, fastest
from ..data.arrays import Rows
from ..data.decode import rule
from ..data.splits import Split
from ..errors import BenchmarkError, UsageError
from ..files import write_atomically
from ..methods import entry
from ..networks.onnx import BATCH, OPSET, PROVIDERS, Session, quantise, write_onnx
from ..networks.weights import serialized
from ..report.write import Folder
from ..retrieval.metrics import evaluate
from .student import FinishedStudent, Projector

CHECKED = 256  # rows that both runtimes embed
CALIBRATION = 512  # training images that int8 is calibrated on
MOST_APART = 1e-4  # of float32 embeddings of typical length 1
MODEL, INT8, PROJECTOR, PREPROCESS = "model.onnx", "model-int8.onnx", "projector.onnx", "preprocess.json"
STATE, CARD, LICENCES = "model.safetensors", "README.md", "LICENSES"
WRITTEN = (MODEL, INT8, PROJECTOR, PREPROCESS, STATE, CARD, LICENCES)
MOST_OFF = 0.005  # of Recall@1: features of frozen trunks were measured as float16


@dataclass(frozen=True)
class Checks:
    """How an exported file does beside torch and the record."""

    apart: float  # largest difference of an embedding's number to torch's, in units of the typical length
    recall: float  # Recall@1 by onnxruntime, a fraction
    recorded: float  # that of the record
    latency: Fastest  # of one row by one thread of onnxruntime
    int8_recall: float | None = None
    int8_latency: Fastest | None = None

    @property
    def lines(self) -> list[str]:
        """All of it for people, a line a statement."""
        told = [
            f"Recall@1 {100 * self.recall:.2f} % by onnxruntime, {100 * self.recorded:.2f} % in its record",
            f"embeddings are at most {self.apart:.1e} from torch's, {milliseconds(self.latency)} a row by one thread",
        ]
        if self.int8_recall is not None and self.int8_latency is not None:
            slower = "; it is no faster than float32 here" * (self.int8_latency.seconds >= self.latency.seconds)
            told.append(
                f"int8: Recall@1 {100 * self.int8_recall:.2f} %, {milliseconds(self.int8_latency)} a row{slower}"
            )
        return told


def milliseconds(time: Fastest) -> str:
    """A time for people."""
    return f"{1000 * time.seconds:.1f} ms{' (the machine was busy)' * time.busy}"


def export(
    student: FinishedStudent, out: Path, *, int8: bool = False, most_loss: float = 1.0, opset: int = OPSET
) -> Checks:
    """Write the folder, whole or not at all, and check what is in it on the images of the data set.

    Args:
        int8: write a quantised network as well, calibrated on training images.
        most_loss: points of Recall@1 that it may lose.

    Raises:
        UsageError: there is something else in the folder, or the network reads vectors, which are not quantised.
        BenchmarkError: a check fails, or a package is not installed.
    """
    if int8 and student.on_vectors:
        raise UsageError("--int8 is for networks that read images: a head on vectors gains nothing from it")
    out = out.resolve()
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if (out.exists() and not out.is_dir()) or (there and not (_is_exported(out) and there <= {*WRITTEN})):
        raise UsageError(f"--out {out} holds something else than an exported student; choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        checks = _write(student, partial, int8=int8, most_loss=most_loss, opset=opset)
        if LICENCES in there:  # which its owner may have completed
            shutil.copy(out / LICENCES, partial / LICENCES)
        partial.chmod(0o755)
        shutil.rmtree(out, ignore_errors=True)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return checks


def _is_exported(folder: Path) -> bool:
    with contextlib.suppress(UsageError):
        return {"run", "onnx", "output"} <= exported_by(folder).keys()
    return False


def _write(student: FinishedStudent, out: Path, *, int8: bool, most_loss: float, opset: int) -> Checks:
    rows = student.rows(student.dataset.query)
    example = torch.from_numpy(np.array(rows[: max(2, min(4, len(rows)))]))
    name = "vectors" if student.on_vectors else "images"
    write_onnx(student.network, name, example, out / MODEL, opset)
    (out / STATE).write_bytes(serialized(student.network.network))
    checks = _checked(student, out / MODEL, rows)
    if student.projector is not None:
        _write_projector(student.projector, student, out / PROJECTOR, example, opset)
    if int8:
        checks = _quantised(student, out, rows, checks, most_loss)
    described = description(student, opset)
    write_atomically(out / PREPROCESS, json.dumps(described, indent=1) + "\n")
    write_atomically(out / CARD, model_card(student, checks, described))
    write_atomically(out / LICENCES, _licences(student))
    return checks


def _checked(student: FinishedStudent, path: Path, rows: Rows) -> Checks:
    """Hold onnxruntime against torch, and its Recall@1 against the record."""
    session, spec = Session(path), student.record.spec
    some = np.array(rows[:CHECKED])
    with torch.no_grad():
        expected = student.network(torch.from_numpy(some).to(student.context.device)).float().cpu().numpy()
    typical = float(np.sqrt(np.square(expected).sum(1).mean()))
    apart = float(np.abs(session.embed(some) - expected).max()) / typical
    if apart > MOST_APART:
        raise BenchmarkError(f"{spec.label}: onnxruntime's embeddings are up to {apart:.1e} from torch's; not exported")
    alone = functools.partial(Session(path, threads=1), some[:1])
    recorded, recall = student.record.metrics["recall@1"], recall_of(session, student, rows)
    if abs(recall - recorded) > max(MOST_OFF, 2 / student.record.evaluation.queries):
        raise BenchmarkError(
            f"{spec.label}: Recall@1 is {100 * recall:.2f} % by onnxruntime, and {100 * recorded:.2f} in its record; not exported"
        )
    return Checks(apart, recall, recorded, fastest(alone))


def recall_of(session: Session, student: FinishedStudent, rows: Rows) -> float:
    """Recall@1 of a file's embeddings by the main distance, as a fraction; of unlabelled data not a number."""
    data = student.dataset
    if not data.labelled:
        return float("nan")
    query = session.embed(rows)
    gallery = None if data.gallery is None else session.embed(student.rows(data.gallery))
    labels = None if data.gallery is None else data.gallery.labels
    evaluation = evaluate(query, data.query.labels, gallery, labels, (1,)).evaluation
    return (evaluation.cosine if student.record.spec.normalize else evaluation.l2)["recall@1"]


def _write_projector(
    projector: Projector, student: FinishedStudent, path: Path, example: torch.Tensor, opset: int
) -> None:
    with torch.no_grad():
        embedding = student.network(example.to(student.context.device)).cpu()
        expected = projector.cpu()(embedding).numpy()
    write_onnx(projector, "embedding_of_student", embedding, path, opset)
    apart = float(np.abs(Session(path)(embedding.numpy()) - expected).max() / max(np.abs(expected).max(), 1e-12))
    if apart > MOST_APART:
        raise BenchmarkError(f"the projector's points by onnxruntime are up to {apart:.1e} from torch's; not exported")


def _quantised(student: FinishedStudent, out: Path, rows: Rows, checks: Checks, most_loss: float) -> Checks:
    train: Split = student.dataset.train
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:CALIBRATION])
    images = student.rows(train)

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, len(chosen), BATCH):
            yield np.array(images[chosen[start : start + BATCH]])

    quantise(out / MODEL, out / INT8, batches())
    session = Session(out / INT8)
    recall = recall_of(session, student, rows)
    if 100 * (checks.recall - recall) > most_loss:
        raise BenchmarkError(
            f"int8 loses {100 * (checks.recall - recall):.2f} points of Recall@1 ({100 * checks.recall:.2f} to {100 * recall:.2f}), "
            f"and --most-loss is {most_loss:g}; not exported"
        )
    alone = functools.partial(Session(out / INT8, threads=1), np.array(rows[:1]))
    return Checks(checks.apart, checks.recall, checks.recorded, checks.latency, recall, fastest(alone))


def description(student: FinishedStudent, opset: int) -> dict[str, Any]:
    """All that a program must know to use the files: `preprocess.json`."""
    spec = student.record.spec
    image = {
        "decode": rule(spec.fit),
        "resize": [spec.resize, spec.resize],
        "fit": spec.fit,
        "keep_aspect_ratio": spec.fit != "squash",
        "interpolation": "bilinear, antialiased",
        "jpeg_draft": "decoded at no less than twice that size",
        "inside_the_model": f"crop of {spec.image} in the middle; mean and standard deviation",
    }
    files = {"model": MODEL} | ({"projector": PROJECTOR} if student.projector is not None else {})
    return {
        "files": files,
        "input": {
            "name": "vectors" if student.on_vectors else "images",
            "dtype": "float32" if student.on_vectors else "uint8",
            "shape": ["n", *student.input_shape],
            "layout": "rows of numbers" if student.on_vectors else "RGB, height x width x channel, 0 to 255",
        },
        "image": None if student.on_vectors else image,
        "output": {"name": "embedding", "dtype": "float32", "shape": ["n", spec.dim], "unit_length": spec.normalize},
        "distance": "cosine" if spec.normalize else "euclidean",
        "onnx": {"opset": opset, "providers": list(PROVIDERS)},
        "run": {"id": student.record.id, "weights": student.record.weights, "data": student.record.data},
    }


def model_card(student: FinishedStudent, checks: Checks, described: dict[str, Any]) -> str:
    """Markdown as Hugging Face's hub reads it."""
    record = student.record
    folder = Folder.read(student.context.store.folder)
    cell = next(cell for cell in folder.compared.cells if any(run.id == record.id for run in cell.records))
    text = resources.files(__package__).joinpath("card.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(text).render(
        record=record, spec=record.spec, cell=cell, checks=checks, described=described, card=student.dataset.card,
        entry=entry(record.spec.method), train=student.dataset.train, bytes=4 * record.spec.dim,
        parameters=student.parameters, milliseconds=milliseconds,
    )  # fmt: skip


def _licences(student: FinishedStudent) -> str:
    """List what is known of the rights in what the files were made from."""
    card, spec = student.dataset.card, student.record.spec
    network = spec.members[0] if entry(spec.method).is_posthoc else spec
    lines = [
        "What these files were made from, and under what terms, as far as it is known. Check it before you ship.",
        f"Training images ({card.title}): {card.licence or 'your own; fill in'}",
        f"Initial weights ({network.backbone}): {'as their publishers say' if network.pretrained else 'none, trained from scratch'}",
        "The suite that trained them (embedding-distillation-benchmark): MIT; its output carries no licence of its own.",
    ]
    return "\n".join(lines) + "\n"


def exported_by(path: Path) -> dict[str, Any]:
    """`preprocess.json` of an exported folder.

    Raises:
        UsageError: it is none.
    """
    try:
        return json.loads((path / PREPROCESS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no exported student ({error})") from None
