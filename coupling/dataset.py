"""A run as one labeled Dataset: its variables with their dimensions, and how prompts are assembled and joined."""

import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from coupling.choices import BASELINES, CALIBRATED, CHANCE, NORMS, SD
from coupling.metrics import expodistance, line_shape_score, residual_norms
from coupling.plan import Plan
from coupling.shares import LABEL

DETAIL_VARIABLES = ("projection", "residual_stream")
"""Large variables that only some pictures need; a run keeps them for its first prompts, in float32."""
PROMPT_ATTRIBUTES = ("width", "engine", "linearization", "virtual_tokens", "measured_place")
"""Attributes that each prompt's Dataset has; those of the origin are added to the joined run."""
TOKEN_AXES = ("token", "other_token")
"""Dimensions whose length is that of the prompt."""
DESCRIPTIONS = {
    "mismatch": ("mismatch", "1"),
    "mismatch_signed": ("mismatch without the absolute value", "1"),
    "mismatch_swapped": ("mismatch of output against input frames", "1"),
    "mismatch_swapped_signed": ("mismatch of output against input frames, without the absolute value", "1"),
    "chance": ("mismatch expected of random frames", "1"),
    "chance_signed": ("mismatch expected of random frames, without the absolute value", "1"),
    **{
        measure.name + suffix: (long_name.format(measure.label), "1")
        for measure in CALIBRATED
        for suffix, long_name in (
            ("", "{}"),
            (CHANCE, "{} expected of random frames"),
            (SD, "standard deviation of the {} of random frames"),
        )
    },
    **{baseline.name: (baseline.label, "1") for baseline in BASELINES},
    "left_angle": ("principal angle between the top left singular subspaces", "rad"),
    "right_angle": ("principal angle between the top right singular subspaces", "rad"),
    "singular_values": ("singular value of the block Jacobian", "1"),
    "singular_value_error": ("bound on the singular value's error", "1"),
    "line_shape_score": ("line-shape score", "1"),
    "expodistance": ("expodistance", "1"),
    "residual_norm": ("norm of the residual stream", "1"),
    "projection": ("block Jacobian in another's singular frames", "1"),
    "residual_stream": ("residual stream", "1"),
}
"""The long name and the unit of every variable."""

Variables = dict[str, tuple[tuple[str, ...], np.ndarray]]


# What a Dataset says: pairs, means, and which K and p it has


def is_depth(run: xr.Dataset) -> bool:
    """Whether a run compares blocks (kind "depth"), not tokens."""
    return "other_token" not in run.variables


def input_word(*runs: xr.Dataset) -> str:
    """What one input of runs is called: "image" where all of them measured images, else "prompt"."""
    return "image" if runs and all("patch_rows" in run for run in runs) else "prompt"


def off_diagonal(run: xr.Dataset, variable: str | xr.DataArray) -> xr.DataArray:
    """A variable over pairs, by name or as it is, NaN where a Jacobian is compared with itself."""
    values = run[variable] if isinstance(variable, str) else variable
    first, second = ("block", "other_block") if is_depth(run) else ("token", "other_token")
    same = run[first] == run[second]
    if first == "token":
        same = same & (run["block"] == run["other_block"])
    return values.where(~same)


def per_prompt(run: xr.Dataset, variable: str | xr.DataArray) -> Float[xr.DataArray, "prompt k norm"]:
    """A variable's mean over ordered pairs of distinct Jacobians, for each prompt; by name, or over pairs as it is."""
    values = off_diagonal(run, variable)
    with warnings.catch_warnings():  # a mean over nothing but NaN is NaN: every Jacobian was zero
        warnings.simplefilter("ignore", RuntimeWarning)
        return values.mean([dim for dim in values.dims if dim not in ("prompt", "k", "norm")])


def zero_blocks(run: xr.Dataset) -> list[int]:
    """Blocks whose Jacobian is exactly zero somewhere: they add nothing, and every comparison with them is left out."""
    largest = run.singular_values.isel(rank=0)
    others = [dim for dim in largest.dims if dim != "block"]
    is_zero = (largest == 0).any(others)
    return sorted({int(block) for block in run.block.values[is_zero.values]})


# How one prompt's Dataset is assembled


def assemble(
    groups: Sequence[dict[str, np.ndarray]],
    plan: Plan,
    trajectory: Float[np.ndarray, "layers n d"],
    *,
    detailed: bool,
    others: Mapping[str, Any] = MappingProxyType({}),
    like: xr.Dataset | None = None,
) -> xr.Dataset:
    """One prompt's Dataset, without the prompt axis, over all of its tokens.

    Args:
        groups: results of ``compare``: for kind "depth" one group per token, otherwise one per pair of blocks.
        plan: the tokens, blocks and K that were measured.
        trajectory: the residual stream from layer 0 to L.
        detailed: keep the residual stream; the groups then have their projections.
        others: more variables, as xarray takes them.
        like: a Dataset of the same plan and as many tokens, whose coordinates are taken.
    """
    layers, n_tokens, width = trajectory.shape
    variables = _over_blocks(groups, plan, n_tokens) if plan.kind == "depth" else _over_tokens(groups, plan, n_tokens)
    variables |= {
        "line_shape_score": (("token",), line_shape_score(trajectory)),
        "expodistance": (("token",), expodistance(trajectory)),
        "residual_norm": (("token", "layer"), residual_norms(trajectory).T),
    }
    if detailed:
        variables["residual_stream"] = (("token", "layer", "feature"), trajectory.transpose(1, 0, 2))
    described: dict[str, Any] = {}
    for name, (dims, array) in variables.items():
        long_name, units = DESCRIPTIONS[name]
        kind = np.float32 if name in DETAIL_VARIABLES else np.float64
        described[name] = (dims, np.ascontiguousarray(array, kind), {"long_name": long_name, "units": units})
    described["n_tokens"] = ((), n_tokens)
    if plan.fixed is not None:
        described["fixed_token"] = ((), plan.fixed)
    elif plan.kind == "depth" and not plan.has_token_axis:
        described["measured_token"] = ((), plan.tokens[0])
    # all at once: a Dataset aligns all that it has with each variable that is added later
    coordinates = _coordinates(plan, n_tokens, layers) if like is None else like.coords
    return xr.Dataset({**described, **others}, coordinates, {"width": width})


def _coordinates(plan: Plan, n_tokens: int, layers: int) -> dict[str, Any]:
    tokens, blocks = np.arange(n_tokens), np.array(plan.blocks)
    coordinates: dict[str, Any] = {
        "k": list(plan.ks.numbers),
        "norm": list(NORMS),
        "rank": np.arange(plan.ks.largest),
        "token": tokens,
        "layer": np.arange(layers),
    }
    if plan.ks.has_shares:
        coordinates[LABEL] = ("k", list(plan.ks.labels))
    if plan.kind == "depth":
        return coordinates | {"block": blocks, "other_block": blocks}
    first, second = (blocks[list(side)] for side in zip(*plan.pairs, strict=True))
    return coordinates | {"block": first, "other_block": ("block", second), "other_token": tokens}


def _over_blocks(groups: Sequence[dict[str, np.ndarray]], plan: Plan, n_tokens: int) -> Variables:
    """Kind "depth": (block, other_block), with a token axis in front where several tokens were asked for."""
    variables: Variables = {}
    for name in groups[0]:
        dims = _dims(name, "block", "other_block")
        if plan.has_token_axis:
            array = np.stack([group[name] for group in groups])
            variables[name] = (("token", *dims), _scatter(array, 0, plan.tokens, n_tokens))
        else:
            variables[name] = (dims, groups[0][name])
    return variables


def _over_tokens(groups: Sequence[dict[str, np.ndarray]], plan: Plan, n_tokens: int) -> Variables:
    """The kinds that compare tokens: (block, token, other_token), NaN for tokens that were not measured."""
    variables: Variables = {}
    for name in groups[0]:
        dims = ("block", *_dims(name, "token", "other_token"))
        array = np.stack([group[name] for group in groups])
        for axis, dim in enumerate(dims):
            if dim in ("token", "other_token"):
                array = _scatter(array, axis, plan.tokens, n_tokens)
        variables[name] = (dims, array)
    return variables


def _dims(name: str, first: str, second: str) -> tuple[str, ...]:
    if name.startswith(("mismatch", "chance")):
        return ("k", "norm", first, second)
    if any(name == measure.name for measure in CALIBRATED):
        return ("k", first, second)
    if name.endswith((CHANCE, SD)):
        return ("k", first)
    if name.endswith("angle"):
        return ("k", first, second, "rank")
    if name == "projection":
        return (first, second, "rank", "other_rank")
    return (first, "rank")


def _scatter(array: np.ndarray, axis: int, positions: list[int], size: int) -> np.ndarray:
    """Spread an axis over a longer one, with NaN between."""
    shape = list(array.shape)
    shape[axis] = size
    result = np.full(shape, np.nan)
    index: list[Any] = [slice(None)] * array.ndim
    index[axis] = positions
    result[tuple(index)] = array
    return result
