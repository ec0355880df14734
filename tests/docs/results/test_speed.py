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


def table_of(first):
    return next(table for table in tables_of(PAGE) if table[0][0] == first)


def test_many_prompts_and_tokens_are_as_recorded():
    figures = recorded("together.json")
    rows = [(cells[1:], figures[name]) for cells, name in zip(table_of("model")[1:], ("bundled", "gpt2"), strict=True)]
    for cells, found in rows:
        assert cells == [
            str(found["prompts"]),
            f"{1000 * found['single_call_seconds']:.0f} ms",
            f"{1000 * found['together_seconds']:.0f} ms",
            f"{found['share']:.2f}",
        ]
    assert figures["bundled"]["share"] <= 0.4
    assert f"at most {figures['bundled']['largest_difference']:.0e} in m" in text_of(PAGE)
    per_jacobian = figures["tokens"]["seconds_per_jacobian"]
    assert table_of("kind and tokens")[1:] == [[name, f"{1000 * s:.1f} ms"] for name, s in per_jacobian.items()]
    assert per_jacobian["self"] <= per_jacobian["depth, last token"]
    assert f"load {figures['load'][0]:.0f} on 2 cores" in text_of(PAGE)


def test_estimates_are_as_recorded_and_within_a_factor_of_two():
    rows = recorded("together.json")["estimates"]
    assert table_of("run")[1:] == [
        [row["run"], f"{row['estimated']:.2f} s", f"{row['measured']:.2f} s"] for row in rows
    ]
    assert all(0.5 <= row["estimated"] / row["measured"] <= 2 for row in rows)
