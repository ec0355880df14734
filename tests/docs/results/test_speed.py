"""The tables of the page are those of the recorded figures."""

import json

from coupling.threads import SPIN_COUNT
from tests.docs.pages import ROOT, tables_of, text_of

PAGE = "results/speed.md"


def recorded(name):
    return json.loads((ROOT / "benchmarks/recorded" / name).read_text(encoding="utf-8"))


def table_of(first):
    return next(table for table in tables_of(PAGE) if table[0][0] == first)


def seconds(value):
    return f"{value:.2f} s"


def naive(result):
    return f"{result['naive_seconds']:.0f} s"


def test_the_engine_beside_the_naive_pipeline_is_as_recorded():
    figures = recorded("engine.json")
    results = next(iter(figures["models"].values()))
    head, *rows = table_of("")
    assert head[1:] == [f"n = {result['tokens']}" for result in results] == ["n = 32", "n = 128", "n = 512"]
    cells = {name: values for name, *values in rows}
    mega = 2**20
    expected = {
        "naive": naive,
        "this engine": lambda r: seconds(r["engine_seconds"]),
        "**times faster**": lambda r: f"**{r['ratio']:.0f}**",
        "`coupling.measure`, as called by default": lambda r: seconds(r["default_call_seconds"]),
        "the model's own forward pass": lambda r: seconds(r["forward_seconds"]),
        "the engine beyond it": lambda r: seconds(r["beyond_forward_seconds"]),
        "bound by the count of operations": lambda r: seconds(r["bound_seconds"]),
        "share of that bound reached": lambda r: f"{r['share_of_bound']:.0%}",
        "peak memory beyond the model, engine (naive)": lambda r: (
            f"{r['engine_peak_bytes'] / mega:.0f} MB ({r['naive_peak_bytes'] / mega:.0f})"
        ),
        "largest error in m": lambda r: f"{r['engine_error']:.0e}",
    }
    assert cells == {name: [form(result) for result in results] for name, form in expected.items()}
    assert all(result["engine_error"] <= 1e-6 for result in results)
    for result in results:
        assert abs(result["ratio"] - result["naive_seconds"] / result["engine_seconds"]) < 1e-9
    of_128, of_512 = (next(r for r in results if r["tokens"] == n) for n in (128, 512))
    text = text_of(PAGE)
    assert figures["threads"] == 2
    assert not figures["processor_time"]
    assert "on two cores" in text
    assert f"{of_128['naive_rows']} of the 768 rows" in text
    assert f"{of_128['gemm_peak'] / 1e9:.0f} GFLOP/s" in text
    # the goals, and whether they are met, are said plainly
    assert f"130 times at n = 128 (measured: {of_128['ratio']:.0f})" in text
    assert f"400 times at n = 512 (measured: {of_512['ratio']:.0f})" in text


def test_the_stages_are_as_recorded():
    results = next(iter(recorded("engine.json")["models"].values()))
    result = next(result for result in results if result["tokens"] == 128)
    assert table_of("stage")[1:] == [
        [stage, seconds(time), seconds(result["bounds"][stage])] for stage, time in result["stages"].items()
    ]


def test_what_the_bounds_allow_is_computed_from_them():
    results = next(iter(recorded("engine.json")["models"].values()))
    result = next(result for result in results if result["tokens"] == 128)
    stages, bounds, text = result["stages"], result["bounds"], text_of(PAGE)
    assert f"{result['naive_seconds'] / result['bound_seconds']:.0f} times faster than the naive pipeline" in text
    assert f"reach {bounds['Jacobians'] / stages['Jacobians']:.0%} of the GEMM peak" in text
    together = sum(stages.values())
    assert f"Together that is {together:.2f} s. The engine takes {result['engine_seconds']:.2f} s" in text
    spared = stages["Jacobians"] - bounds["Jacobians"] + stages["linearize"]
    assert f"would take {1 - spared / together:.2f} of the time" in text


def test_real_weights_beside_random_ones_are_as_recorded():
    rows = []
    for name, results in recorded("engine.json")["models"].items():
        result = next(result for result in results if result["tokens"] == 128)
        rows.append(
            [
                name,
                naive(result),
                seconds(result["engine_seconds"]),
                f"{result['ratio']:.0f}",
                f"{result['share_of_bound']:.0%}",
                seconds(result["stages"]["singular vectors"]),
                f"{result['engine_error']:.0e}",
            ]
        )
    assert table_of("weights, n = 128")[1:] == rows


def test_several_analyses_at_once_are_as_recorded():
    found = {(row["spin"], row["copies"]): row["seconds"] for row in recorded("sharing.json")["rows"]}
    (bound,) = {spin for spin, _ in found} - {None}
    assert bound == str(SPIN_COUNT)
    shares = {copies: found[bound, copies] / found[bound, 1] for copies in (1, 2, 4)}
    assert table_of("analyses at once")[1:] == [
        [str(copies), seconds(found[None, copies]), seconds(found[bound, copies]), f"{share:.2f}"]
        for copies, share in shares.items()
    ]
    assert shares[2] <= 2.2
    assert shares[4] <= 4.5
    assert found[bound, 1] <= 1.03 * found[None, 1]


def test_a_long_prompt_is_as_recorded():
    figures = recorded("long_prompt.json")
    assert (figures["tokens"], figures["blocks"], figures["width"]) == (8192, 30, 576)
    assert table_of("8,192 tokens")[1:] == [
        ["the model's own forward pass", f"{figures['forward_seconds']:.1f} s", ""],
        ["32 tokens measured", f"{figures['short_seconds']:.1f} s", ""],
        ["measured, the first time", f"{figures['first_seconds']:.1f} s", f"{figures['first_ratio']:.2f}"],
        ["measured again", f"{figures['again_seconds']:.1f} s", f"{figures['again_ratio']:.2f}"],
    ]
    assert figures["again_ratio"] <= figures["first_ratio"] <= 1.5
    assert f"{figures['peak_bytes'] / 1e9:.1f} GB" in text_of(PAGE)


def test_the_errors_of_each_precision_are_those_recorded():
    table = next(table for table in tables_of(PAGE) if table[0][0] == "setting")
    figures = ("largest_error", "mean_error", "largest_singular_value")
    assert table[1:] == [
        [row["setting"], *(f"{row[figure]:.0e}" for figure in figures)] for row in recorded("precision.json")
    ]


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
    assert f"a share of 0.4 for the bundled checkpoint (measured: {figures['bundled']['share']:.2f})" in text_of(PAGE)
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
