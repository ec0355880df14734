"""The naive pipeline, as the paper's published code has it, and its time at one prompt length.

For every block: the d x d Jacobian by reverse mode through the full sequence, and a full SVD; then all pairs.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import GPT2Model

from benchmarks.full_svd import mismatch_of_pairs, with_full_svd
from benchmarks.memory import PeakMemory, clock
from benchmarks.results import progress

CHUNKS = (1, 4, 8, 16, 32, 64)
"""Chunk sizes that are tried, in rows of the Jacobian per backward pass."""


def measure_naive(model: GPT2Model, ids: Tensor, result: dict[str, Any], k: int, rows: int) -> None:
    """Time the naive pipeline at one prompt length.

    Args:
        model: the model, with eager attention.
        ids: the prompt, (1, n).
        result: the engine's result at the same length; the naive pipeline's is added to it.
        k: number of top singular vectors.
        rows: rows of each Jacobian that are timed; with fewer than all, the time is scaled and the SVDs are left out.
    """
    device, name = str(ids.device), f"n = {ids.shape[1]}"
    progress(f"{name}: naive, finding the best chunk size")
    chunk = best_chunk(model, ids)
    progress(f"{name}: naive, chunk {chunk}")
    with PeakMemory(device) as memory:
        before = clock(device)
        if rows < model.config.n_embd:
            seconds = naive_rows_seconds(model, ids, chunk, rows)
        else:
            mismatch = naive_pipeline(model, ids, k, chunk)
            seconds = clock(device) - before
            result["naive_error"] = float(np.abs(mismatch - result["exact"]).max())
    result |= {
        "naive_chunk": chunk,
        "naive_rows": rows,
        "naive_seconds": seconds,
        "ratio": seconds / result["engine_seconds"],
        "naive_peak_bytes": memory.peak,
    }
    progress(f"{name}: naive {seconds:.1f} s, engine {result['engine_seconds']:.2f} s")


def naive_pipeline(model: GPT2Model, ids: Tensor, k: int, chunk: int) -> Float[np.ndarray, "block other_block"]:
    """The mismatch of all pairs of blocks at p = 2, as the published code computes it."""
    factored = [with_full_svd(naive_jacobian(model, ids, block, chunk), k) for block in range(len(model.h))]
    return mismatch_of_pairs(factored)


def naive_jacobian(
    model: GPT2Model, ids: Tensor, block: int, chunk: int, rows: int | None = None
) -> Float[Tensor, "rows d"]:
    """One block's Jacobian at the last token, by reverse mode through the full sequence.

    Args:
        model: the model, with eager attention.
        ids: the prompt, (1, n).
        block: index of the block.
        chunk: rows per backward pass.
        rows: rows to compute; default: all d.
    """
    module = model.h[block]
    stream = _input_of(model, module, ids).requires_grad_()
    n, d = stream.shape[1:]
    mask = torch.full((n, n), torch.finfo(stream.dtype).min, dtype=stream.dtype, device=stream.device).triu(1)
    output = module(stream, attention_mask=mask[None, None])
    # f(x) = block(x) - x, the block's residual update; of the last token alone
    update = (output[0] if isinstance(output, tuple) else output)[0, -1] - stream[0, -1]
    directions = torch.eye(d, dtype=stream.dtype, device=stream.device)[:rows]
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


@torch.no_grad()
def _input_of(model: GPT2Model, module: torch.nn.Module, ids: Tensor) -> Float[Tensor, "1 n d"]:
    """The residual stream that enters a block."""
    streams: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: streams.append(args[0]))
    model(ids, use_cache=False)
    handle.remove()
    return streams[0].detach()


def best_chunk(model: GPT2Model, ids: Tensor) -> int:
    """The chunk size at which the naive Jacobian is fastest; each is tried on as many rows as the largest has."""
    device, seconds = str(ids.device), {}
    for chunk in CHUNKS:
        naive_jacobian(model, ids, 0, chunk, rows=chunk)
        before = clock(device)
        naive_jacobian(model, ids, 0, chunk, rows=max(CHUNKS))
        seconds[chunk] = clock(device) - before
    return min(seconds, key=lambda chunk: seconds[chunk])


def naive_rows_seconds(model: GPT2Model, ids: Tensor, chunk: int, rows: int) -> float:
    """The time of the naive Jacobians, scaled from ``rows`` rows of each block: every row costs the same."""
    before = clock(str(ids.device))
    for block in range(len(model.h)):
        naive_jacobian(model, ids, block, chunk, rows=rows)
    return (clock(str(ids.device)) - before) * model.config.n_embd / rows
