"""Prompts in, a labelled Dataset out: trajectories, Jacobians, singular vectors, metrics."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from coupling.blocks import find_blocks
from coupling.comparison import Factored, compare, factor
from coupling.detail import Detail, DetailBudget, detail_bytes
from coupling.errors import CouplingError
from coupling.layout import assemble, join_prompts
from coupling.settings import Kind, Plan, Settings, Tokens
from coupling.svd import Engine
from coupling.trajectory import Recording, record_blocks
from coupling.version import __version__

Progress = Callable[[int, int], None]
"""Called with (Jacobians done, Jacobians in all) of the prompt at hand."""


def measure_recording(
    recording: Recording, settings: Settings, progress: Progress | None = None, budget: DetailBudget | None = None
) -> xr.Dataset:
    """Measure one recorded prompt; a Dataset without the prompt axis, over all of its tokens.

    Args:
        recording: the prompt's trajectory.
        settings: what is measured.
        progress: see ``Progress``.
        budget: decides whether the prompt keeps its projections and residual stream; None: it does not.

    Raises:
        CouplingError: if a setting does not fit the prompt or the model, or a Jacobian is not finite.
    """
    plan = Plan.of(settings, recording)
    total = plan.jacobian_count(settings, recording)
    detailed = budget is not None and budget.admits(detail_bytes(settings, plan, recording))
    outcomes: list[tuple[str, bool]] = []
    ways: set[str] = set()

    def factored(block: int, token: int, target: int, compared: int) -> Factored:
        try:
            jacobian = recording.jacobian(block, token, target)
            ways.add("token-local" if jacobian.token_local else "full-sequence")
            result = factor(jacobian, settings, compared=compared)
        except CouplingError as error:
            raise CouplingError(f"block {block}, token {token}: {error}") from None
        outcomes.append((result.triplets.engine, result.triplets.converged))
        if progress is not None:
            progress(len(outcomes), total)
        return result

    groups = []
    if settings.kind == "depth":
        depth = recording.n_blocks
        for t in plan.tokens:
            blocks = [factored(block, t, t, depth) for block in range(depth)]
            groups.append(compare(blocks, blocks, settings.k, projections=detailed))
    else:
        ends = [plan.ends(settings.kind, token) for token in plan.tokens]
        for first, second in plan.pairs:
            a = [factored(first, s, t, len(ends)) for s, t in ends]
            b = a if first == second else [factored(second, s, t, len(ends)) for s, t in ends]
            groups.append(compare(a, b, settings.k, projections=detailed))
    dataset = assemble(groups, plan, settings, recording, detailed=detailed)
    dataset["unconverged"] = ((), sum(not converged for _, converged in outcomes))
    dataset.attrs["engine"] = "+".join(sorted({engine for engine, _ in outcomes}))
    dataset.attrs["linearization"] = "+".join(sorted(ways))
    return dataset


def split_inputs(inputs: Any) -> list[dict[str, Any]]:
    """Forward-pass arguments of one prompt each, from what a user has at hand.

    Args:
        inputs: token ids, (n,) or (batch, n), as a tensor, an array or lists; a mapping such as a tokenizer returns
            (rows with an ``attention_mask`` lose their padding); or a sequence of any of these.

    Raises:
        CouplingError: if there is nothing in it, or it holds texts.
    """
    if isinstance(inputs, (str, bytes)):
        raise CouplingError("the inputs are text; tokenize it, or give it to coupling.analyze")
    if isinstance(inputs, np.ndarray) or (isinstance(inputs, (list, tuple)) and inputs and _is_integer(inputs[0])):
        inputs = torch.as_tensor(inputs)
    if isinstance(inputs, Tensor):
        if inputs.numel() == 0:
            raise CouplingError("a prompt has no tokens")
        return [{"input_ids": row[None]} for row in (inputs if inputs.ndim == 2 else inputs[None])]
    if hasattr(inputs, "keys"):
        mapping = {key: inputs[key] for key in inputs if isinstance(inputs[key], Tensor)}
        if not mapping:
            raise CouplingError("the inputs hold no tensors; tokenize with return_tensors='pt'")
        rows = len(next(iter(mapping.values())))
        mask = mapping.pop("attention_mask", None)
        result = []
        for row in range(rows):
            kept = None if mask is None else mask[row].bool()
            result.append({
                key: value[row : row + 1] if kept is None or value.ndim < 2 or value.shape[1] != len(kept)
                else value[row : row + 1][:, kept]
                for key, value in mapping.items()
            })  # fmt: skip
        return result
    prompts = [prompt for item in inputs for prompt in split_inputs(item)]
    if not prompts:
        raise CouplingError("there are no prompts")
    return prompts


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer))


def measure(
    model: nn.Module,
    inputs: Any,
    k: int | Sequence[int] = (10,),
    token: Tokens | None = None,
    seed: int = 0,
    *,
    kind: Kind = "depth",
    fixed_token: int | Literal["last"] | None = None,
    block_pairs: Sequence[tuple[int, int]] = (),
    blocks: str | None = None,
    engine: Engine = "auto",
    tol: float = 1e-4,
    detail: Detail = "auto",
    progress: Progress | None = None,
    hash_weights: bool = True,
) -> xr.Dataset:
    """Measure a model already in memory.

    Args:
        model: a transformers model; left as it was, training mode included.
        inputs: token ids, a tokenizer's output, or a sequence of either (see ``split_inputs``).
        k: numbers of top singular vectors.
        token: tokens measured: an index (negative from the end), "last", "all" or several.
        seed: of every random draw; the same seed gives the same numbers.
        kind: "depth", "self", "context-input" or "context-output".
        fixed_token: the token that a context kind holds.
        block_pairs: pairs of blocks for kind "self".
        blocks: name of the list of blocks, where it cannot be found.
        engine: "auto", "dense" or "matrix-free".
        tol: relative residual at which the matrix-free engine stops.
        detail: which prompts keep ``projection`` and ``residual_stream``, which the pictures ``grid`` and
            ``trajectory`` draw: "all", "none", or "auto", the first ones up to 64 MB.
        progress: called with (Jacobians done, Jacobians in all) of each prompt.
        hash_weights: put a hash of the weights into the attributes (it reads them all once).

    Returns:
        A Dataset over (prompt, k, norm, block, other_block) and more; see the README.

    Raises:
        CouplingError: if the model or the inputs cannot be measured; the message says what to do.
    """
    ks = (k,) if isinstance(k, (int, np.integer)) else tuple(k)
    settings = Settings(ks, kind, token, fixed_token, tuple(block_pairs), engine, tol, seed)
    origin = provenance(model, settings, hash_weights=hash_weights)
    _, modules = find_blocks(model, blocks)
    budget = DetailBudget(detail)
    parts = [
        measure_recording(record_blocks(model, modules, prompt), settings, progress, budget)
        for prompt in split_inputs(inputs)
    ]
    run = join_prompts(parts)
    run.attrs |= origin
    return run


def provenance(model: nn.Module, settings: Settings, *, hash_weights: bool = True) -> dict[str, Any]:
    """Where numbers come from: the attributes of every run."""
    parameter = next(model.parameters())
    config = getattr(model, "config", None)
    return {
        "model": getattr(config, "_name_or_path", "") or type(model).__name__,
        "revision": "",
        "commit_hash": getattr(config, "_commit_hash", None) or "",
        "weights_hash": weights_hash(model) if hash_weights else "",
        "architecture": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "device": parameter.device.type,
        "seed": settings.seed,
        "kind": settings.kind,
        "engine_requested": settings.engine,
        "tol": settings.tol,
        "package_version": __version__,
    }


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over the parameters and buffers that a checkpoint holds: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
