"""Run the conformance suite: ``python -m benchmarks.conformance --out docs/compatibility.md``."""

import argparse
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import warnings
from math import ceil
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

from benchmarks.conformance.architectures import Pair, all_pairs
from benchmarks.conformance.judge import CRASH, NOT_TRIED, OUTCOMES, WRONG, judge
from benchmarks.conformance.report import write_report

SECONDS = 60
"""Processor time of one model; a busy machine changes no outcome."""
PATIENCE = 20
"""How many times that it may take by the clock."""
MEMORY = 6 * 2**30


def main(arguments: list[str] | None = None) -> int:
    """Judge every pair, or the named ones, and write the table; the exit status is 1 where a row is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance", description=__doc__)
    parser.add_argument("--out", type=Path, help="the table to write, in Markdown")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="model types or classes; the default is all")
    parser.add_argument("--group", nargs="+", help="groups: causal, masked, image, backbone, base")
    parser.add_argument("--json", type=Path, help="every row as JSON, written as the suite runs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="processor time of one model")
    options = parser.parse_args(arguments)
    pairs = [
        pair for pair in all_pairs() if options.only is None or {pair.model_type, pair.class_name} & {*options.only}
    ]
    pairs = [pair for pair in pairs if options.group is None or pair.group in options.group]
    start = time.perf_counter()
    rows = run(pairs, options.workers, options.seconds, options.json)
    seconds = time.perf_counter() - start
    counts = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in OUTCOMES}
    print(f"{len(rows)} pairs in {seconds:.0f} s: " + ", ".join(f"{n} {outcome}" for outcome, n in counts.items()))
    if options.out:
        write_report(rows, options.out, transformers.__version__)
    return int(counts[WRONG] + counts[CRASH] > 0)


def run(pairs: list[Pair], workers: int, seconds: float, path: Path | None) -> list[dict[str, Any]]:
    """Judge each pair in a process of its own, a fork of this one, within limits of time and memory."""
    context = multiprocessing.get_context("fork")
    waiting, rows = list(reversed(pairs)), dict[str, dict[str, Any]]()
    active: list[tuple[Pair, BaseProcess, Connection, float]] = []
    saved = time.perf_counter()
    while waiting or active:
        while waiting and len(active) < workers:
            pair = waiting.pop()
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(pair, sender, seconds), daemon=True)
            process.start()
            sender.close()
            active.append((pair, process, receiver, time.perf_counter()))
        for item in list(active):
            row = _row_of(item, seconds)
            if row is not None:
                active.remove(item)
                rows[item[0].name] = row
                print(
                    f"{row['outcome']:22} {item[0].name:60} {row.get('reason', '')[:150]}", file=sys.stderr, flush=True
                )
        if path is not None and (time.perf_counter() - saved > 5 or not (waiting or active)):
            saved = time.perf_counter()
            path.write_text(json.dumps([rows[p.name] for p in pairs if p.name in rows], indent=1))
        time.sleep(0.01)
    return [rows[pair.name] for pair in pairs]


def _row_of(item: tuple[Pair, BaseProcess, Connection, float], seconds: float) -> dict[str, Any] | None:
    """The result of a process, if it has one or has run out of time or memory."""
    pair, process, receiver, started = item
    row: dict[str, Any] = {"group": pair.group, "model_type": pair.model_type, "class": pair.class_name}
    timed_out = f"timed out after {seconds:.0f} s"
    if receiver.poll():
        try:
            row = receiver.recv()
        except EOFError:
            process.join()
            out_of_time = process.exitcode == -signal.SIGXCPU
            reason = timed_out if out_of_time else f"the process ended with status {process.exitcode}"
            row |= {"outcome": NOT_TRIED, "reason": reason}
        process.join()
        return row
    if time.perf_counter() - started > PATIENCE * seconds:
        process.kill()
        process.join()
        return row | {"outcome": NOT_TRIED, "reason": timed_out}
    return None


def _child(pair: Pair, sender: Connection, seconds: float) -> None:
    """Judge one pair and send its row."""
    warnings.filterwarnings("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (max(1, ceil(seconds)), resource.RLIM_INFINITY))
    torch.set_num_threads(1)
    try:
        row = judge(pair)
    except MemoryError:
        row = {"outcome": NOT_TRIED, "reason": "out of memory"}
    except Exception as error:
        row = {"outcome": NOT_TRIED, "reason": f"the suite itself fails: {type(error).__name__}: {str(error)[:300]}"}
    sender.send({"group": pair.group, "model_type": pair.model_type, "class": pair.class_name} | row)


if __name__ == "__main__":
    sys.exit(main())
