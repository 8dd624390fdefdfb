"""Tables from records: golden files, statistics by hand, and what may not be averaged together.

After a change of the tables, or of the schema of records, regenerate the golden files and read the diff:

    PYTHONPATH=.:tests python tests/report/test_tables.py
"""

from __future__ import annotations

import csv
import io
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_records import (
    KINDS,
    TEACHER,
    golden_costs,
    golden_records,
    golden_tuning,
    record,
    save,
    shown,
    student,
    teacher,
)

from benchmark.costs import write_costs
from benchmark.errors import BenchmarkError, UsageError
from benchmark.record import Evaluation, Point, Record
from benchmark.report import columns
from benchmark.report.cells import DASH, fixed
from benchmark.report.columns import Column, of_cells, of_runs
from benchmark.report.comparison import BASELINE, Comparison
from benchmark.report.document import as_markdown, document
from benchmark.report.families import Families
from benchmark.report.figures import curves_figure, steps_figure
from benchmark.report.stats import paired, summarise
from benchmark.report.tables import comparison_csv, runs_csv, tuning_csv
from benchmark.report.write import Folder, result_folders, terminal_table, write_files
from benchmark.spec import Spec

GOLDEN = Path(__file__).parents[1] / "golden" / "glyphs" / "quick"
FILES = ["runs.csv", "comparison.csv", "comparison.md", "comparison.tex", "report.html"]


def markdown(compared, preset):
    return as_markdown(document(compared, preset))


def rows(text):
    """The lines of a CSV by column name."""
    return list(csv.DictReader(io.StringIO(text)))


def test_golden(tmp_path):
    folder = tmp_path / "glyphs" / "quick"
    for kind in ("runs", "tuning"):
        shutil.copytree(GOLDEN / kind, folder / kind)
    shutil.copy(GOLDEN / "costs.json", folder)
    written = Folder.read(folder, KINDS).write()
    names = {path.relative_to(folder).as_posix() for path in written}
    figures = {f"figures/{name}.svg" for name in ("dimension", "differences", "cost", "curves")}
    assert names == {*FILES, "tuning.csv", *figures}
    for path in written:
        there = GOLDEN / path.relative_to(folder)
        assert path.read_bytes() == there.read_bytes(), f"{path.name} differs: see this file's docstring"


def test_the_order_of_records_does_not_matter():
    records = list(golden_records())
    assert markdown(Comparison(records[::-1], KINDS), "quick") == markdown(Comparison(records, KINDS), "quick")
    assert runs_csv(Comparison(records[::-1], KINDS)) == runs_csv(Comparison(records, KINDS))


def test_statistics_by_hand():
    found = summarise([1.0, 2.0, 6.0])
    assert (found.n, found.mean) == (3, 3.0)
    assert found.sd == pytest.approx(7**0.5)  # (4 + 1 + 9) / 2
    assert found.half == pytest.approx(4.302653 * (7 / 3) ** 0.5, rel=1e-6)  # t, two degrees of freedom, 97.5 %
    assert summarise([5.0]) == (1, 5.0, None, None)
    assert summarise([5.0, 5.0]) == (2, 5.0, 0.0, 0.0)


def test_pairs_are_of_the_common_seeds():
    found = paired({0: 10.0, 1: 20.0, 2: 31.0, 7: 99.0}, {2: 30.0, 1: 18.0, 0: 7.0, 8: 0.0})
    assert found == summarise([3.0, 2.0, 1.0])
    assert paired({0: 1.0}, {0: 3.0}) == (1, -2.0, None, None)
    assert paired({0: 1.0}, {1: 3.0}) is None


def test_comparison_by_hand():
    """triplet 50 54 58; rkd-da 60 66 with seeds 0, 1: the pairs differ by 10 and 12."""
    runs = [teacher(), *(record("triplet", 0.5 + 0.04 * seed, seed=seed) for seed in range(3))]
    runs += [student("rkd-da", 0.60), student("rkd-da", 0.66, 1)]
    top, base, ours, pool = rows(comparison_csv(Comparison(runs, KINDS)))
    assert (pool["role"], pool["recall@1 mean [%]"]) == ("relational family", ours["recall@1 mean [%]"])
    assert [one["role"] for one in (top, base, ours)] == ["teacher", "baseline", "relational"]
    assert (base["seeds"], ours["seeds"], top["dim"]) == ("3", "2", "128")
    assert float(base["recall@1 mean [%]"]) == pytest.approx(54)
    assert float(base["recall@1 sd [points]"]) == pytest.approx(4)
    assert float(base["recall@1 95% half-width [points]"]) == pytest.approx(4.302653 * 4 / 3**0.5, abs=0.005)
    assert float(ours["map@r mean [%]"]) == pytest.approx(31.5)
    assert float(ours["recall@10 mean [%]"]) == pytest.approx(90.75)
    assert float(ours["recall@1 minus triplet [points]"]) == pytest.approx(11)
    assert float(ours["difference 95% half-width [points]"]) == pytest.approx(12.706205 * 2**0.5 / 2**0.5, abs=0.005)
    assert base["recall@1 minus triplet [points]"] == top["recall@1 minus triplet [points]"] == ""
    assert top["recall@1 sd [points]"] == ""


def test_whole_numbers_stay_so_where_a_line_lacks_one():
    """In every file, also of families, of runs with another head, and of runs that measured less than others."""
    lacking = student("fitnet", 0.5, 3, dim=32)
    runs = [
        *golden_records(),
        lacking.model_copy(update={"geometry": None, "loss": None}),
        student("rkd-a", 0.5, hidden=512),
    ]
    runs.append(record("fitnet", 0.6, teacher=TEACHER.replace(dim=64)))
    for table in (comparison_csv(Comparison(runs, KINDS)), runs_csv(Comparison(runs, KINDS))):
        lines = rows(table)
        for name in ("hidden", "dim", "steps", "seeds", "difference seeds", "queries", "parameters", "batch", "seed"):
            assert all(re.fullmatch(r"\d*", line[name]) for line in lines if name in line), name
        assert {line["hidden"] for line in lines} == {"0", "512"}
        assert not re.search(r"(^|,)(nan|NaN|None|<NA>)(,|$)", table, re.MULTILINE)
    tried = [*golden_tuning(), record("fitnet", evaluation="validation", hidden=512)]
    assert all(re.fullmatch(r"\d+", line[name]) for line in rows(tuning_csv(tried)) for name in ("dim", "seed", "step"))


def test_no_header_needs_quotes():
    odd = [record(params={'a,b "c"': weight}, evaluation="validation") for weight in (1.0, 2.0)]
    compared = Comparison(list(golden_records()), KINDS)
    for text in (comparison_csv(compared), runs_csv(compared), tuning_csv([*golden_tuning(), *odd])):
        header = text.split("\n")[0]
        assert '"' not in header and len(header.split(",")) == len(next(csv.reader([text.split("\n")[1]])))


def test_the_main_distance():
    """Cosine where normalised, else raw L2; both are in runs.csv."""
    l2, raw = rows(runs_csv(Comparison([student("rkd-da", 0.7), student("rkd-da", 0.8, normalize=False)], KINDS)))
    shown = ("l2", "distance", "recall@1 [%]", "L2 recall@1 [%]", "cosine recall@1 [%]")
    assert [l2[name] for name in shown] == ["yes", "cosine", "70.00", "69.00", "70.00"]
    assert [raw[name] for name in shown] == ["no", "L2", "80.00", "80.00", "79.00"]


def test_runs_are_averaged_over_seeds_only():
    """Every other field, the teacher's and the images' too, makes a row of its own that says what it differs in."""
    usual = student("rkd-d", 0.5)
    others = [
        (student("rkd-d", 0.6, steps=800), ""),  # has a column
        (student("rkd-d", 0.6, normalize=False), ""),  # has a column
        (student("rkd-d", 0.6, lr=0.01), "lr=0.01"),
        (student("rkd-d", 0.6, params={"weight": 3}), "weight=3"),
        (student("rkd-d", 0.6, fingerprint="beef"), "fingerprint=beef"),
        (record("rkd-d", 0.6, teacher=TEACHER.replace(steps=7)), "teacher.steps=7"),
    ]
    for other, settings in others:
        compared = Comparison([usual, other], KINDS)
        assert len(compared.cells) == len(compared.rows) == 2
        assert settings in {row.settings for row in compared.rows}
    seeds = [usual, student("rkd-d", 0.6, 1), record("rkd-d", 0.7, seed=2, teacher=TEACHER.replace(seed=2))]
    (cell,) = Comparison(seeds, KINDS).cells
    assert cell.recall == pytest.approx({0: 55, 2: 70})  # by teacher
    assert (cell.seeds, cell.teachers) == (3, 2)


def test_one_seed_with_two_teachers_is_one_sample():
    both = [student("rkd-d", 0.5), record("rkd-d", 0.7, teacher=TEACHER.replace(seed=5))]
    (cell,) = Comparison(both, KINDS).cells
    assert cell.recalled == (1, pytest.approx(60), None, None)


def test_settings_that_go_with_the_dimension_are_one_row():
    """A learning rate tuned for each dimension is not two methods."""
    compared = Comparison([student("rkd-d", 0.5, lr=1e-3), student("rkd-d", 0.6, lr=1e-2, dim=32)], KINDS)
    (row,) = compared.rows
    assert row.settings == "" and compared.dims == [16, 32]


@pytest.mark.parametrize("change", [{"steps": 800}, {"backbone": "conv4-32"}, {"dim": 32}, {"fingerprint": "beef"}])
def test_the_baseline_is_of_the_same_kind(change):
    ours = student("rkd-d", 0.6)
    assert _difference(ours, record("triplet", 0.5)) is not None
    assert _difference(ours, record("triplet", 0.5, **change)) is None


def _difference(ours, *others):
    compared = Comparison([ours, *others], KINDS)
    (cell,) = (cell for cell in compared.cells if ours in cell.records)
    return compared.difference(cell)


def test_of_two_baselines_the_one_most_alike():
    raw, l2 = record("triplet", 0.5, normalize=False, lr=0.5), record("triplet", 0.4)
    tuned = record("triplet", 0.3, lr=0.5)
    for ours, points in ((student("rkd-d", 0.6, normalize=False), 10), (student("rkd-d", 0.6), 20)):
        assert _difference(ours, raw, l2, tuned).mean == pytest.approx(points)


def test_roles():
    """A run without a teacher is one once another run names it; a student that taught is still a student."""
    first = student("rkd-d", 0.5)
    second = record("fitnet", 0.6, teacher=first.spec)
    found = Comparison([teacher(), first, second, record("triplet"), record("untrained", steps=0)], KINDS).roles
    assert [found[one.id] for one in (teacher(), first, second)] == ["teacher", "relational", "individual"]
    assert found[record("triplet").id] == "baseline" and found[record("untrained", steps=0).id] == "untrained"
    assert Comparison([teacher()], KINDS).roles == {teacher().id: "baseline"}
    assert Comparison([student("forgotten", 0.5)], KINDS).cells[0].row.role == "other"


def test_frozen_features_are_a_reference():
    """In every dimension's table, as the teacher; never the best; and the teacher itself where they teach."""
    frozen = {"steps": 0, "dim": 20, "backbone": "vectors"}
    taught = record("features", 0.99, **{**frozen, "dim": 24, "backbone": "teacher-vectors"})
    runs = [taught, record("features", 0.93, **frozen)]
    runs += [record("rkd-d", 0.6, seed=seed, backbone="vectors", teacher=taught.spec) for seed in range(2)]
    found = Comparison(runs, {**KINDS, "features": "none"}).roles
    assert [found[run.id] for run in runs] == ["teacher", "features", "relational", "relational"]
    text = markdown(Comparison(runs, {**KINDS, "features": "none"}), "vectors")
    assert (
        text.count("## d = ") == 1
        and "## d = 16" in text
        and text.split("## d = 16")[1].split("## ")[0].count("vectors-20") == 1
    )
    assert "60.00" in text and "**93.00" not in text and "frozen features are not compared in this" in text
    assert " px" not in text


def test_agreement_with_the_teacher_is_named(tmp_path):
    run = student("rkd-d", 0.6)
    run = run.model_copy(update={"evaluation": run.evaluation.model_copy(update={"relevance": "teacher"})})
    words = "agreement with the teacher's 10 nearest neighbours"
    text = markdown(Comparison([run], KINDS), "vectors")
    assert f"Percent of {words}" in text and words in text.split("## Notes")[1]
    assert words not in markdown(Comparison([student("rkd-d", 0.6)], KINDS), "vectors")
    save(tmp_path, [run])
    assert words in " ".join(shown(terminal_table(Folder.read(tmp_path, KINDS))).split())


def test_bold_are_students_alone():
    runs = [teacher(), record("untrained", 0.9, steps=0)]
    for seed in range(6):
        runs += [record("triplet", 0.5 + (seed % 3) / 1000, seed=seed), student("rkd-d", 0.6 + (seed % 2) / 1000, seed)]
    text = markdown(Comparison(runs, KINDS), "q")
    table = text.split("## Recall@1")[1].split("## ")[0]
    assert table.count("**") == 2 and "**60.05 ± 0.05**" in table
    assert "90.00" in table and DASH in table


def test_a_method_that_does_not_apply_is_a_row_of_dashes_with_a_reason():
    heads = [teacher(), student("rkd-d", 0.6, views=4)]
    text = markdown(Comparison(heads, KINDS, ["attention"]), "q")
    (row,) = [line for line in text.splitlines() if line.startswith("| individual (IKD)")]
    assert re.fullmatch(r"\| individual \(IKD\) +\| attention +(\| +– +|\| – +)+\|", row), row
    assert "Not applicable: attention. These methods need feature maps" in text
    images = markdown(Comparison([teacher(), student("rkd-d", 0.6)], KINDS, ["attention"]), "q")
    assert "attention" not in images


def test_the_steps_figure_has_a_line_a_method_of_three_lengths():
    runs = [student("rkd-d", 0.5 + steps / 1e4, seed=seed, steps=steps) for steps in (10, 20, 40) for seed in (0, 1)]
    runs += [record("triplet", 0.5, steps=10), record("triplet", 0.5, steps=20), teacher()]
    figure = steps_figure(Comparison(runs, KINDS))
    assert figure == steps_figure(Comparison(runs[::-1], KINDS)) and figure is not None
    assert ">rkd-d<" in figure and ">triplet<" not in figure and ">d = 16<" in figure
    # The teacher is far above all students: its line would leave the figure empty.
    assert ">above: teacher, 88.5<" in figure
    near = teacher().model_copy(update={"evaluation": record("triplet", 0.5045).evaluation})
    assert ">teacher<" in steps_figure(Comparison([*runs[:-1], near], KINDS))
    assert steps_figure(Comparison([run for run in runs if run.spec.steps != 40], KINDS)) is None


def test_curves_are_of_one_dimension():
    def tried(method, recall, **fields):
        run = record(method, recall, evaluation="validation", **fields)
        return run.model_copy(update={"curve": (Point(step=50, evaluation=run.evaluation),)})

    narrow = [tried("rkd-d", 0.4, teacher=TEACHER, lr=lr) for lr in (1e-2, 1e-3)] + [tried("triplet", 0.3)]
    drawn = curves_figure([*narrow, tried("rkd-d", 0.9, teacher=TEACHER, dim=128)])
    assert drawn == curves_figure(narrow) and ">rkd-d-16<" in drawn and ">triplet-16<" in drawn


def test_notes_name_what_is_flagged():
    runs = [record("triplet", 0.5, seed=seed) for seed in range(6)]
    plain = markdown(Comparison(runs, KINDS), "quick").split("## Notes")[1]
    assert "wide" not in plain and "+dirty" not in plain and "other images" not in plain and "versions" not in plain
    dirty, foreign = student("rkd-d", 0.5, code="abc+dirty"), student("fitnet", 0.5, fingerprint="beef", steps=3)
    notes = markdown(Comparison([*runs, dirty, foreign], KINDS), "quick").split("## Notes")[1].splitlines()
    assert any("+dirty): " in line and f"`rkd-d-{dirty.id}`." in line for line in notes)
    assert any("§ other images" in line and f"`fitnet-{foreign.id}`." in line for line in notes)
    assert any("rows of 1 seed:" in line for line in notes)
    assert any("different numbers of steps" in line for line in notes)
    assert any("1a2b3c4 (7 runs), abc+dirty (1 run)" in line for line in notes)


def test_a_new_column_is_in_every_format(monkeypatch):
    """One entry of a list, and CSV, Markdown, LaTeX, the page and a terminal's table have it, with its unit, decimals and note."""
    worst = Column(
        "worst seed",
        "worst",
        "%",
        1,
        of=lambda cell: min(cell.recall.values()) if len(cell.recall) > 1 else None,
        note="one seed",
    )
    loss = Column("final loss", "loss", "", 2, of=lambda record: record.loss)
    monkeypatch.setattr(columns, "of_cells", lambda compared: [*of_cells(compared), worst])
    monkeypatch.setattr(columns, "of_runs", lambda compared: [*of_runs(compared), loss])
    runs = [record("triplet", 0.5 + seed / 50, seed=seed) for seed in range(3)] + [student("rkd-d", 0.6)]
    files = Folder(Path("glyphs/quick"), runs, [], KINDS).files()
    lines = rows(files["comparison.csv"])
    assert [line["worst seed [%]"] for line in lines] == ["50.0", "", ""]  # triplet, rkd-d, the family
    assert [line["final loss"] for line in rows(files["runs.csv"])] == ["0.12"] * 4
    detail = files["comparison.md"].split("## d = 16")[1].split("## ")[0].splitlines()
    assert [line.split("|")[-2].strip() for line in detail if line.startswith("|")] == [
        "worst",
        "----:",
        "50.0",
        DASH,
        DASH,
    ]
    assert r" & worst \\" in files["comparison.tex"] and r" & 50.0 \\" in files["comparison.tex"]
    html = files["report.html"]
    assert '<button type="button">worst</button>' in html and 'data-number="50.0">50.0</td>' in html
    assert f'<abbr title="one seed">{DASH}</abbr>' in html
    assert '<button type="button">loss</button>' in html and 'data-number="0.123456">0.12</td>' in html


def test_fixed_decimals():
    assert [fixed(value, 2) for value in (-0.001, 1.0, 66.666)] == ["0.00", "1.00", "66.67"]


def test_tuning_alone_and_nothing(tmp_path):
    with pytest.raises(UsageError, match="no results"):
        result_folders(tmp_path)
    with pytest.raises(UsageError, match="no results"):
        Folder.read(tmp_path, KINDS).write()
    assert not list(tmp_path.iterdir())
    folder = tmp_path / "glyphs" / "quick"
    save(folder, golden_tuning(), "tuning")
    assert result_folders(tmp_path) == result_folders(folder) == [folder]
    assert Folder.read(folder, KINDS).write() == [folder / "tuning.csv"]
    save(tmp_path / "cars" / "cpu", [teacher()])
    assert result_folders(tmp_path) == [tmp_path / "cars" / "cpu", folder]


def test_a_damaged_record_writes_nothing(tmp_path):
    save(tmp_path, [teacher()])
    (tmp_path / "runs" / "triplet-0123456789.json").write_text("{")
    with pytest.raises(BenchmarkError, match="triplet-0123456789"):
        Folder.read(tmp_path, KINDS).write()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_the_catalogue_knows_the_kinds(tmp_path):
    save(tmp_path, [teacher(), record("triplet"), student("rkd-da", 0.6), student("fitnet", 0.6)])
    Folder.read(tmp_path).write()
    found = {one["method"]: one["role"] for one in rows((tmp_path / "comparison.csv").read_text())}
    assert found == {
        "multi-similarity": "teacher",
        BASELINE: "baseline",
        "fitnet": "individual",
        "rkd-da": "relational",
        "mean of 1 method": "relational family",
    }


def test_terminal_table(tmp_path):
    save(tmp_path, golden_records())
    text = shown(terminal_table(Folder.read(tmp_path, KINDS)), width=160)
    assert "rkd-d (weight=2.0)" in text and "88.50" in text and "*" not in text


def test_no_torch(tmp_path):
    """Tables are made on a laptop, in a second."""
    save(tmp_path, [teacher(), record("triplet"), record("triplet", seed=1)])
    code = """if True:
        import sys
        from pathlib import Path
        from benchmark.report.write import Folder
        Folder.read(Path(sys.argv[1])).write()
        heavy = {"torch", "faiss", "timm"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


if __name__ == "__main__":
    for kind, records in (("runs", golden_records()), ("tuning", golden_tuning())):
        shutil.rmtree(GOLDEN / kind, ignore_errors=True)
        save(GOLDEN, records, kind)
    write_costs(GOLDEN, golden_costs())
    print(*Folder.read(GOLDEN, KINDS).write(), sep="\n")


def test_what_taught_itself_is_of_no_family(tmp_path):
    """By the catalogue s2sd is relational; it has no teacher, so that it says nothing about what a teacher transfers."""
    runs = [teacher()]
    for seed, dim in itertools.product(range(3), (16, 32)):
        runs += [student(name, 0.5, seed, dim=dim) for name in ("fitnet", "rkd-d")]
        runs += [record(name, 0.9, seed=seed, dim=dim) for name in ("s2sd", "triplet")]
    folder = Folder(tmp_path / "glyphs" / "quick", runs, [])
    assert {cell.row.method: cell.row.role for cell in folder.compared.cells}["s2sd"] == "self-taught"
    pools = Families(folder.compared).pools
    assert [[row.method for row in pool.rows] for pool in pools] == [["fitnet"], ["rkd-d"]]
    write_costs(folder.path, golden_costs())
    written = write_files(folder.path, folder.files())  # figures too
    assert {path.name for path in written} >= {"differences.svg", "dimension.svg", "cost.svg", "report.html"}
    assert "| self-taught | s2sd" in re.sub(" +", " ", (folder.path / "comparison.md").read_text())


def test_the_trunk_of_students_is_nothing_that_was_tried() -> None:
    """Of a method that is a teacher's as well, which reads images; each of its trunk's settings would be a column."""
    words = {"dataset": "glyphs", "method": "multi-similarity", "evaluation": "validation", "backbone": "conv4-8"}
    teacher = Spec(**words, pretrained=False)
    student = Spec(**words, lr=1e-3, views=2, trunk=teacher)
    metrics = {"recall@1": 0.5, "map@r": 0.25}
    scored = Evaluation(l2=metrics, cosine=metrics, queries=9, dropped=0, gallery=9)
    records = [
        Record(id=spec.id, spec=spec, evaluation=scored, loss=0.5, parameters=1, seconds={}, data="f00d", weights="",
               teacher=None, environment={})
        for spec in (teacher, student)
    ]  # fmt: skip
    head = tuning_csv(records).splitlines()[0].split(",")
    assert "views" in head and not [name for name in head if name.startswith("trunk")]
