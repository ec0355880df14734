"""The first table's numbers agree with each other, and the other tables are those of the recorded figures."""

import json

from tests.docs.pages import ROOT, tables_of, text_of

PAGE = "results/speed.md"


def test_how_many_times_faster():
    _, *rows = tables_of(PAGE)[0]
    cells = {name: values for name, *values in rows}
    naive, engine = (
        [float(cell.removesuffix(" s")) for cell in cells[name]] for name in ("naive, best chunk", "this engine")
    )
    ratios = [int(cell.strip("*")) for cell in cells["**times faster**"]]
    assert all(abs(slow / fast - ratio) < 1 for slow, fast, ratio in zip(naive, engine, ratios, strict=True))


def test_the_stages_add_up():
    text = text_of(PAGE)
    stages = [1.01, 0.75, 0.24, 0.13, 0.07]
    assert all(f"{stage:.2f} s" in text for stage in stages)
    assert abs(sum(stages) - 2.23) < 0.05


def recorded(name):
    return json.loads((ROOT / "benchmarks/recorded" / name).read_text(encoding="utf-8"))


def test_the_errors_of_each_precision_are_those_recorded():
    table = next(table for table in tables_of(PAGE) if table[0][0] == "setting")
    figures = ("largest_error", "mean_error", "largest_singular_value")
    assert table[1:] == [
        [row["setting"], *(f"{row[figure]:.0e}" for figure in figures)] for row in recorded("precision.json")
    ]
