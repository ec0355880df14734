"""Judges one architecture: the library's Jacobian of every block against the reference."""

import copy
import time
import traceback
from typing import Any

import torch

from benchmarks.conformance.architectures import Pair
from benchmarks.conformance.models import NotTriedError, build
from benchmarks.conformance.reference import reference_jacobians
from coupling.errors import CouplingError
from coupling.linalg.jacobian import REPLAYS, Replay
from coupling.models.blocks import BlocksError
from coupling.models.recording import Recording, record

TOLERANCE = 1e-4
"""Largest allowed error of a Jacobian in float32, relative to its Frobenius norm."""

LOCAL, FULL, MIXED = "right, one token", "right, many tokens", "right, mixed"
REFUSED, WRONG, CRASH, NOT_TRIED = "refused", "WRONG", "CRASH", "not tried"
RIGHT = (LOCAL, FULL, MIXED)
OUTCOMES = (*RIGHT, REFUSED, NOT_TRIED, WRONG, CRASH)


def judge(pair: Pair) -> dict[str, Any]:
    """The row of one pair: outcome, reason, the number of blocks and the largest relative error."""
    start = time.perf_counter()
    row: dict[str, Any] = {"group": pair.group, "model_type": pair.model_type, "class": pair.class_name}
    try:
        model, inputs = build(pair)
        row |= judge_model(model, inputs)
    except NotTriedError as error:
        row |= {"outcome": NOT_TRIED, "reason": str(error)}
    return row | {"seconds": round(time.perf_counter() - start, 2)}


def judge_model(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The outcome for one model; where its blocks are not found, each of its lists is named in turn."""
    row = _attempt(model, inputs, None)
    if not row.pop("unnamed", False):
        return row
    named = {}
    for name in _lists(model):
        named[name] = _attempt(model, inputs, name)
    bad = {n: r for n, r in named.items() if r["outcome"] in (WRONG, CRASH)}
    good = {n: r for n, r in named.items() if r["outcome"] in RIGHT}
    for chosen in (bad, good):
        if chosen:
            worst = max(chosen.values(), key=lambda row: row.get("error", float("inf")))
            return worst | {"block_list": ", ".join(chosen), "by_default": row["reason"]}
    return row | {"named": {name: r["reason"] for name, r in named.items()}}


def _lists(model: torch.nn.Module) -> list[str]:
    """The names of the outermost lists with at least two modules, which are not lists themselves."""
    lists = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m) > 1}
    lists = {n: m for n, m in lists.items() if not isinstance(m[0], torch.nn.ModuleList)}
    return [n for n in lists if not any(n.startswith(other + ".") for other in lists)]


def _attempt(model: Any, inputs: dict[str, Any], block_list: str | None) -> dict[str, Any]:
    """Record, differentiate every block at two tokens, and compare."""
    original = copy.deepcopy(model)  # some models keep tensors of their last pass
    try:
        recording = record(model, inputs, block_list=block_list)
        tokens = sorted({recording.n_tokens // 2, recording.n_tokens - 1})
        found = _library(recording, tokens)
    except BlocksError as error:
        return {"outcome": REFUSED, "reason": str(error), "unnamed": block_list is None}
    except CouplingError as error:
        return {"outcome": REFUSED, "reason": str(error)}
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename.rpartition('/site-packages/')[2]}:{where.lineno}"
        return {"outcome": CRASH, "reason": f"{type(error).__name__} at {place}: {str(error).strip()[:300]}"}
    names = {module: name for name, module in model.named_modules()}
    calls = [names[call.block] for call in recording.calls]
    try:
        expected = reference_jacobians(original, inputs, calls, tokens)
    except Exception as error:
        return {"outcome": NOT_TRIED, "reason": f"the reference fails: {type(error).__name__}: {str(error)[:200]}"}
    return _compare(original, inputs, calls, tokens, found, expected) | {"blocks": len(calls)}


def _library(recording: Recording, tokens: list[int]) -> dict[tuple[int, int], tuple[torch.Tensor, Replay]]:
    """The library's Jacobians, and how the block was replayed for each."""
    found = {}
    for block in range(recording.n_blocks):
        for token in tokens:
            jacobian = recording.jacobian(block, token)
            found[block, token] = (jacobian.to_dense().double(), jacobian.replay)
    return found


def _compare(
    model: Any,
    inputs: dict[str, Any],
    calls: list[str],
    tokens: list[int],
    found: dict[tuple[int, int], tuple[torch.Tensor, Replay]],
    expected: dict[tuple[int, int], torch.Tensor],
) -> dict[str, Any]:
    """The outcome from the largest relative error over blocks and tokens."""
    if not all(torch.isfinite(matrix).all() for matrix in expected.values()):
        return {"outcome": NOT_TRIED, "reason": "the reference is not finite at these random weights"}
    errors = {key: _relative(found[key][0], expected[key]) for key in expected}
    worst = max(errors, key=lambda key: errors[key])
    slowest = [max((found[b, t][1] for b, t in found if b == block), key=REPLAYS.index) for block in range(len(calls))]
    local = [replay in REPLAYS[:2] for replay in slowest]
    outcome = LOCAL if all(local) else FULL if not any(local) else MIXED
    row: dict[str, Any] = {
        "outcome": outcome,
        "error": errors[worst],
        "replays": {replay: slowest.count(replay) for replay in REPLAYS if replay in slowest},
        "reason": "",
    }
    if set(found) != set(expected):
        return row | {"outcome": NOT_TRIED, "reason": "the reference saw other calls than the library"}
    if errors[worst] <= TOLERANCE:
        return row
    # Rounding, where the reference itself in float32 is as far from float64.
    rounded = reference_jacobians(model, inputs, calls, tokens, torch.float32)
    rounding = max(_relative(rounded[key], expected[key]) for key in expected)
    if errors[worst] <= 4 * rounding:
        return row | {"reason": f"within the rounding of float32, in which autograd is off by {rounding:.1e}"}
    block, token = worst
    reason = f"block {block} ({calls[block]}), token {token}, {found[worst][1]}: relative error {errors[worst]:.1e}"
    bad = sorted({key[0] for key, value in errors.items() if value > TOLERANCE})
    return row | {"outcome": WRONG, "reason": f"{reason}; wrong blocks {bad}; float32 autograd {rounding:.1e}"}


def _relative(matrix: torch.Tensor, expected: torch.Tensor) -> float:
    """The error relative to the Frobenius norm; infinite where a number is not finite."""
    error = torch.linalg.matrix_norm(matrix.double() - expected.double())
    value = float(error / torch.linalg.matrix_norm(expected.double()).clamp_min(1e-12))
    return value if value == value else float("inf")
