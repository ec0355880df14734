"""The pipeline of this engine: its time, stage by stage, its memory, and its error against float64."""

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

import coupling
from benchmarks.full_svd import mismatch_of_pairs, with_full_svd
from benchmarks.memory import Clock, PeakMemory
from benchmarks.operations import Operations
from benchmarks.results import progress
from coupling.factory import Factory, compared
from coupling.linalg.jacobian import DenseJacobian
from coupling.linalg.pairwise import compare, factor
from coupling.measurement import plan_of
from coupling.models.blocks import find_blocks
from coupling.models.recording import record_blocks
from coupling.settings import Settings
from coupling.side_by_side import make_side_by_side

STAGES: tuple[str, ...] = ("forward and record", "linearize", "Jacobians", "singular vectors", "compare")


def measure_engine(
    model: nn.Module, prompts: list[Tensor], k: int, repeats: int, clock: Clock = time.perf_counter
) -> list[dict[str, Any]]:
    """Measure the engine at every prompt length.

    The lengths take turns, so that a drift of the machine's speed affects all of them equally.

    Args:
        model: the model.
        prompts: one per length, (1, n).
        k: number of top singular vectors.
        repeats: runs per length; their median is reported.
        clock: what counts the time.

    Returns:
        One result per prompt length; ``exact`` is the mismatch in float64.
    """
    results = [_memory_and_error(model, ids, k) for ids in prompts]
    runs: list[list[tuple[float, float, float, dict[str, float]]]] = [[] for _ in prompts]
    peaks = []
    for turn in range(repeats):
        progress(f"engine, turn {turn + 1} of {repeats}")
        peaks.append(gemm_peak(width_of(model), str(prompts[0].device), clock))
        for ids, runs_of_prompt in zip(prompts, runs, strict=True):
            runs_of_prompt.append(_time_once(model, ids, k, clock))
    peak = max(peaks)
    for ids, result, runs_of_prompt in zip(prompts, results, runs, strict=True):
        result |= _medians(runs_of_prompt)
        bounds = {stage: operations / peak for stage, operations in stage_operations(model, ids, k).items()}
        result |= {
            "gemm_peak": peak,
            "bounds": bounds,
            "bound_seconds": sum(bounds.values()),
            "share_of_bound": sum(bounds.values()) / result["engine_seconds"],
        }
    return results


def engine_pipeline(model: nn.Module, ids: Tensor, k: int) -> Float[np.ndarray, "block other_block"]:
    """The mismatch of all pairs of blocks at p = 2 as ``coupling.measure`` computes it, without hash and Dataset.

    Args:
        model: the model.
        ids: the prompt, (1, n).
        k: number of top singular vectors.
    """
    recording = record_blocks(model, find_blocks(model)[1], {"input_ids": ids})
    settings = Settings((k,))
    plan = plan_of(recording, settings)
    (group,) = plan.groups()
    factory = Factory(recording, plan, settings)
    for _ in make_side_by_side(factory, compared([group])):
        pass
    factored = [factory(key, n_compared=len(group.a)) for key in group.a]
    return compare(factored, factored, (k,))["mismatch"][0, 1]  # the only K, and p = 2


def engine_stages(
    model: nn.Module, ids: Tensor, k: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """What each stage takes, where every Jacobian is made by all threads and one after the other.

    Args:
        model: the model.
        ids: the prompt, (1, n).
        k: number of top singular vectors.
        clock: what is counted: the time, or anything else that grows.
    """
    _, blocks = find_blocks(model)
    stages = dict.fromkeys(STAGES, 0.0)
    before = clock()

    def lap(stage: str) -> None:
        nonlocal before
        now = clock()
        stages[stage] += now - before
        before = now

    recording = record_blocks(model, blocks, {"input_ids": ids})
    lap("forward and record")
    factored = []
    for block in range(recording.n_blocks):
        jacobian = recording.jacobian(block, recording.n_tokens - 1)
        lap("linearize")
        matrix = DenseJacobian(jacobian.to_dense())
        lap("Jacobians")
        factored.append(factor(matrix, k, n_compared=recording.n_blocks))
        lap("singular vectors")
    compare(factored, factored, (k,))
    lap("compare")
    return stages


def stage_operations(model: nn.Module, ids: Tensor, k: int) -> dict[str, float]:
    """The operations of the matrix products of each stage; divided by the GEMM peak, a bound of its time.

    A model that is measured for the first time is also checked in the recording pass, and those operations count, too.
    """
    with Operations() as operations:
        return engine_stages(model, ids, k, lambda: float(operations.count))


def reference(model: nn.Module, ids: Tensor, k: int) -> Float[np.ndarray, "block other_block"]:
    """The mismatch in float64 from full SVDs; the tests compare the Jacobians themselves with autograd."""
    double = copy.deepcopy(model).double()
    _, blocks = find_blocks(double)
    recording = record_blocks(double, blocks, {"input_ids": ids})
    last = recording.n_tokens - 1
    matrices = (recording.jacobian(block, last).to_dense() for block in range(recording.n_blocks))
    return mismatch_of_pairs([with_full_svd(matrix, k) for matrix in matrices])


def gemm_peak(hidden: int, device: str, clock: Clock = time.perf_counter) -> float:
    """The highest rate that a matrix product of the block's shape reached, in operations per second."""
    a, b = torch.randn(hidden, 4 * hidden, device=device), torch.randn(4 * hidden, hidden, device=device)
    seconds = []
    for _ in range(30):
        before = clock()
        _ = a @ b
        seconds.append(clock() - before)
    return 8 * hidden**3 / min(seconds)


def width_of(model: nn.Module) -> int:
    """d, the size of the residual stream."""
    return int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]


def _memory_and_error(model: nn.Module, ids: Tensor, k: int) -> dict[str, Any]:
    """The engine's peak memory and its error at one prompt length; a first run, which is not timed."""
    with torch.no_grad():
        model(ids, use_cache=False)
    with PeakMemory(str(ids.device)) as memory:
        mismatch = engine_pipeline(model, ids, k)
    progress(f"n = {ids.shape[1]}: float64 reference")
    exact = reference(model, ids, k)
    return {
        "tokens": ids.shape[1],
        "engine_peak_bytes": memory.peak,
        "exact": exact,
        "engine_error": float(np.abs(mismatch - exact).max()),
    }


def _time_once(model: nn.Module, ids: Tensor, k: int, clock: Clock) -> tuple[float, float, float, dict[str, float]]:
    """The seconds of the model's own forward pass, of the engine, of the default call, and of each engine stage."""
    start = clock()
    with torch.no_grad():
        model(ids, use_cache=False)
    middle = clock()
    engine_pipeline(model, ids, k)
    end = clock()
    coupling.measure(model, ids, k)
    default = clock() - end
    return middle - start, end - middle, default, engine_stages(model, ids, k, clock)


def _medians(runs: list[tuple[float, float, float, dict[str, float]]]) -> dict[str, Any]:
    """The medians over the runs at one prompt length, from what ``_time_once`` returned."""
    forward, engine, default, stages = zip(*runs, strict=True)
    return {
        "engine_seconds": statistics.median(engine),
        "default_call_seconds": statistics.median(default),
        "forward_seconds": statistics.median(forward),
        "beyond_forward_seconds": statistics.median(
            seconds - own for seconds, own in zip(engine, forward, strict=True)
        ),
        "stages": {stage: statistics.median(run[stage] for run in stages) for stage in STAGES},
    }
