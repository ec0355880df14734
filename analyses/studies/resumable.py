"""What studies have in common that keep one small JSON file per run, and continue with the runs that are missing."""

import argparse
import hashlib
import json
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

from coupling.errors import CouplingError
from coupling.files import environment, write_atomically
from coupling.locking import locked
from coupling.programs import errors_in_one_line, quiet_libraries
from coupling.untrusted import read_json
from coupling.version import __version__

MOST = 2**20
"""The most bytes of a result."""


class Planned(Protocol):
    """One planned run of a study."""

    @property
    def file(self) -> str:
        """The name of the file of its result."""
        ...

    @property
    def design(self) -> str:
        """A hash of everything that the design says about the run; see ``design_hash``."""
        ...


Run = Callable[[Any, Path], dict[str, Any]]
"""Makes one planned run, unless its result is in the folder, writes its result, and returns it."""


def design_hash(content: Any) -> str:
    """A hash of what determines a run; a result of another design does not count.

    Example:
        >>> design_hash({"seed": 1}) == design_hash({"seed": 2})
        False
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_result(plan: Planned, out: Path) -> dict[str, Any] | None:
    """The result of a run of exactly this design; None if there is none, or it is damaged."""
    try:
        content = read_json(out / plan.file, MOST)
    except CouplingError:
        return None
    return content if isinstance(content, dict) and content.get("design") == plan.design else None


def write_result(plan: Planned, out: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Write a result with the design's hash and the versions of the libraries, and return it.

    Raises:
        CouplingError: if it cannot be written.
    """
    versions = {**environment("torch", "transformers", "trl"), "block-coupling": __version__}
    result = {**content, "design": plan.design, "environment": versions}
    write_atomically(out / plan.file, (json.dumps(result, indent=1) + "\n").encode())
    return result


def rounded(value: Any) -> float | None:
    """A number with five significant digits, as results keep it; None for none, or NaN.

    Example:
        >>> rounded(0.123456789), rounded(float("nan"))
        (0.12346, None)
    """
    return None if value is None or value != value else float(f"{value:.5g}")


def missing(plans: Sequence[Planned], out: Path, finished: Callable[[dict[str, Any]], bool] = bool) -> list[Any]:
    """The runs without a result.

    Args:
        plans: the planned runs.
        out: the folder of the results.
        finished: whether a result is that of a run that came to its end; default: every result is.
    """
    results = [(plan, read_result(plan, out)) for plan in plans]
    return [plan for plan, result in results if result is None or not finished(result)]


def run_all(run: Run, plans: Sequence[Planned], out: Path, workers: int) -> None:
    """Make runs, several at a time, with one line per run on stderr.

    Args:
        run: see ``Run``; a function of a module, because it is sent to other processes.
        plans: the runs.
        out: the folder of the results.
        workers: processes at a time; 1 makes the runs in this process.

    Raises:
        CouplingError: if a run fails.
    """
    if workers == 1:
        for index, plan in enumerate(plans):
            _report(index + 1, len(plans), plan, run(plan, out))
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads
    with ProcessPoolExecutor(workers, mp_context=context, initializer=quiet_libraries) as pool:
        futures = {pool.submit(run, plan, out): plan for plan in plans}
        try:
            for index, future in enumerate(as_completed(futures)):
                _report(index + 1, len(plans), futures[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _report(index: int, count: int, plan: Planned, result: dict[str, Any]) -> None:
    line = f"[{index}/{count}] {plan.file.removesuffix('.json')}: {result['ended']}, {result['seconds']:.0f} s"
    print(line, file=sys.stderr, flush=True)


def command(
    module: str,
    description: str,
    plans: Sequence[Planned],
    run: Run,
    write_results: Callable[[Path], str],
    out: Path,
    finished: Callable[[dict[str, Any]], bool] = bool,
) -> None:
    """A study's command: make what is missing, then write the tables and the pictures.

    Args:
        module: what follows ``python -m``.
        description: one sentence for its help.
        plans: all runs, in the order in which they are made.
        run: see ``Run``.
        write_results: called with the folder of the results; what it returns is printed.
        out: the folder of the results, where the option ``--out`` names no other.
        finished: see ``missing``.
    """
    arguments = _parser(module, description, out).parse_args()
    chosen_out: Path = arguments.out.resolve()
    quiet_libraries()
    with errors_in_one_line():
        if not arguments.summarize:
            with locked(chosen_out):
                run_all(run, missing(plans, chosen_out, finished)[: arguments.limit], chosen_out, arguments.workers)
        print(write_results(chosen_out))


def _parser(module: str, description: str, out: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--out", type=Path, default=out, help="folder of the results (default: with the code)")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="make at most this many runs")
    parser.add_argument("--summarize", action="store_true", help="run nothing; write the tables of what is there")
    return parser
