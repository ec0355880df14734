"""How the results of the benchmark are printed."""

import sys
from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def progress(message: str) -> None:
    """Print a progress message on stderr."""
    print(message, file=sys.stderr, flush=True)


def print_results(results: list[dict[str, Any]], console: Console) -> None:
    """Print the results as a table with one column per prompt length."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for result in results:
        table.add_column(f"n = {result['tokens']}", justify="right")

    def row(label: str, key: str, form: Callable[[Any], str]) -> None:
        if any(key in result for result in results):
            table.add_row(label, *(form(result[key]) if key in result else "-" for result in results))

    row("naive, best chunk", "naive_seconds", lambda v: f"{v:.1f} s")
    row("  its chunk size", "naive_chunk", str)
    row("  rows of each Jacobian timed", "naive_rows", str)
    row("this engine", "engine_seconds", lambda v: f"{v:.2f} s")
    row("coupling.measure, as called by default", "default_call_seconds", lambda v: f"{v:.2f} s")
    row("times faster", "ratio", lambda v: f"{v:.0f}")
    row("naive, peak memory", "naive_peak_bytes", lambda v: f"{v / 2**20:.0f} MB")
    row("engine, peak memory", "engine_peak_bytes", lambda v: f"{v / 2**20:.0f} MB")
    row("naive, largest error in m", "naive_error", lambda v: f"{v:.1e}")
    row("engine, largest error in m", "engine_error", lambda v: f"{v:.1e}")
    row("the model's own forward pass", "forward_seconds", lambda v: f"{v:.2f} s")
    row("engine beyond the forward pass", "beyond_forward_seconds", lambda v: f"{v:.2f} s")
    table.add_section()
    for stage in results[0]["stages"]:
        table.add_row(
            f"{stage} (its products at the peak)",
            *(f"{r['stages'][stage]:.2f} s ({r['bounds'][stage]:.2f})" for r in results),
        )
    row("GEMM peak of this machine", "gemm_peak", lambda v: f"{v / 1e9:.0f} GFLOP/s")
    row("all products of the engine at that peak", "bound_seconds", lambda v: f"{v:.2f} s")
    row("share of that bound reached", "share_of_bound", lambda v: f"{v:.0%}")
    console.print(table)
