"""What a report says beyond its numbers: the answer, marks, flags, the paper, costs, commands, comparisons of folders, checks."""

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result, assert_one_line, fields_of
from made_records import KINDS, TEACHER, golden_costs, golden_records, record, save, shown, student, teacher
from scipy.special import stdtrit

from benchmark.costs import read_costs, write_costs
from benchmark.errors import BenchmarkError, UsageError
from benchmark.protocol.experiment import gather, resolve
from benchmark.protocol.request import Request
from benchmark.record import ByClass, Declared, Point, Record
from benchmark.report.comparison import Comparison
from benchmark.report.contrast import contrast_folders, contrast_methods
from benchmark.report.cost_table import price
from benchmark.report.document import document
from benchmark.report.families import Families
from benchmark.report.page import commands
from benchmark.report.paper import of_protocol, published
from benchmark.report.render import BUSY, FLAGS, LEGEND, Heading, Line, Table, Value, rich
from benchmark.report.style import DRAWN_WITH
from benchmark.report.tables import runs_csv
from benchmark.report.verdict import QUESTIONS, answer, verdict_of, verdict_table
from benchmark.report.write import (
    Folder,
    differences,
    overview_files,
    result_folders,
    terminal_table,
    update_readme,
    write_files,
)
from benchmark.spec import Spec
from benchmark.store import Store


def seeds(make, scores, **fields):
    return [make(recall=score, seed=seed, **fields) for seed, score in enumerate(scores)]


def compared(*records):
    return Comparison([teacher(), *records], KINDS)


def two_families(relational, individual, dims=(16,)):
    runs = [
        student(method, score + dim / 1000, seed, dim=dim)
        for dim in dims
        for method, scores in (("rkd-d", relational), ("fitnet", individual))
        for seed, score in enumerate(scores)
    ]
    return Families(compared(*runs))


def many(gaps, seeds=6, methods=4, spread=0.01, taught=lambda seed: TEACHER, heads=(0,), **facts):
    """Families of methods of a paper each, whose means are spread; by dimension, relational minus individual at each head."""
    names = {kind: [f"{kind[0]}-{number}" for number in range(methods)] for kind in ("relational", "individual")}
    runs = [
        record(
            name,
            0.5 + spread * number / methods + (kind == "relational") * gap + wobble(seed, number + (kind == "relational")) / 1000,
            seed=seed, dim=dim, hidden=head, teacher=taught(seed),
        )
        for dim, gap_of_head in gaps.items()
        for head, gap in zip(heads, gap_of_head if len(heads) > 1 else (gap_of_head,), strict=True)
        for kind, own in names.items()
        for number, name in enumerate(own)
        for seed in range(seeds)
    ]  # fmt: skip
    kinds = {name: kind for kind, own in names.items() for name in own}
    return Families(Comparison([teacher(), *runs], {**KINDS, **kinds}, **facts))


def wobble(seed, number):
    return (seed * 7 + number * 3) % 5


def said(families):
    return " ".join(answer(families, verdict_of(families)))


def test_these_methods_by_hand():
    """RKD - IKD by seed: 2, 3, 4 points; t of 2 degrees of freedom x 1 / sqrt 3 = 2.48. Of one paper each, it is of no kind."""
    families = two_families([0.62, 0.63, 0.64], [0.60, 0.60, 0.60])
    assert said(families).startswith(
        "Not resolved, since methods of 1 and 1 papers are too few to generalise from: relational minus individual is"
        " +3.00 ± 2.48 points of Recall@1 and +1.50 ± 1.24 of MAP@R, for these 1 and 1 methods alone (at d = 16, linear head)."
    )
    assert "Intervals are 95 %, over 3 seeds, one teacher." in said(families) and "rkd-d minus fitnet is +3.00" in said(
        families
    )


def test_the_kinds_by_hand():
    """By method, four of a paper each: points 1, 2, 3, 4 and 0, 1, 1, 2; the seeds are all alike but for a common shift."""
    kinds = {
        **{f"r-{number}": "relational" for number in range(4)},
        **{f"i-{number}": "individual" for number in range(4)},
    }
    points = dict(zip(kinds, (1, 2, 3, 4, 0, 1, 1, 2), strict=True))
    runs = [student(name, 0.5 + (own + seed) / 100, seed) for name, own in points.items() for seed in range(3)]
    gap = verdict_of(Families(Comparison([teacher(), *runs], kinds))).whole
    assert gap.these == (3, pytest.approx(1.5), None, pytest.approx(0, abs=1e-9))
    variances = (5 / 3) / 4, (2 / 3) / 4
    df = sum(variances) ** 2 / sum(variance**2 / 3 for variance in variances)
    assert gap.kinds.mean == pytest.approx(1.5)
    assert gap.kinds.half == pytest.approx(stdtrit(df, 0.975) * sum(variances) ** 0.5)
    assert gap.names == ("r-3", "i-3") and gap.best.mean == pytest.approx(2)


def test_an_answer_that_is_none():
    assert said(two_families([0.62], [0.60])).startswith("Not resolved with one seed, one teacher: ")
    assert said(Families(compared(student("rkd-d", 0.6)))).startswith("No answer yet: this folder has no individual")
    assert said(Families(compared())).startswith("No answer yet")
    wide = [student("rkd-d", 0.6, seed, hidden=512) for seed in range(3)]
    narrow = [student("fitnet", 0.5, seed) for seed in range(3)]
    assert said(Families(compared(*wide, *narrow))).startswith("No answer yet: no individual method has the same head")
    apart = [student("rkd-d", 0.6, 1), student("fitnet", 0.5, 2)]
    assert "share no seed" in said(Families(compared(*apart)))


@pytest.mark.parametrize(
    ("gaps", "seeds", "says"),
    [
        ({16: 0.05}, 6, "Relations pay here: relational minus individual is +5.0"),
        ({16: 0.05}, 3, "Relations seem to pay here: "),
        ({16: -0.05}, 6, "Relations do not pay here: "),
        ({16: 0.001}, 6, "As families, relational and individual methods do not differ significantly here: "),
        ({16: -0.05, 64: 0.05}, 6, "Whether relations pay here depends on d: "),
    ],
)
def test_only_kinds_pay(gaps, seeds, says):
    families = many(gaps, seeds)
    assert said(families).startswith(says)
    assert "where the methods, of 4 and 4 papers, are samples of their families" in said(families)
    of_one = dict.fromkeys(("r-0", "r-1", "r-2", "r-3"), "one paper")
    assert "pay" not in said(many(gaps, seeds, papers=of_one))


def test_where_metrics_disagree_the_answer_says_so():
    """MAP@R is half of Recall@1 in these records; here it falls short, or goes beyond, for relational methods."""

    def with_map(families, factor):
        runs = []
        for run in families.compared.records:
            cosine = run.evaluation.cosine
            changed = cosine | {"map@r": cosine["map@r"] * (factor if run.spec.method[0] == "r" else 1)}
            evaluation = run.evaluation.model_copy(update={"cosine": changed})
            runs.append(run.model_copy(update={"evaluation": evaluation}))
        return said(Families(Comparison(runs, families.compared.kinds)))

    assert with_map(many({16: 0.05}), 0.9).startswith("Relations pay here, but not by MAP@R: ")
    assert "do not differ significantly here by Recall@1, but by MAP@R they do: " in with_map(many({16: 0.001}), 0.8)


def test_the_sign_of_these_methods_may_depend_on_d_where_kinds_are_not_told_apart():
    words = said(many({16: -0.005, 64: 0.005}, spread=0.2))
    assert (
        words.startswith("As families, relational and individual methods do not differ")
        and "the sign depends on d (" in words
    )


def test_families_are_compared_at_equal_heads():
    """Both heads count alike; each has its lines; and a method of one head alone is in neither."""
    families = many({16: (0.05, 0.03)}, heads=(0, 512))
    assert families.heads == ["linear head", "hidden layer of 512"] and verdict_of(
        families
    ).whole.these.mean == pytest.approx(4, abs=0.01)
    assert "(at d = 16, linear head and hidden layer of 512)" in said(families)
    lines = {
        tuple(value.text for value in line.values[:4]): line.values[4].text
        for line in verdict_table(verdict_of(families)).lines
    }
    for head, points in (("mean of both", "+4.0"), ("linear head", "+5.0"), ("hidden layer of 512", "+3.0")):
        assert lines["relational − individual", "these 4 and 4 methods", head, "Recall@1"].startswith(points)
    assert "depends on the head" in said(many({16: (0.05, -0.05)}, heads=(0, 512)))
    narrow = [student(name, 0.5, seed) for name in ("fitnet", "rkd-d") for seed in range(3)]
    found = Families(compared(*narrow, *(student("rkd-da", 0.9, seed, hidden=512) for seed in range(3))))
    assert "Left out, since no method of the other family has the same head: rkd-da." in said(found)
    assert verdict_of(found).whole.these.mean == pytest.approx(0)


def test_the_better_head_is_shown_apart():
    runs = [
        student("rkd-d", score + seed / 100, seed, hidden=hidden)
        for seed in range(3)
        for hidden, score in ((0, 0.5), (512, 0.6))
    ]
    table = document(compared(*runs, student("fitnet", 0.5)), "heads").table("heads")
    (line,) = table.lines
    texts = [value.text for value in line.values]
    assert texts[1:] == ["rkd-d", "16", "51.00 ± 1.00", "61.00 ± 1.00", "+10.00 ± 0.00", "61.00 (hidden layer of 512)"]
    assert document(compared(student("rkd-d", 0.5)), "heads").table("heads") is None


def test_labels_are_told_apart():
    families = many({16: 0.05}, labelled=["r-0", "i-0", "i-1"])
    verdict = verdict_of(families)
    assert verdict.sizes("use of labels")[0] == (3, 5) and verdict.sizes("no labels")[0] == (3, 2)
    assert "Methods that use labels minus methods that do not: −1." in said(families)
    assert "labels" in [column.name for column in document(families.compared, "q").table("recall").columns]
    assert list(many({16: 0.05}).compared.labelled) == [] and "labels" not in said(many({16: 0.05}))


def test_a_teacher_with_its_seeds_counts_once():
    """Each seed has one of three teachers: three units, of the mean of their seeds. Several teachers of a seed make rows of their own."""
    three = [TEACHER.replace(dim=dim) for dim in (64, 128, 256)]
    families = many({16: 0.05}, seeds=9, taught=lambda seed: three[seed % 3])
    assert families.units == [0, 1, 2] and families.seeds == 9
    assert "Intervals are 95 %, over 3 teachers, 9 seeds in all" in said(families)
    (cell,) = [cell for cell in families.compared.cells if cell.row.method == "r-0"]
    by_seed = [100 * record.metrics["recall@1"] for record in cell.records]
    assert cell.recall == {unit: pytest.approx(sum(by_seed[unit::3]) / 3) for unit in range(3)}
    made = document(families.compared, "q")
    assert any("each seed has one of the teachers" in fact for fact in made.facts)
    assert any("Student-t interval over teachers" in note for note in made.notes)
    both = [student("rkd-d", 0.5), record("rkd-d", 0.6, teacher=three[0])]
    assert sorted(row.settings for row in compared(*both).rows if row.method == "rkd-d") == [
        "teacher.dim=128",
        "teacher.dim=64",
    ]


def test_test_classes_are_in_the_interval_of_kinds_where_records_have_them():
    families = many({16: 0.02})
    assert "but not over test classes" in said(families)
    shares = {"r": (0.2, 0.8, 1.0), "i": (0.8, 0.2, 1.0)}
    with_classes = []
    for run in families.compared.records:
        hits = [round(100 * run.metrics["recall@1"] * share) for share in shares.get(run.spec.method[0], (1, 1, 1))]
        by_class = ByClass(queries=(100, 100, 200), hits=tuple(hits), precision=(0.1, 0.2, 0.3))
        with_classes.append(run.model_copy(update={"by_class": by_class}))
    other = Families(Comparison(with_classes, families.compared.kinds))
    assert "and over test classes" in said(other)
    assert verdict_of(other).whole.kinds.half > 10 * verdict_of(families).whole.kinds.half
    with_labels = Comparison(with_classes, families.compared.kinds, labelled=["r-0"], papers={"r-0": "a paper"})
    (line, *_) = [line for line in csv.DictReader(io.StringIO(runs_csv(with_labels))) if line["method"] == "r-0"]
    assert (line["labels"], line["paper"]) == ("yes", "a paper")


def test_a_family_is_the_same_methods_in_all_columns():
    """One that lacks a seed, one of other images, and generations are left out."""
    runs = [student(name, 0.6, seed) for name in ("rkd-d", "rkd-da") for seed in range(3)]
    odd = [student("rkd-a", 0.9), *(student("rkd", 0.9, seed, fingerprint="beef") for seed in range(3))]
    same_size = [record("rkd-da", 0.9, backbone="conv4-128", dim=128, teacher=TEACHER, seed=seed) for seed in range(3)]
    kinds = {**KINDS, "rkd-a": "relational", "rkd": "relational"}
    (pool,) = Families(Comparison([teacher(), *runs, *odd, *same_size], kinds)).pools
    assert [row.method for row in pool.rows] == ["rkd-d", "rkd-da"]
    assert pool.recall == {16: {0: pytest.approx(60), 1: pytest.approx(60), 2: pytest.approx(60)}}


def test_bold_is_what_nothing_is_better_than():
    """Of eight seeds each: two that nothing tells apart, and two far behind; another head is another group. Most are never bold."""
    best = [student("rkd-d", 0.600 + (0, 3, 1)[seed % 3] / 1000, seed) for seed in range(8)]
    near = [student("rkd-da", 0.600 + (0, 2, 1)[seed % 3] / 1000, seed) for seed in range(8)]
    far = [student("fitnet", 0.500 + (1, 2, 3, 0)[seed % 4] / 1000, seed) for seed in range(8)]
    wide = [student("attention", 0.900 + (1, 2, 3, 0)[seed % 4] / 1000, seed, hidden=512) for seed in range(8)]
    assert not compared(*best, *near, *far, *wide).leading("recall@1")
    far += [record("triplet", 0.400 + (1, 2, 3, 0)[seed % 4] / 1000, seed=seed) for seed in range(8)]
    table = document(compared(*best, *near, *far, *wide), "quick").table("recall")
    marks = {line.values[1].text: line.values[5].best for line in table.lines if line.records}
    assert marks == {
        "multi-similarity": False,
        "rkd-d": True,
        "rkd-da": True,
        "fitnet": False,
        "attention": False,
        "triplet": False,
    }


def test_flags_name_what_may_not_be_averaged_away():
    usual = [student(name, 0.6, seed) for name in ("rkd-d", "rkd-da", "fitnet") for seed in range(2)]
    mine = Declared(kind="individual", paper="mine", labels=False, self_taught=False, outside=True)
    held = {
        "†": [student("attention", 0.6, code="abc+dirty")],
        "‡": [student("attention", 0.6, steps=7)],
        "§": [student("attention", 0.6, fingerprint="beef")],
        "¶": [student("attention", 0.6).model_copy(update={"teacher": "other"})],
        "‖": [
            student("attention", 0.6, seed).model_copy(update={"declared": mine, "environment": {"method": edition}})
            for seed, edition in enumerate(("before", "after"))
        ],
    }
    assert {*held} == {*FLAGS}
    usual = [one.model_copy(update={"teacher": "usual"}) for one in usual]
    for flag, odd in held.items():
        found = compared(*usual, *odd)
        assert {cell.row.method: found.flags(cell) for cell in found.cells if found.flags(cell)} == {"attention": flag}
        made = document(found, "quick")
        (note,) = (note for note in made.notes if note.startswith(f"{flag} "))
        assert all(f"attention-{run.id}" in note for run in odd) and "rkd" not in note
    assert not any(compared(*usual).flags(cell) for cell in compared(*usual).cells)


def test_a_family_has_the_marks_of_its_methods():
    """And the note names those runs of a cell that have them, not the others."""
    runs = [student(name, 0.6 + seed / 100, seed) for name in ("rkd-d", "rkd-da", "fitnet") for seed in range(2)]
    runs = [one.model_copy(update={"teacher": "usual"}) for one in runs]
    other = runs[3] = runs[3].model_copy(update={"teacher": "other"})
    made = document(compared(*runs), "quick")
    lines = {line.values[0].text: line for line in made.table("recall").lines if line.role == "families"}
    marks = {name: line.values[5].flags for name, line in lines.items()}
    assert marks == {"individual (IKD)": "", "relational (RKD)": "¶"}
    assert f"¶ {FLAGS['¶']}: `rkd-da-{other.id}`." in made.notes
    assert "2 seeds, 2 teachers" in " ".join(made.grounds)


def test_the_best_of_a_family_is_so_on_the_seeds_of_all():
    """rkd-d has a third seed, on which it is far better; on those that both have, rkd-da is."""
    scores = {"rkd-d": [0.60, 0.60, 0.90], "rkd-da": [0.62, 0.62], "rkd-a": [0.5, 0.5], "fitnet": [0.5, 0.5]}
    runs = [student(name, score, seed) for name, found in scores.items() for seed, score in enumerate(found)]
    found = Comparison([teacher(), *runs], {**KINDS, "rkd-a": "relational"})
    assert "The best method of each family: rkd-da minus fitnet is +12.00" in said(Families(found))


def test_what_holds_for_all_is_no_flag():
    runs = [student(name, 0.6, code="abc+dirty") for name in ("rkd-d", "fitnet")]
    found = Comparison(runs, KINDS)
    assert not any(found.flags(cell) for cell in found.cells)
    assert "All runs: code that was not committed (+dirty)." in document(found, "quick").notes


def test_what_a_trunk_comes_from_is_no_baseline():
    """A teacher's task loss trained it, at a dimension of its own: a reference, in no column."""
    trunk = record("multi-similarity", 0.7, dim=32)
    head = student("rkd-d", 0.6, dim=32, views=2, trunk=trunk.spec)
    found = compared(trunk, head)
    assert found.roles[trunk.id] == "trunk" and [cell.row.method for cell in found.candidates] == ["rkd-d"]
    table = document(found, "heads").table("recall")
    (line,) = (line for line in table.lines if line.role == "trunk")
    assert [value.text for value in line.values[5:]] == ["–", "70.00 (32)"]


def test_every_dash_of_the_main_table_has_a_reason():
    table = document(Comparison(list(golden_records()), KINDS, ["attention"]), "quick").table("recall")
    dashes = [value for line in table.lines if line.records for value in line.values if value.text == "–"]
    assert dashes and all(value.why for value in dashes)


def test_p_values_are_corrected_for_all_of_the_table():
    runs = [record("triplet", 0.5 + (seed % 3) / 500, seed=seed) for seed in range(6)]
    runs += [student(name, 0.51 + (seed % 2) / 250, seed) for name in ("rkd-d", "fitnet") for seed in range(6)]
    runs += [student("rkd-da", 0.6, seed) for seed in range(3)]
    both, one = compared(*runs), compared(*(run for run in runs if run.spec.method != "fitnet"))

    def p(found, method):
        (cell,) = (cell for cell in found.cells if cell.row.method == method)
        return found.p.get(cell)

    assert p(both, "rkd-da") is None
    assert p(both, "rkd-d") == pytest.approx(2 * p(one, "rkd-d"))


def test_a_pair_saw_the_same_batches():
    """Another head is shown and noted; another batch, image size or precision is no pair."""
    base = [record("triplet", 0.5, seed=seed) for seed in range(2)]
    for change in ({"batch": 128}, {"image": 24}, {"precision": "bf16"}, {"per_class": 8}):
        found = compared(*base, *(student("rkd-d", 0.6, seed, **change) for seed in range(2)))
        assert not any(found.difference(cell) for cell in found.cells if cell.row.method == "rkd-d"), change
    found = compared(*base, *(student("rkd-d", 0.6, seed, hidden=512) for seed in range(2)))
    (cell,) = (cell for cell in found.cells if cell.row.method == "rkd-d")
    assert found.difference(cell).mean == pytest.approx(10)
    made = document(found, "heads")
    assert any("Heads: hidden layer of 512: rkd-d; linear head: triplet." in note for note in made.notes)
    assert any(value.text == "conv4-64, hidden 512" for line in made.table("recall").lines for value in line.values)


def test_a_family_has_one_row_of_a_method():
    """Not the mean of a method's settings: the row of most runs, else the first of the table; the answer names it."""
    runs = [student("fitnet", 0.60, seed) for seed in range(2)]
    for seed in range(2):
        runs += [student("rkd-d", 0.70, seed), student("rkd-d", 0.10, seed, lr=1.0)]
        runs += [student("rkd-da", 0.72, seed), student("rkd-da", 0.30, seed, normalize=False)]
    families = Families(compared(*runs))
    (relational,) = (pool for pool in families.pools if pool.role == "relational")
    assert [(row.label, row.l2) for row in relational.rows] == [("rkd-d (lr=0.001)", True), ("rkd-da", True)]
    assert relational.recall == {16: {0: pytest.approx(71), 1: pytest.approx(71)}}
    assert "The best method of each family: rkd-da minus fitnet is +12.00" in said(families)


def test_other_images_win_nothing():
    runs = [student(name, 0.6, seed) for name in ("fitnet", "rkd-d") for seed in range(2)]
    runs += [student("fitnet", 0.99, seed, fingerprint="beef") for seed in range(2)]
    found = compared(*runs)
    assert {cell.records[0].data for cell in found.candidates} == {"f00d"}
    assert "rkd-d minus fitnet is +0.00" in said(Families(found))


def test_two_teachers_are_two():
    runs = [
        record(name, score * (1 + seed / 100), seed=seed, teacher=TEACHER.replace(seed=seed)).model_copy(
            update={"teacher": f"weights {seed}"}
        )
        for name, score in (("rkd-d", 0.6), ("fitnet", 0.5))
        for seed in range(2)
    ]
    found = Comparison(runs, KINDS)
    assert not any(found.flags(cell) for cell in found.cells)
    assert said(Families(found)).endswith("over 2 teachers, one seed each.")


SINGLE = {  # seeds of a method whose cell has no mark, beside two others of seeds 0, 1 and 2
    "far below": {0: 0.02},
    "above all": {0: 0.99},
    "of no common seed": {7: 0.59},
}


@pytest.mark.parametrize("scores", SINGLE.values(), ids=list(SINGLE))
def test_one_seed_has_no_mark(tmp_path, scores):
    """Whatever it scores, in whatever form."""
    best = [student("rkd-d", 0.290 + (0, 3, 1)[seed % 3] / 1000, seed) for seed in range(8)]
    far = [student("rkd-da", 0.189 + (0, 2, 1)[seed % 3] / 1000, seed) for seed in range(8)]
    single = [student("fitnet", score, seed) for seed, score in scores.items()]
    folder = Folder(tmp_path / "glyphs" / "quick", [teacher(), *best, *far, *single], [], KINDS)
    marks = {line.values[1].text: line.values[5].best for line in folder.document.table("recall").lines if line.records}
    assert marks["rkd-d"] and not marks["rkd-da"]
    assert compared(*best, *single).leading("recall@1") == frozenset()


def test_where_all_have_one_seed_nothing_is_marked():
    table = document(compared(student("rkd-d", 0.6), student("fitnet", 0.5)), "quick").table("recall")
    assert not any(value.best for line in table.lines for value in line.values)


def test_an_interval_of_no_width_resolves_nothing():
    """Two seeds of which each gives the very same difference: of a recall's steps, not of what other seeds would give."""
    assert two_families([0.62, 0.63], [0.60, 0.61]).units == [0, 1]
    assert "pay" not in said(two_families([0.62, 0.63], [0.60, 0.61]))
    same = compared(*(student(name, 0.6 + seed / 100, seed) for name in ("rkd-d", "fitnet") for seed in (0, 1)))
    assert not same.leading("recall@1")


def test_where_nothing_was_distilled_the_tables_say_so(tmp_path):
    """All students failed, and nothing names the teacher as one."""
    save(tmp_path, [teacher()])
    folder = Folder.read(tmp_path, KINDS)
    words = "There are no students: no run here has a teacher"
    assert words in folder.files()["comparison.md"] and words in folder.files()["report.html"]
    assert words in shown(terminal_table(folder)) and not any(
        fact.startswith("Students") for fact in folder.document.facts
    )
    assert words not in Folder(tmp_path, [teacher(), student("rkd-d", 0.6)], [], KINDS).files()["comparison.md"]


@pytest.mark.parametrize(("kind", "evaluation"), [("runs", "validation"), ("tuning", "test")])
def test_a_record_of_other_classes_is_named(tmp_path, cli, kind, evaluation):
    stray = student("rkd-d", 0.6, evaluation=evaluation)
    save(tmp_path / "glyphs" / "quick", [teacher()])
    save(tmp_path / "glyphs" / "quick", [stray], kind)
    for words in (["report"], ["verify"]):
        found = cli(*words, "--results", tmp_path)
        assert_one_line(found, 1, f"{kind}/rkd-d-{stray.id}.json", f"{evaluation} classes")
    assert not (tmp_path / "glyphs" / "quick" / "comparison.md").exists()


def test_a_terminal_says_what_its_marks_mean():
    """Those that occur, in every table; none where there is none."""
    values = [
        Value("1.00", best=True),
        *(Value("0.90", flags=flag) for flag in (*FLAGS, BUSY)),
    ]
    table = Table("any", "any", "", (Heading("one"),), tuple(Line((value,)) for value in values))
    text = " ".join(shown(rich(table, "title"), width=200).split())
    assert all(f"{mark} {meaning}" in text for mark, meaning in LEGEND.items()) and "bold: no student" in text
    for mark in LEGEND:
        kept = [line for line in table.lines if mark in line.values[0].marks]
        text = " ".join(shown(rich(dataclasses.replace(table, lines=tuple(kept)), "title"), width=200).split())
        assert [other for other, meaning in LEGEND.items() if f"{other} {meaning}" in text] == [mark]
    plain = dataclasses.replace(table, lines=(Line((Value("0.50"),)),))
    assert not any(meaning in shown(rich(plain, "title")) for meaning in LEGEND.values())


def test_costs_that_were_not_measured_are_dashes():
    """The record of a head counts the head alone, which is not what a query goes through."""
    cells = Comparison([student("rkd-d", 0.6, views=2), student("rkd-d", 0.6)], KINDS).cells
    assert {price(cell, None).parameters for cell in cells} == {None, 113088}


def test_a_record_of_a_method_that_is_gone_is_measured_all_the_same():
    import torch

    from benchmark.costs.measure import measure_costs

    runs = [student("forgotten", 0.5, backbone="conv4-4"), student("forgotten", 0.5, backbone="gone-50")]
    found = measure_costs(runs, torch.device("cpu"))
    assert [one.backbone for one in found.networks] == ["conv4-4"]


def test_a_folder_of_a_subset_or_of_own_data_has_its_own_name(tmp_path):
    for name in ("glyphs", "glyphs-8x6"):
        save(tmp_path / name / "quick", golden_records())
    folders = [Folder.read(path, KINDS) for path in result_folders(tmp_path)]
    assert [folder.document.dataset for folder in folders] == ["glyphs", "glyphs-8x6"]
    files = overview_files(tmp_path, folders)
    assert "(glyphs-8x6/quick/comparison.md)" in files["overview.md"]
    ids = re.findall(r' id="([^"]+)"', files["report.html"])
    assert len(ids) == len(set(ids))


def test_names_with_marks_of_other_languages(tmp_path):
    """Of Markdown, of matplotlib's formulas and of rich's markup."""
    runs = [record("a|b [bold] $_$", 0.5 + seed / 100, dim=dim, seed=seed) for dim in (16, 32) for seed in range(2)]
    save(tmp_path, [*runs, *(record("triplet", 0.5, dim=dim, seed=seed) for dim in (16, 32) for seed in range(2))])
    folder = Folder.read(tmp_path, {"a|b [bold] $_$": "relational", "triplet": "none"})
    files = folder.files()
    assert r"a\|b" in files["comparison.md"] and "figures/differences.svg" in files
    assert "a|b [bold] $_$" in shown(terminal_table(folder), 200)


def test_mixed_data_sets_are_an_error(tmp_path):
    save(tmp_path, [record("triplet"), record("triplet", dataset="cub")])
    with pytest.raises(BenchmarkError, match="mixes the data sets cub, glyphs"):
        Folder.read(tmp_path)


def paper_runs(dataset: str = "cars", **words: object) -> list[Spec]:
    """The runs of the preset `paper`."""
    return list(resolve(gather(Request(dataset=dataset, preset="paper", **words), dry=True)).specs)  # type: ignore[arg-type]


def ran(spec: Spec, recall: float) -> Record:
    return record(recall=recall, **{name: getattr(spec, name) for name in Spec.model_fields})


def test_the_paper_stands_beside_runs_of_its_protocol_only():
    chosen = [s for s in paper_runs() if (s.method, s.dim, s.normalize) == ("rkd-da", 64, False) and s.seed < 3]
    ours = [ran(spec, 0.80 + spec.seed / 100) for spec in chosen]
    table = next(t for t in document(Comparison(ours, KINDS), "paper").tables if t.key == "paper")
    assert table.title == "The paper against ours"
    (line,) = (line for line in table.lines if line.values[5].text != "–")
    assert [value.text for value in line.values] == [
        "1",
        "rkd-da",
        "resnet18-64",
        "no",
        "80.17",
        "81.00",
        "+0.83 ± 2.48",
    ]
    other = ran(chosen[0].replace(lr=1.0), 0.8)
    table = next(t for t in document(Comparison([other], KINDS), "cpu").tables if t.key == "paper")
    assert table.title == "Published, under another protocol" and len(table.columns) == 5


@pytest.mark.parametrize("dataset", ["cub", "cars", "sop"])
def test_the_preset_is_the_protocol(dataset: str) -> None:
    """Of each published number of Tables 1 and 2 there is a run, whose every field is the protocol's."""
    runs = [*paper_runs(dataset), *paper_runs(dataset, methods="rkd-da", generations=3, seeds="0")]
    fields = ("method", "backbone", "dim", "normalize", "generation")
    made = {tuple(getattr(spec, name) for name in fields) for spec in runs if of_protocol(spec)}
    assert {number[1:6] for number in published(dataset) if number.table != "3"} <= made
    strangers = {"untrained", "hinton", "regression", "ensemble"}  # which the tables have not
    assert {spec.method for spec in runs if not of_protocol(spec)} == strangers


CHANGES: dict[str, object] = {
    "data": "d", "subset": "8x6", "evaluation": "validation", "steps": 1, "batch": 127, "per_class": 4, "resize": 255,
    "image": 223, "flip": False, "views": 8, "params": {"distance_weight": 1.0, "angle_weight": 1.0}, "teacher": None,
    "backbone": "resnet50", "pretrained": False, "trunk": Spec(dataset="cars", method="triplet"), "hidden": 512,
    "head": "scaled", "batchnorm": "frozen", "optimizer": "adamw", "lr": 1.0, "head_lr": 3.0, "weight_decay": 1.0,
    "schedule": "constant", "milestones": (0.5,), "decay": 0.2, "precision": "bf16",
    "fold": "1/3", "fit": "crop",
}  # fmt: skip


def test_no_field_of_a_run_may_be_another_or_of_its_teacher() -> None:
    student = next(s for s in paper_runs() if s.method == "rkd-da")
    assert student.teacher is not None and of_protocol(student)
    assert {*CHANGES, "dataset", "seed", "method", "dim", "normalize"} == {*Spec.model_fields}
    for name, value in CHANGES.items():
        changes = {name: value, **{"trunk": {"views": 8}, "fold": {"evaluation": "validation"}}.get(name, {})}
        assert not of_protocol(student.replace(**changes)), name
        if name not in ("teacher", "backbone", "trunk", "views"):  # which can only be another network's
            taught = student.teacher.replace(**(changes if name != "params" else {name: {"margin": 0.1}}))
            assert not of_protocol(student.replace(teacher=taught)), f"teacher.{name}"
    for changes in ({"dim": 128}, {"normalize": False}, {"backbone": "resnet18"}, {"method": "contrastive"}):
        assert not of_protocol(student.replace(teacher=student.teacher.replace(**changes))), changes
    assert of_protocol(student.replace(seed=9, teacher=student.teacher.replace(seed=9)))
    assert not of_protocol(student.replace(teacher=student)), "a student taught by a student of its size"


def test_the_paper_s_numbers():
    """Anchors of its Table 1 and 2, and nothing for sets that it has not."""
    found = {one[:6]: one.recall for one in published("cub")}
    assert (
        found["1", "rkd-da", "resnet18", 64, False, 0] == 58.68
        and found["1", "darkrank", "resnet18", 16, True, 0] == 46.84
    )
    assert (
        found["1", "triplet", "resnet50", 512, True, 0] == 61.24
        and found["2", "rkd-da", "resnet50", 512, False, 1] == 65.68
    )
    assert found["3", "rkd-da", "resnet50", 128, False, 0] == 64.9
    assert len(found) == 1 + 7 * 4 + 3 * 4 + 3 + 3
    assert [one.recall for one in published("sop")] == [76.58, 77.61, 77.36, 76.96, 74.5, 75.1, 77.5]
    assert not list(published("glyphs"))
    assert all(table.key != "paper" for table in document(Comparison(list(golden_records()), KINDS), "quick").tables)


def test_costs_are_those_of_the_network_that_a_query_goes_through(tmp_path):
    write_costs(tmp_path, golden_costs())
    costs = read_costs(tmp_path)
    cells = {(cell.row.method, cell.dim): cell for cell in Comparison(list(golden_records()), KINDS).cells}
    ours, pca, top = (price(cells[key], costs) for key in (("rkd-da", 16), ("pca", 16), ("multi-similarity", 128)))
    assert (ours.latency, pca.latency, top.latency) == (0.0008, 0.0021, 0.0021)
    assert (ours.embedding, pca.embedding, top.embedding) == (64, 64, 512)
    assert ours.gallery == 64 * 8644
    assert price(cells["rkd-da", 16], None).latency is None
    (tmp_path / "costs.json").write_text("{}")
    with pytest.raises(BenchmarkError, match="holds no costs"):
        read_costs(tmp_path)


def test_an_ensemble_costs_all_of_its_networks():
    first = TEACHER.replace(method="rkd-da", teacher=TEACHER, normalize=False)
    second = first.replace(teacher=first)
    run = record("ensemble", 0.9, backbone="conv4-128", dim=256, steps=0, teacher=second)
    found = price(Comparison([run], {**KINDS, "ensemble": "posthoc"}).cells[0], golden_costs())
    assert (found.latency, found.parameters, found.throughput) == (
        pytest.approx(0.0042),
        936_000,
        pytest.approx(8 / 0.0042),
    )


def test_two_methods_and_two_folders_are_compared_by_pairs(tmp_path):
    ours = [student("rkd-d", 0.60, 0), student("rkd-d", 0.62, 1)]
    other = [student("fitnet", 0.59, 0), student("fitnet", 0.60, 1), student("fitnet", 0.10, 2)]
    table = contrast_methods(compared(*ours, *other), "fitnet", "rkd-d")
    (line,) = table.lines
    assert [value.text for value in line.values[3:7]] == ["2", "59.50", "61.00", "+1.50 ± 6.35"]
    with pytest.raises(UsageError, match="no run of 'rkd'"):
        contrast_methods(compared(*ours), "rkd", "rkd-d")
    changed = [one.model_copy(update={"evaluation": student("rkd-d", 0.7, one.spec.seed).evaluation}) for one in ours]
    (found,) = (
        line
        for line in contrast_folders(compared(*ours), compared(*changed), "a", "b").lines
        if line.role == "relational"
    )
    assert found.values[6].text == "+9.00 ± 12.71"
    with pytest.raises(UsageError, match="in common"):
        contrast_folders(Comparison(ours, KINDS), Comparison(other, KINDS), "a", "b")


def named(table):
    """The methods of a table's lines, and its notes."""
    return [line.values[0].text for line in table.lines], "\n".join(table.notes)


def test_what_is_in_one_folder_alone_is_said(tmp_path):
    """Of a method that one folder has in several settings, those are held against each other that are equal."""
    before = [student("rkd-d", 0.60 + seed / 100, seed) for seed in (0, 1)]
    tuned = [student("rkd-d", 0.65 + seed / 100, seed, params={"weight": 2.0}) for seed in (0, 1)]
    methods, notes = named(contrast_folders(compared(*before), compared(*before, *tuned), "a", "b"))
    assert methods == ["multi-similarity", "rkd-d (weight=–)"]
    assert (
        "Not compared, other settings of the method than in the other folder: rkd-d (weight=2.0) (conv4-64, 400 steps, d = 16)"
        in notes
    )
    methods, notes = named(contrast_folders(compared(*before, *tuned), compared(*tuned), "a", "b"))
    assert methods == ["multi-similarity", "rkd-d"] and "rkd-d (weight=–)" in notes
    # One setting on either side is what somebody changed.
    assert named(contrast_folders(compared(*before), compared(*tuned), "a", "b")) == (["multi-similarity", "rkd-d"], "")
    # Both have two, and of both the rate was changed as well.
    faster = [student("rkd-d", 0.6, one.spec.seed, params=one.spec.params, lr=0.5) for one in (*before, *tuned)]
    methods, notes = named(contrast_folders(compared(*before, *tuned), compared(*faster), "a", "b"))
    assert len(methods) == 3 and notes == ""


def test_every_cell_of_two_folders_is_in_a_line_or_in_a_note():
    before = [student("rkd-d", 0.6), student("rkd-da", 0.6), student("fitnet", 0.6), student("rkd-d", 0.6, dim=32)]
    after = [student("rkd-d", 0.6), student("rkd-da", 0.6, 3), student("fitnet", 0.6, fingerprint="beef")]
    after.append(student("attention", 0.6, steps=7))
    methods, notes = named(contrast_folders(compared(*before), compared(*after), "a", "b"))
    assert methods == ["multi-similarity", "rkd-d"]
    assert notes.split("\n") == [
        "Not compared, only in a: rkd-d (conv4-64, 400 steps, d = 32).",
        "Not compared, only in b: attention (conv4-64, 7 steps, d = 16).",
        "Not compared, other images: fitnet (conv4-64, 400 steps, d = 16).",
        "Not compared, no seed in common: rkd-da (conv4-64, 400 steps, d = 16).",
    ]
    table = contrast_methods(compared(*before), "fitnet", "rkd-d")
    assert "rkd-d (conv4-64, 400 steps, d = 32)" in table.notes[0]


def test_folders_that_ran_under_other_conditions():
    runs = [student("rkd-d", 0.6, seed) for seed in (0, 1)]

    def on(**environment):
        return compared(*(one.model_copy(update={"environment": one.environment | environment}) for one in runs))

    first, second = (
        on(threads="1", device="cpu AVX512", code="old"),
        on(threads="2", device="cpu AVX512", torch="2.15.0"),
    )
    (note,) = contrast_folders(first, second, "a", "b").notes
    assert note == "a and b ran under other conditions: threads 1 and 2; torch 2.14.1 and 2.14.1, 2.15.0."
    assert contrast_folders(first, on(threads="1", code="new"), "a", "b").notes == ()


def test_a_record_without_map_at_r(tmp_path):
    """All that the schema asks for is Recall@1."""

    def lean(run):
        return run.model_copy(
            update={
                "evaluation": run.evaluation.model_copy(
                    update={"l2": {"recall@1": 0.5}, "cosine": {"recall@1": 0.5 + run.spec.seed / 100}}
                )
            }
        )

    runs = [lean(student(name, 0.6, seed)) for name in ("fitnet", "rkd-d") for seed in (0, 1)]
    (line,) = contrast_methods(compared(*runs), "fitnet", "rkd-d").lines
    assert [value.text for value in line.values[-3:]] == ["+0.00 ± 0.00", "–", "–"]
    points = (Point(step=50, evaluation=runs[0].evaluation),)
    tuned = [run.model_copy(update={"curve": points}) for run in runs]
    assert "tuning.csv" in Folder(tmp_path, runs, tuned, KINDS).files()


def test_verify_finds_what_was_changed_by_hand(tmp_path):
    save(tmp_path, golden_records())
    folder = Folder.read(tmp_path, KINDS)
    folder.write()
    assert differences(tmp_path, folder.files()) == []
    table = tmp_path / "comparison.md"
    table.write_text(table.read_text().replace("63.20 ± 1.30", "66.20 ± 1.30", 1))
    (tmp_path / "runs.csv").unlink()
    (tmp_path / "report.html").unlink()  # is not committed
    (tmp_path / "figures" / "mine.svg").write_text("<svg/>")  # is none of ours
    (tmp_path / "figures" / "steps.svg").write_text("<svg/>")
    (tmp_path / "tuning.csv").write_text("")  # of records that are gone
    lines = differences(tmp_path, folder.files())
    assert len(lines) == 4
    assert any("comparison.md differs" in line and "line " in line for line in lines)
    assert any("runs.csv is missing" in line for line in lines)
    assert all(any(f"{name} is not generated" in line for line in lines) for name in ("steps.svg", "tuning.csv"))
    folder.write()
    assert differences(tmp_path, folder.files()) == []
    assert (tmp_path / "figures" / "mine.svg").exists()


def test_figures_of_another_matplotlib_are_no_differences(tmp_path, cli, monkeypatch):
    save(tmp_path, golden_records())
    folder = Folder.read(tmp_path)
    folder.write()
    for name in ("figures/dimension.svg", "report.html"):
        (tmp_path / name).write_text("<svg/>")
    said = cli("verify", "--results", tmp_path)
    assert said.code == 1 and "2 differences" in said.out and "matplotlib" not in said.out
    monkeypatch.setattr("benchmark.report.style.version", lambda package: "9.8.7")
    said = cli("verify", "--results", tmp_path)
    assert said.code == 0 and "no difference" in said.out and "matplotlib" in said.out
    assert f"this is 9.8.7; pip install 'matplotlib=={DRAWN_WITH}.*'" in said.out
    (tmp_path / "comparison.md").write_text("")
    assert cli("verify", "--results", tmp_path).code == 1


def test_across_data_sets(tmp_path):
    save(tmp_path / "glyphs" / "quick", golden_records())
    assert overview_files(tmp_path, [Folder.read(tmp_path / "glyphs" / "quick", KINDS)]) == {}
    save(tmp_path / "glyphs" / "heads", golden_records())
    folders = [Folder.read(path, KINDS) for path in result_folders(tmp_path)]
    files = overview_files(tmp_path, folders)
    assert set(files) == {"overview.md", "figures/families.svg", "report.html"}
    assert files["overview.md"].count("too few to generalise from") == 2
    assert "rkd-da − attention" in files["overview.md"]
    write_files(tmp_path, files)
    assert differences(tmp_path, files) == []


def test_the_readme_is_made_anew_between_its_marks(tmp_path):
    save(tmp_path, golden_records())
    folder = Folder.read(tmp_path, KINDS)
    readme = tmp_path / "README.md"
    part = f"<!-- generated: glyphs/{tmp_path.name} -->"
    readme.write_text(f"before\n{part}\nold\n<!-- end -->\nafter\n")
    update_readme(readme, [folder])
    text = readme.read_text()
    assert text.startswith(f"before\n{part}\n") and text.endswith("<!-- end -->\nafter\n")
    assert "\nold\n" not in text and folder.document.answer in text
    table = folder.document.table("verdict")
    assert table is not None and table.caption in text
    # Of its lines those of the first difference, which the answer is taken from.
    shown = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert {*shown} - {"difference"} == {QUESTIONS["kinds"], "-" * len(QUESTIONS["kinds"])}
    update_readme(readme, [folder])
    assert readme.read_text() == text
    readme.write_text("nothing")
    with pytest.raises(UsageError, match="a part that is generated is"):
        update_readme(readme, [folder])
    readme.write_text(f"{part}\nmine\n{part}\n<!-- end -->")
    with pytest.raises(UsageError, match="a part that is generated is"):
        update_readme(readme, [folder])
    readme.write_text("<!-- generated: cub/paper -->\n<!-- end -->")
    with pytest.raises(UsageError, match="wants cub/paper"):
        update_readme(readme, [folder])


def test_commands_run_records_again():
    runs = [student("rkd-d", 0.6, seed, dim=dim) for dim in (16, 32) for seed in (2, 4)]
    where = Path("results/glyphs/quick/runs")
    lines = commands(runs, where)
    assert lines == [
        f"python -m benchmark run --like {where}/rkd-d-{runs[first].id}.json --seeds 2,4" for first in (0, 2)
    ]
    assert commands([teacher()], where) == [
        f"python -m benchmark run --like {where}/{TEACHER.method}-{TEACHER.id}.json"
    ]


@pytest.fixture
def finished(cli: Callable[..., Result], smoke: list[str], tmp_path: Path) -> Path:
    assert cli(*smoke, "--methods", "triplet,rkd-d,regression").code == 0
    return tmp_path / "tiny" / "smoke"


def test_from_the_command_line(cli: Callable[..., Result], finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """A run says its answer and where its page is; verify, compare and costs work on what it wrote; a rerun gives the same weights."""
    assert (finished / "report.html").exists() and (finished / "costs.json").exists()
    assert read_costs(finished).network(next(iter(Store(finished))).spec) is not None
    assert cli("verify", "--results", tmp_path).code == 0
    found = cli("compare", "triplet", "rkd-d", "--results", tmp_path)
    assert found.code == 0 and "rkd-d − triplet" in found.out
    run = next(finished.glob("runs/rkd-d-*.json"))
    again = cli("verify", "--results", tmp_path, "--rerun", run.stem[-10:], "--data", data_dir, "--device", "cpu")
    assert again.code == 0 and "the same weights, to the bit" in again.out, again.out + again.err
    changed = fields_of(run)
    run.write_text(json.dumps(changed | {"data": "beef"}))
    other = cli("verify", "--results", tmp_path, "--rerun", run.stem[-10:], "--data", data_dir, "--device", "cpu")
    assert other.code == 2 and "was run on other images (beef)" in other.err and "Recall@1" not in other.out
    for name in ("recall@1", "recall@2", "recall@4", "recall@8"):
        changed["evaluation"]["l2"][name] = min(1, changed["evaluation"]["l2"][name] + 0.2)
    run.write_text(json.dumps(changed | {"by_class": None, "queries": None}))
    again = cli("verify", "--results", tmp_path, "--rerun", run.stem[-10:], "--data", data_dir, "--device", "cpu")
    assert again.code == 1 and "-20.00" in again.out
    assert cli("verify", "--results", tmp_path).code == 1
    measured = cli("costs", "--results", tmp_path, "--device", "cpu")
    assert (
        measured.code == 0
        and f"{finished}: latency, throughput and size of 2 networks, and exact search in" in measured.out
    )
    assert cli("verify", "--results", tmp_path).code == 0  # costs wrote the tables anew
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- generated: tiny/smoke -->\n<!-- end -->\nafter\n")
    assert cli("report", "--results", tmp_path, "--readme", readme).code == 0
    made = Folder.read(finished).document
    assert readme.read_text().split("\n")[2:4] == ["", f"**{made.answer}**"] and readme.read_text().endswith("after\n")
    found = cli("report", "--results", tmp_path, "--baseline", "hinton")
    assert found.code == 2 and "no student of it was trained" in found.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["compare", "triplet", "nothing"], "no run of 'nothing'"),
        (["compare", "a/b", "c/d"], "a/b is no folder"),
        (["report", "--baseline", "tripet"], "triplet"),
        (["report", "--readme", "none.md"], "none.md"),
        (["verify", "--rerun", "zzz"], "no run has an id"),
        (["verify", "--data", "."], "for --rerun"),
        (["costs", "--results", "nowhere"], "no results below nowhere"),
    ],
)
def test_usage_errors(cli: Callable[..., Result], tmp_path: Path, words: list[str], says: str) -> None:
    save(tmp_path / "tiny" / "smoke", [record("triplet", dataset="tiny")])
    given = words if "--results" in words else [*words, "--results", tmp_path]
    found = cli(*given)
    assert found.code in (1, 2) and says in found.err and "Traceback" not in found.err


@pytest.mark.parametrize("names", [("efficientnet_lite0", "efficientnet_lite1"), ("conv4-64", "conv4-128")])
def test_rows_that_differ_in_the_network_alone_do_not_look_alike(tmp_path, cli, monkeypatch, names):
    """In a terminal of 80 columns: of a comparison, and of the table at the end of a run."""
    from rich.box import SQUARE
    from rich.console import Console

    from benchmark.commands import compare

    networks = [(name, hidden) for name in names for hidden in (0, 512)]
    runs = [
        record(method, 0.5 + seed / 100, seed=seed, backbone=name, hidden=hidden)
        for name, hidden in networks
        for method in ("triplet", "rkd-d")
        for seed in range(2)
    ]
    save(tmp_path, runs)
    monkeypatch.setattr(compare, "out", Console(width=80, highlight=False))
    monkeypatch.setattr("rich.box.SIMPLE_HEAD", SQUARE)  # which tells columns apart
    contrast = cli("compare", "triplet", "rkd-d", "--results", tmp_path).out
    for text in (contrast, shown(terminal_table(Folder.read(tmp_path, KINDS)))):
        assert "…" not in text and max(map(len, text.splitlines())) <= 80
        # What is folded, put together again.
        lines = [line.split("│")[1:-1] for line in text.splitlines() if "│" in line]
        columns = ["".join(cell.strip() for cell in column) for column in zip(*lines, strict=True)]
        for name in names:
            assert any(name in column for column in columns), text
    assert "All rows: steps 400, seeds 2." in " ".join(contrast.split())


def test_a_folder_that_has_no_presets_name_says_nothing_of_tuning(tmp_path):
    runs = [record("triplet", 0.5 + seed / 100, seed=seed) for seed in range(2)]
    said = {}
    for name in ("smoke", "elsewhere"):
        save(tmp_path / "tiny" / name, runs)
        said[name] = [note for note in Folder.read(tmp_path / "tiny" / name).document.notes if "tuned" in note]
    assert said["elsewhere"] == [] != said["smoke"]
