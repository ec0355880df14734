"""Scores of a run: means of its mismatch over pairs, blocks and prompts. Needs no model, and imports quickly."""

import xarray as xr
from jaxtyping import Float

from coupling.errors import CouplingError


def _pairs_axes(run: xr.Dataset) -> tuple[str, str]:
    return ("block", "other_block") if run.attrs.get("kind", "depth") == "depth" else ("token", "other_token")


def off_diagonal(run: xr.Dataset, variable: str) -> xr.DataArray:
    """A variable over pairs, with every Jacobian's comparison with itself taken out (NaN)."""
    first, second = _pairs_axes(run)
    same = run[first] == run[second]
    if first == "token":
        same = same & (run["block"] == run["other_block"])
    return run[variable].where(~same)


def per_prompt(run: xr.Dataset, variable: str) -> Float[xr.DataArray, "prompt k norm"]:
    """A variable's mean over ordered pairs of distinct Jacobians, prompt by prompt."""
    values = off_diagonal(run, variable)
    return values.mean([dim for dim in values.dims if dim not in ("prompt", "k", "norm")])


def variable_name(quantity: str, *, signed: bool = False, swapped: bool = False) -> str:
    """The Dataset's name of a variant; the chance level is the same swapped or not."""
    return quantity + ("_swapped" if swapped and quantity != "chance" else "") + ("_signed" if signed else "")


def score(run: xr.Dataset, k: int = 10, norm: int = 2, *, signed: bool = False, swapped: bool = False) -> float:
    """A model's score: coupling averaged over ordered pairs of distinct blocks, then over prompts.

    Args:
        run: what ``measure`` or ``analyze`` returned.
        k: number of top singular vectors; one that the run holds.
        norm: p, 1 or 2.
        signed: without the absolute value.
        swapped: the swapped variant.

    Raises:
        CouplingError: if the run holds no such k or norm.
    """
    check_held(run, k, norm)
    name = variable_name("mismatch", signed=signed, swapped=swapped)
    return float(1 - per_prompt(run, name).sel(k=k, norm=norm).mean())


def chance_score(run: xr.Dataset, k: int = 10, norm: int = 2, *, signed: bool = False) -> float:
    """The score that random frames would get; arguments and errors as in ``score``."""
    check_held(run, k, norm)
    return float(1 - per_prompt(run, variable_name("chance", signed=signed)).sel(k=k, norm=norm).mean())


def check_held(run: xr.Dataset, k: int, norm: int | None = None) -> None:
    """Refuse a K or a norm that the run does not hold.

    Raises:
        CouplingError: with those that it holds.
    """
    if k not in run.k:
        raise CouplingError(f"the run holds no K = {k}: it has K in {run.k.values.tolist()}")
    if norm is not None and norm not in run.norm:
        raise CouplingError(f"the run holds no p = {norm}: it has p in {run.norm.values.tolist()}")
