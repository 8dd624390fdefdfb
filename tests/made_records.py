"""Records that no run gave: what tests of reports are made of."""

from __future__ import annotations

import io

from rich.console import Console

from benchmark.costs import Costs, NetworkCost, SearchCost
from benchmark.record import Evaluation, Geometry, Point, Record
from benchmark.spec import Spec
from benchmark.store import Store

KINDS = {  # of the test's own: the golden tables do not change with the catalogue
    "untrained": "none",
    "triplet": "none",
    "multi-similarity": "none",
    "attention": "individual",
    "fitnet": "individual",
    "rkd-d": "relational",
    "rkd-da": "relational",
    "pca": "posthoc",
}
TEACHER = Spec(
    dataset="glyphs", method="multi-similarity", backbone="conv4-128", dim=128, steps=1200, lr=1e-3, image=32
)


def record(method="triplet", recall=0.5, *, fingerprint="f00d", code="1a2b3c4", seconds=20.0, **fields):
    """A run whose metrics all follow from its Recall@1 by the main distance."""
    values = {"dataset": "glyphs", "backbone": "conv4-64", "dim": 16, "steps": 400, "image": 32, "lr": 1e-3}
    spec = Spec.model_validate({**values, "method": method, **fields})

    def metrics(one):
        return {
            "recall@1": one,
            "recall@2": (1 + one) / 2,
            "recall@10": (3 + one) / 4,
            "map@r": one / 2,
            "r_precision": one / 2 + 0.01,
        }

    both = {"l2": metrics(recall - 0.01), "cosine": metrics(recall)}
    if not spec.normalize:
        both = {"l2": both["cosine"], "cosine": both["l2"]}
    return Record(
        id=spec.id,
        spec=spec,
        evaluation=Evaluation(**both, queries=8642, dropped=2, gallery=8644),
        geometry=Geometry(
            effective_dimension=spec.dim * recall,
            spectral_decay=1 - recall,
            overlap=recall / 2 if spec.teacher else None,
            rank_correlation=recall / 3 if spec.teacher else None,
        ),
        loss=0.123456 if spec.steps else None,
        parameters=113088,
        seconds={"train": seconds, "evaluate": 1.5} if spec.steps else {"evaluate": 1.5},
        data=fingerprint,
        weights="",
        teacher=None,
        environment={"code": code, "torch": "2.14.1"},
    )


def student(method, recall, seed=0, **fields):
    return record(method, recall, seed=seed, teacher=TEACHER, **fields)


def teacher():
    return record(recall=0.885, seconds=300.0, **TEACHER.model_dump())


def golden_records():
    """Something of everything: several seeds and one, flags, both families, controls, generations, rows that differ in a setting."""
    yield teacher()
    for dim in (16, 32):
        yield record("untrained", 0.3 + dim / 1000, steps=0, dim=dim)
        for seed in range(6):
            off = (0, 0.01, 0.03, 0.02, 0.005, 0.015)[seed]
            yield record("triplet", 0.55 + dim / 1000 + off, dim=dim, seed=seed)
            yield student("rkd-da", 0.60 + dim / 1000 + 1.2 * off, seed, dim=dim, normalize=False)
            yield student("attention", 0.52 + dim / 500 + off**1.1, seed, dim=dim, seconds=25.0 + seed)
        yield student("pca", 0.61 + dim / 1000, steps=0, dim=dim, backbone="conv4-128")
    yield student("fitnet", 0.57)
    yield student("fitnet", 0.585, 1, code="1a2b3c4+dirty")
    yield student("rkd-d", 0.59, params={"weight": 1.0})
    yield student("rkd-d", 0.6125, params={"weight": 2.0})
    yield student("rkd-d", 0.61, params={"weight": 1.0}, steps=1600, code="5d6e7f8")
    yield student("forgotten", 0.4, fingerprint="beef")
    taught = TEACHER
    for generation in (1, 2):
        same = record("rkd-da", 0.88 + generation / 100, backbone="conv4-128", dim=128, normalize=False, teacher=taught)
        taught = same.spec
        yield same


def golden_costs():
    def network(backbone, dim, parameters, latency):
        return NetworkCost(
            backbone=backbone,
            dim=dim,
            hidden=0,
            head=True,
            image=32,
            precision="fp32",
            parameters=parameters,
            multiply_adds=13 * parameters,
            latency=latency,
            throughput=8 / latency,
        )

    networks = [network("conv4-64", dim, 113_088 + 65 * dim, 0.0008) for dim in (16, 32)]
    return Costs(
        environment={"code": "1a2b3c4", "device": "cpu AVX512", "threads": "2", "torch": "2.14.1"},
        batch=64,
        networks=(*networks, network("conv4-128", 128, 468_000, 0.0021)),
        searches=tuple(SearchCost(dim=dim, gallery=8644, seconds=1e-6 * dim) for dim in (16, 32, 128)),
    )


def golden_tuning():
    for lr in (1e-3, 1e-2):
        for method, weight in (("triplet", None), ("rkd-d", 1.0), ("rkd-d", 2.0)):
            params = {} if weight is None else {"weight": weight}
            run = record(method, 0.4 + 10 * lr, lr=lr, evaluation="validation", params=params)
            halfway = run.evaluation.model_copy(update={"cosine": {**run.evaluation.cosine, "recall@1": 0.3}})
            yield run.model_copy(update={"curve": (Point(step=200, evaluation=halfway),)})


def save(folder, records, kind="runs"):
    for one in records:
        Store(folder, kind).save(one)


def shown(table, width=80):
    """What a terminal shows of a table."""
    console = Console(width=width, highlight=False, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()
