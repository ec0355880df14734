"""Several analyses on one machine at once: the seconds per prompt of each, with and without a bounded spin.

Run it from the root of the repository as ``python -m benchmarks.sharing``. The variants and the numbers of processes
take turns, so that a drift of the machine's speed affects all of them equally.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.results import progress
from coupling.threads import SPIN_COUNT, VARIABLE

COPIES = (1, 2, 4)


def child(arguments: argparse.Namespace) -> None:
    """One process: measures once to warm up, says so, waits for the word, and prints its seconds per prompt."""
    import torch

    import coupling
    from benchmarks.engine import VOCABULARY, build

    model = build(arguments.layers, arguments.hidden, arguments.heads, arguments.tokens, "cpu")
    ids = torch.randint(0, VOCABULARY, (1, arguments.tokens), generator=torch.Generator().manual_seed(0))
    coupling.measure(model, ids)
    print("ready", flush=True)
    sys.stdin.readline()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(arguments.prompts):
        coupling.measure(model, ids)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(json.dumps({"seconds": wall / arguments.prompts, "cpu": processor / arguments.prompts}), flush=True)


def at_once(copies: int, spin: str | None, options: list[str]) -> list[dict[str, float]]:
    """The results of several processes that start together."""
    environment = {key: value for key, value in os.environ.items() if key not in (VARIABLE, "OMP_WAIT_POLICY")}
    if spin is not None:
        environment[VARIABLE] = spin
    command = [sys.executable, "-m", "benchmarks.sharing", "--child", *options]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) for _ in range(copies)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(process.communicate()[0]) for process in processes]


def run(arguments: argparse.Namespace, options: list[str]) -> list[dict[str, Any]]:
    """The medians over the turns: one row per variant and number of processes."""
    spins: list[str | None] = [None, *map(str, arguments.spin or [SPIN_COUNT])]
    found: dict[tuple[str | None, int], list[dict[str, float]]] = {}
    for turn in range(arguments.turns):
        for copies in COPIES:
            for spin in spins:
                progress(f"turn {turn + 1} of {arguments.turns}: {copies} at once, spin count {spin or 'unset'}")
                found.setdefault((spin, copies), []).extend(at_once(copies, spin, options))
    return [
        {
            "spin": spin,
            "copies": copies,
            "seconds": statistics.median(item["seconds"] for item in items),
            "slowest": max(item["seconds"] for item in items),
            "cpu": statistics.median(item["cpu"] for item in items),
        }
        for (spin, copies), items in found.items()
    ]


def parse_arguments() -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharing", description=str(__doc__).splitlines()[0])
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--heads", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=32, help="prompt length")
    parser.add_argument("--prompts", type=int, default=3, help="prompts that each process measures")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--spin", type=int, action="append", help="spin count that is tried; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Parse the arguments, measure, print."""
    arguments = parse_arguments()
    if arguments.child:
        child(arguments)
        return
    shape = ("layers", "hidden", "heads", "tokens", "prompts")
    load = [round(value, 1) for value in os.getloadavg()]  # before: on a quiet machine it is near 0
    results = run(arguments, [word for name in shape for word in (f"--{name}", str(getattr(arguments, name)))])
    if arguments.out is not None:
        figures = {name: getattr(arguments, name) for name in shape} | {"load_before": load, "rows": results}
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    table = Table("spin count", "at once", "seconds per prompt", "slowest", "CPU seconds", box=box.SIMPLE_HEAD)
    for row in results:
        times = (f"{row[key]:.2f}" for key in ("seconds", "slowest", "cpu"))
        table.add_row(row["spin"] or "unset", str(row["copies"]), *times)
    Console().print(table)


if __name__ == "__main__":
    main()
