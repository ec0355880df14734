"""The printed table of the benchmark, and its progress messages."""

import io
import re

from rich.console import Console

from benchmarks.results import print_results, progress

ENGINE = {
    "tokens": 128,
    "engine_seconds": 1.25,
    "engine_peak_bytes": 2**30,
    "engine_error": 1.5e-7,
    "forward_seconds": 0.25,
    "beyond_forward_seconds": 1.0,
    "stages": {"linearize": 0.5, "Jacobians": 0.75},
    "gemm_peak": 100e9,
    "bounds": {"linearize": 0.25, "Jacobians": 0.5},
    "bound_seconds": 0.75,
    "share_of_bound": 0.6,
}
NAIVE = {"naive_seconds": 100.0, "naive_chunk": 16, "naive_rows": 768, "ratio": 80.0, "naive_peak_bytes": 2**21}


def printed(results) -> dict[str, list[str]]:
    """The cells of each row of the printed table, by its label."""
    console = Console(width=100, file=io.StringIO())
    print_results(results, console)
    rows = [re.split(r"  +", line.strip()) for line in console.file.getvalue().splitlines()]
    return {label: cells for label, *cells in rows}


def test_the_table():
    rows = printed([ENGINE | NAIVE, ENGINE])
    assert rows["naive, best chunk"] == ["100.0 s", "-"]
    assert rows["times faster"] == ["80", "-"]
    assert rows["engine, peak memory"] == ["1024 MB", "1024 MB"]
    assert rows["linearize (its products at the peak)"] == ["0.50 s (0.25)", "0.50 s (0.25)"]
    assert rows["all products of the engine at that peak"] == ["0.75 s", "0.75 s"]
    assert rows["share of that bound reached"] == ["60%", "60%"]


def test_rows_that_nothing_was_measured_for_are_left_out():
    assert "naive, best chunk" not in printed([ENGINE])


def test_progress_is_on_stderr(capsys):
    progress("working")
    assert capsys.readouterr() == ("", "working\n")
