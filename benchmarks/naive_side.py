"""The naive pipeline, as the paper's published code has it, and its time at one prompt length.

For every block: the d x d Jacobian by reverse mode through the full sequence, and a full SVD; then all pairs.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.engine_side import width_of
from benchmarks.full_svd import mismatch_of_pairs, with_full_svd
from benchmarks.memory import Clock, PeakMemory
from benchmarks.results import progress
from coupling.models.blocks import find_blocks
from coupling.models.recording import record_blocks

CHUNKS = (1, 4, 8, 16, 32, 64)
"""Chunk sizes that are tried, in rows of the Jacobian per backward pass."""


def measure_naive(
    model: nn.Module, ids: Tensor, result: dict[str, Any], k: int, rows: int, clock: Clock = time.perf_counter
) -> None:
    """Time the naive pipeline at one prompt length.

    Args:
        model: the model, with eager attention.
        ids: the prompt, (1, n).
        result: the engine's result at the same length; the naive pipeline's is added to it.
        k: number of top singular vectors.
        rows: rows of each Jacobian that are timed; with fewer than all, their time is scaled, and the SVDs and pairs
            are timed on Jacobians that this engine made.
        clock: what counts the time.
    """
    name = f"n = {ids.shape[1]}"
    progress(f"{name}: naive, finding the best chunk size")
    chunk = best_chunk(model, ids, clock)
    progress(f"{name}: naive, chunk {chunk}")
    with PeakMemory(str(ids.device)) as memory:
        before = clock()
        if rows < width_of(model):
            seconds = naive_rows_seconds(model, ids, chunk, rows, clock) + svd_and_pairs_seconds(model, ids, k, clock)
        else:
            mismatch = naive_pipeline(model, ids, k, chunk)
            seconds = clock() - before
            result["naive_error"] = float(np.abs(mismatch - result["exact"]).max())
    result |= {
        "naive_chunk": chunk,
        "naive_rows": rows,
        "naive_seconds": seconds,
        "ratio": seconds / result["engine_seconds"],
        "naive_peak_bytes": memory.peak,
    }
    progress(f"{name}: naive {seconds:.1f} s, engine {result['engine_seconds']:.2f} s")


def naive_pipeline(model: nn.Module, ids: Tensor, k: int, chunk: int) -> Float[np.ndarray, "block other_block"]:
    """The mismatch of all pairs of blocks at p = 2, as the published code computes it."""
    matrices = (naive_rows(*output_of(call), chunk) for call in calls_of(model, ids))
    return mismatch_of_pairs([with_full_svd(matrix, k) for matrix in matrices])


@dataclass(frozen=True)
class Call:
    """How the model called a block: the residual stream is the first argument."""

    block: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


@torch.no_grad()
def calls_of(model: nn.Module, ids: Tensor) -> list[Call]:
    """The calls of all blocks in one forward pass."""
    calls: list[Call] = []

    def before(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        calls.append(Call(module, arguments, keywords))

    handles = [block.register_forward_pre_hook(before, with_kwargs=True) for block in find_blocks(model)[1]]
    model(ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return calls


def output_of(call: Call) -> tuple[Float[Tensor, "d"], Float[Tensor, "1 n d"]]:
    """What a block adds at the last token, and the stream that it is a function of."""
    stream = call.arguments[0].detach().requires_grad_()
    output = call.block(stream, *call.arguments[1:], **call.keywords)
    # f(x) = block(x) - x, the block's residual update; of the last token alone
    return (output[0] if isinstance(output, tuple) else output)[0, -1] - stream[0, -1], stream


def naive_rows(
    update: Float[Tensor, "d"], stream: Float[Tensor, "1 n d"], chunk: int, rows: int | None = None
) -> Float[Tensor, "rows d"]:
    """One block's Jacobian at the last token, by reverse mode through the full sequence.

    Args:
        update: what the block adds at the last token.
        stream: what it is a function of.
        chunk: rows per backward pass.
        rows: rows to compute; default: all d.
    """
    directions = torch.eye(stream.shape[2], dtype=stream.dtype, device=stream.device)[:rows]
    parts = []
    for piece in directions.split(chunk):
        # row i of the Jacobian is the gradient of <e_i, f(x)>
        if chunk == 1:
            (gradient,) = torch.autograd.grad(update, stream, piece[0], retain_graph=True)
            parts.append(gradient[None, 0, -1])
        else:
            (gradient,) = torch.autograd.grad(update, stream, piece, retain_graph=True, is_grads_batched=True)
            parts.append(gradient[:, 0, -1])
    return torch.cat(parts)


def best_chunk(model: nn.Module, ids: Tensor, clock: Clock = time.perf_counter) -> int:
    """The chunk size at which the naive Jacobian is fastest; each is tried on as many rows as the largest has."""
    seconds = {}
    update, stream = output_of(calls_of(model, ids)[0])
    for chunk in CHUNKS:
        naive_rows(update, stream, chunk, rows=chunk)
        before = clock()
        naive_rows(update, stream, chunk, rows=max(CHUNKS))
        seconds[chunk] = clock() - before
    return min(seconds, key=lambda chunk: seconds[chunk])


def naive_rows_seconds(model: nn.Module, ids: Tensor, chunk: int, rows: int, clock: Clock = time.perf_counter) -> float:
    """The time of the naive Jacobians, from ``rows`` rows of each block: every row costs the same.

    The forward passes of the model and of each block are made once, whatever the number of rows, and not scaled.
    """
    before, of_rows = clock(), 0.0
    for call in calls_of(model, ids):
        update, stream = output_of(call)
        start = clock()
        naive_rows(update, stream, chunk, rows=rows)
        of_rows += clock() - start
    once = clock() - before - of_rows
    return once + of_rows * width_of(model) / rows


def svd_and_pairs_seconds(model: nn.Module, ids: Tensor, k: int, clock: Clock = time.perf_counter) -> float:
    """The time of the full SVDs and of all pairs, on Jacobians that are made before the time is taken."""
    recording = record_blocks(model, find_blocks(model)[1], {"input_ids": ids})
    last = recording.n_tokens - 1
    matrices = [recording.jacobian(block, last).to_dense() for block in range(recording.n_blocks)]
    before = clock()
    mismatch_of_pairs([with_full_svd(matrix, k) for matrix in matrices])
    return clock() - before
