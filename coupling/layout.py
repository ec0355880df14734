"""How measured arrays become one labelled Dataset: axes, padding, names and units."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from coupling import detail
from coupling.comparison import NORMS
from coupling.metrics import expodistance, line_shape_score
from coupling.settings import Plan, Settings
from coupling.trajectory import Recording

DETAIL_DIMS = ("other_rank", "feature")
DESCRIPTIONS = {
    "mismatch": ("mismatch", "1"),
    "mismatch_signed": ("mismatch without the absolute value", "1"),
    "mismatch_swapped": ("mismatch of output against input frames", "1"),
    "mismatch_swapped_signed": ("mismatch of output against input frames, without the absolute value", "1"),
    "chance": ("mismatch expected of random frames", "1"),
    "chance_signed": ("mismatch expected of random frames, without the absolute value", "1"),
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


def assemble(
    groups: Sequence[dict[str, np.ndarray]], plan: Plan, settings: Settings, recording: Recording, *, detailed: bool
) -> xr.Dataset:
    """One prompt's Dataset, without the prompt axis, over all of its tokens.

    Args:
        groups: what ``compare`` returned: for depth one group a token, else one group a pair of blocks.
        plan: the tokens and blocks that were measured.
        settings: what was asked for.
        recording: the prompt's trajectory.
        detailed: keep the residual stream, as the groups keep their projections.
    """
    variables = (
        _over_blocks(groups, plan, recording) if settings.kind == "depth" else _over_tokens(groups, plan, recording)
    )
    stream = recording.trajectory.double().cpu().numpy()
    variables |= {
        "line_shape_score": (("token",), line_shape_score(stream)),
        "expodistance": (("token",), expodistance(stream)),
        "residual_norm": (("token", "layer"), np.linalg.norm(stream, axis=-1).T),
    }
    if detailed:
        variables["residual_stream"] = (("token", "layer", "feature"), stream.transpose(1, 0, 2))
    tokens = np.arange(recording.n_tokens)
    coordinates: dict[str, Any] = {
        "k": list(settings.k),
        "norm": list(NORMS),
        "rank": np.arange(settings.k[-1]),
        "token": tokens,
        "layer": np.arange(recording.n_blocks + 1),
    }
    if settings.kind == "depth":
        coordinates |= {"block": np.arange(recording.n_blocks), "other_block": np.arange(recording.n_blocks)}
    else:
        first, second = zip(*plan.pairs, strict=True)
        coordinates |= {"block": list(first), "other_block": ("block", list(second)), "other_token": tokens}
    dataset = xr.Dataset(
        {
            name: (dims, np.ascontiguousarray(array, np.float32 if name in detail.VARIABLES else np.float64))
            for name, (dims, array) in variables.items()
        },
        coordinates,
    )
    for name in variables:
        long_name, units = DESCRIPTIONS[name]
        dataset[name].attrs |= {"long_name": long_name, "units": units}
    dataset.attrs["width"] = recording.width
    dataset["n_tokens"] = ((), recording.n_tokens)
    if plan.fixed is not None:
        dataset["fixed_token"] = ((), plan.fixed)
    elif settings.kind == "depth" and not plan.several:
        dataset["measured_token"] = ((), plan.tokens[0])
    return dataset


Variables = dict[str, tuple[tuple[str, ...], np.ndarray]]


def _over_blocks(groups: Sequence[dict[str, np.ndarray]], plan: Plan, recording: Recording) -> Variables:
    """Depth: (block, other_block), with a token axis in front where several tokens were asked for."""
    variables: Variables = {}
    for name in groups[0]:
        dims = _dims(name, "block", "other_block")
        if plan.several:
            array = np.stack([group[name] for group in groups])
            variables[name] = (("token", *dims), _scatter(array, 0, plan.tokens, recording.n_tokens))
        else:
            variables[name] = (dims, groups[0][name])
    return variables


def _over_tokens(groups: Sequence[dict[str, np.ndarray]], plan: Plan, recording: Recording) -> Variables:
    """Self and context: (block, token, other_token), the tokens not measured NaN."""
    variables: Variables = {}
    for name in groups[0]:
        dims = ("block", *_dims(name, "token", "other_token"))
        array = np.stack([group[name] for group in groups])
        for axis, dim in enumerate(dims):
            if dim in ("token", "other_token"):
                array = _scatter(array, axis, plan.tokens, recording.n_tokens)
        variables[name] = (dims, array)
    return variables


def _dims(name: str, first: str, second: str) -> tuple[str, ...]:
    if name.startswith(("mismatch", "chance")):
        return ("k", "norm", first, second)
    if name.endswith("angle"):
        return ("k", first, second, "rank")
    if name == "projection":
        return (first, second, "rank", "other_rank")
    return (first, "rank")


def _scatter(array: np.ndarray, axis: int, places: list[int], size: int) -> np.ndarray:
    """Spread an axis over a longer one, NaN between."""
    shape = list(array.shape)
    shape[axis] = size
    result = np.full(shape, np.nan)
    index: list[Any] = [slice(None)] * array.ndim
    index[axis] = places
    result[tuple(index)] = array
    return result


def join_prompts(datasets: Sequence[xr.Dataset], first: int = 0) -> xr.Dataset:
    """Stack per-prompt Datasets along ``prompt``, shorter prompts padded with NaN (texts with an empty one)."""
    together = {name: "+".join(sorted({part for d in datasets for part in str(d.attrs[name]).split("+")}))
                for name in ("engine", "linearization") if name in datasets[0].attrs}  # fmt: skip
    numbers = np.arange(first, first + len(datasets))
    padded = _pad(datasets)
    joined = _stack([dataset.drop_dims(DETAIL_DIMS, errors="ignore") for dataset in padded], "prompt", numbers)
    joined.attrs |= together
    held = [index for index, dataset in enumerate(datasets) if "residual_stream" in dataset]
    if held:
        kept = [padded[index][[*detail.VARIABLES]].reset_coords(drop=True) for index in held]
        joined = joined.assign(_stack(kept, "detailed_prompt", numbers[held]).data_vars)
    return joined


def _stack(datasets: Sequence[xr.Dataset], dim: str, numbers: np.ndarray) -> xr.Dataset:
    stacked = xr.concat(datasets, dim=dim, join="exact", combine_attrs="drop_conflicts", coords="minimal",
                        compat="equals", data_vars="all")  # fmt: skip
    return stacked.assign_coords({dim: numbers})


def _pad(datasets: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    longest = max(dataset.sizes["token"] for dataset in datasets)
    padded = []
    for dataset in datasets:
        axes = {axis: np.arange(longest) for axis in ("token", "other_token") if axis in dataset.dims}
        fill: Any = {name: "" if dataset[name].dtype.kind in "OUT" else np.nan for name in dataset.variables}
        padded.append(dataset.reindex(axes, fill_value=fill))
    return padded
