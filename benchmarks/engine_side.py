"""The pipeline of this engine: its time, stage by stage, its memory, and its error against float64."""

import copy
import statistics
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Model

import coupling
from benchmarks.full_svd import mismatch_of_pairs, with_full_svd
from benchmarks.memory import PeakMemory, clock
from benchmarks.results import progress
from coupling.linalg.jacobian import DenseJacobian
from coupling.linalg.pairwise import compare, factor
from coupling.models.blocks import find_blocks
from coupling.models.recording import record_blocks

STAGES: tuple[str, ...] = ("forward and record", "linearize", "Jacobians", "singular vectors", "compare")


def measure_engine(model: GPT2Model, prompts: list[Tensor], k: int, repeats: int) -> list[dict[str, Any]]:
    """Measure the engine at every prompt length.

    The lengths take turns, so that a drift of the machine's speed affects all of them equally.

    Args:
        model: the model.
        prompts: one per length, (1, n).
        k: number of top singular vectors.
        repeats: runs per length; their median is reported.

    Returns:
        One result per prompt length; ``exact`` is the mismatch in float64.
    """
    results = [_memory_and_error(model, ids, k) for ids in prompts]
    runs: list[list[tuple[float, float, float, dict[str, float]]]] = [[] for _ in prompts]
    for turn in range(repeats):
        progress(f"engine, turn {turn + 1} of {repeats}")
        for ids, runs_of_prompt in zip(prompts, runs, strict=True):
            runs_of_prompt.append(_time_once(model, ids, k))
    for ids, result, runs_of_prompt in zip(prompts, results, runs, strict=True):
        result |= _medians(runs_of_prompt)
        peak, operations = gemm_peak(model.config.n_embd, str(ids.device)), jacobian_operations(model, ids)
        result |= {
            "gemm_peak": peak,
            "jacobian_bound_seconds": operations / peak,
            "jacobian_rate": operations / result["stages"]["Jacobians"],
        }
    return results


def engine_pipeline(
    model: GPT2Model, ids: Tensor, k: int
) -> tuple[Float[np.ndarray, "block other_block"], dict[str, float]]:
    """The mismatch of all pairs of blocks at p = 2 as this engine computes it, and the seconds of each stage."""
    device = str(ids.device)
    _, blocks = find_blocks(model)
    stages = dict.fromkeys(STAGES, 0.0)
    before = clock(device)

    def lap(stage: str) -> None:
        nonlocal before
        now = clock(device)
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
    arrays = compare(factored, factored, (k,))
    lap("compare")
    return arrays["mismatch"][0, 1], stages  # the only K, and p = 2


def reference(model: GPT2Model, ids: Tensor, k: int) -> Float[np.ndarray, "block other_block"]:
    """The mismatch in float64 from full SVDs; the tests compare the Jacobians themselves with autograd."""
    double = copy.deepcopy(model).double()
    _, blocks = find_blocks(double)
    recording = record_blocks(double, blocks, {"input_ids": ids})
    last = recording.n_tokens - 1
    matrices = (recording.jacobian(block, last).to_dense() for block in range(recording.n_blocks))
    return mismatch_of_pairs([with_full_svd(matrix, k) for matrix in matrices])


def gemm_peak(hidden: int, device: str) -> float:
    """The highest rate that a matrix product of the block's shape reached, in operations per second."""
    a, b = torch.randn(hidden, 4 * hidden, device=device), torch.randn(4 * hidden, hidden, device=device)
    seconds = []
    for _ in range(30):
        before = clock(device)
        _ = a @ b
        seconds.append(clock(device) - before)
    return 8 * hidden**3 / min(seconds)


def _memory_and_error(model: GPT2Model, ids: Tensor, k: int) -> dict[str, Any]:
    """The engine's peak memory and its error at one prompt length; a first run, which is not timed."""
    with torch.no_grad():
        model(ids, use_cache=False)
    with PeakMemory(str(ids.device)) as memory:
        mismatch, _ = engine_pipeline(model, ids, k)
    progress(f"n = {ids.shape[1]}: float64 reference")
    exact = reference(model, ids, k)
    return {
        "tokens": ids.shape[1],
        "engine_peak_bytes": memory.peak,
        "exact": exact,
        "engine_error": float(np.abs(mismatch - exact).max()),
    }


def _time_once(model: GPT2Model, ids: Tensor, k: int) -> tuple[float, float, float, dict[str, float]]:
    """The seconds of the model's own forward pass, of the engine, of the default call, and of each engine stage."""
    device = str(ids.device)
    start = clock(device)
    with torch.no_grad():
        model(ids, use_cache=False)
    middle = clock(device)
    _, stages = engine_pipeline(model, ids, k)
    end = clock(device)
    coupling.measure(model, ids, k)
    return middle - start, end - middle, clock(device) - end, stages


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


def jacobian_operations(model: GPT2Model, ids: Tensor) -> int:
    """Floating-point operations of the matrix products in the dense Jacobians of all blocks, as PyTorch counts them."""
    _, blocks = find_blocks(model)
    recording = record_blocks(model, blocks, {"input_ids": ids})
    jacobian = recording.jacobian(0, recording.n_tokens - 1)
    with FlopCounterMode(display=False) as counter:
        jacobian.to_dense()
    return len(blocks) * counter.get_total_flops()
