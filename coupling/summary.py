"""A run in a few numbers, as tables and JSON show it, and the comparison of two runs."""

from typing import Any

import numpy as np
import xarray as xr
from scipy.special import stdtr

from coupling import calibrated, metrics
from coupling.choices import VARIANTS, Calibrated, Variant
from coupling.dataset import input_word, is_depth, off_diagonal, per_prompt, zero_blocks
from coupling.errors import CouplingError
from coupling.facts import facts_of
from coupling.prompt_effects import by_category, error_curve, prompts_needed
from coupling.scores import mean_mismatch
from coupling.shares import LABEL, K, at_ks, find_k, k_names, shared_ks
from coupling.sinks import note, skipped, without_first
from coupling.uncertainty import excess_difference, excess_estimate, on_shared_prompts


def summarize(run: xr.Dataset, pairs: int = 3, *, skip_first: int | None = None) -> dict[str, Any]:
    """A run in numbers that can be written as JSON.

    Args:
        run: a Dataset of ``measure`` or ``analyze``.
        pairs: the number of strongest and weakest pairs to name.
        skip_first: number of first tokens that are left out of the measures of tokens, and of all averages of a run
            that compares tokens. Default: 1 where the first
            token's norm dwarfs the others' (``coupling.first_token_dominance``), otherwise 0.

    Returns:
        ``scores`` (one row for each K, p and variant, with chance level, excess, its standard error and the standard
        deviation over prompts), ``calibrated`` (one row for each K and calibrated measure, with chance level, z-score
        and standard deviation over prompts), ``categories`` (the excess at the largest K and p = 2 of the prompts of
        each category, with its 95% interval), ``prompt_count`` (``curve``, the standard error of that excess by the
        number of prompts, by bootstrap, and ``needed``, how many prompts some errors take), ``strongest`` and
        ``weakest`` pairs at the largest K and p = 2, ``tokens`` (line-shape score, expodistance and growth of the
        residual norm), ``tokens_left_out`` (what was left out, in words), ``facts`` (what the run is, in words),
        ``prompts`` (how many prompts or images), ``inputs`` ("prompts" or "images") and ``provenance``.

    Raises:
        CouplingError: if ``skip_first`` leaves no token.
    """
    whole, run = run, without_first(run, skip_first)
    rows = []
    for k, name in zip(run.k.values.tolist(), k_names(run), strict=True):
        for norm in run.norm.values.tolist():
            for variant in VARIANTS:
                place = {"k": k, "k_name": name, "norm": norm, "variant": variant.label}
                rows.append(place | _score(run, k, norm, variant))
    strongest, weakest = _extreme_pairs(run, pairs)
    curve = error_curve(run)
    kept = whole.isel(token=slice(skipped(whole, skip_first), None)) if is_depth(run) else run
    growth = kept.residual_norm.isel(layer=-1) / kept.residual_norm.isel(layer=0)
    return {
        "scores": rows,
        "calibrated": calibrated_rows(run),
        "categories": by_category(run),
        "prompt_count": {"curve": curve, "needed": prompts_needed(curve)},
        "strongest": strongest,
        "weakest": weakest,
        "tokens": {
            "line_shape_score": _distribution(kept.line_shape_score),
            "expodistance": _distribution(kept.expodistance),
            "residual_growth": _distribution(growth),
        },
        "tokens_left_out": note(whole, skip_first),
        "facts": facts_of(run),
        "blocks": int(run.sizes["layer"]) - 1,
        "prompts": int(run.sizes["prompt"]),
        "inputs": f"{input_word(run)}s",
        "zero_blocks": zero_blocks(run),
        "singular_values_converged": not bool((run.unconverged > 0).any()),
        "worst_relative_singular_value_error": _finite(
            float((run.singular_value_error / run.singular_values.isel(rank=0)).max())
        ),
        "provenance": dict(run.attrs.items()),
    }


def _score(run: xr.Dataset, k: int, norm: int, variant: Variant) -> dict[str, Any]:
    mismatch = mean_mismatch(run, variant.variable(), k, norm)
    chance = mean_mismatch(run, variant.variable("chance"), k, norm)
    each = per_prompt(run, variant.variable()).sel(k=k, norm=norm)
    return {
        "score": _finite(1 - mismatch),
        "chance": _finite(1 - chance),
        "excess": _finite(float(metrics.excess(mismatch, chance))),
        "excess_se": excess_estimate(run, k, norm, variant).standard_error,
        "sd_over_prompts": _finite(float(each.std(ddof=1))) if run.sizes["prompt"] > 1 else None,
    }


def calibrated_rows(run: xr.Dataset) -> list[dict[str, Any]]:
    """One row for each K and calibrated measure of a run: value, chance level, z-score, spread of prompts."""
    of_measures = {measure: calibrated.means(run, measure.name) for measure in calibrated.measures_in(run)}
    rows = []
    for k, name in zip(run.k.values.tolist(), k_names(run), strict=True):
        for measure, means in of_measures.items():
            value, chance, z = (_finite(float(mean.sel(k=k).mean())) for mean in means)
            spread = _finite(float(means[0].sel(k=k).std(ddof=1))) if run.sizes["prompt"] > 1 else None
            rows.append(
                {"k": k, "k_name": name, "measure": measure.name, "label": measure.label}
                | {"value": value, "chance": chance, "z": z, "sd_over_prompts": spread}
            )
    return rows


def _extreme_pairs(run: xr.Dataset, count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Pairs of blocks for kind "depth", single blocks (over their token pairs) for the other kinds."""
    values = 1 - off_diagonal(run, "mismatch").sel(k=run.k.values[-1], norm=2)
    kept = ("block", "other_block") if is_depth(run) else ("block",)
    mean = values.mean([dim for dim in values.dims if dim not in kept])
    flat = mean.values.ravel()
    order = [int(i) for i in np.argsort(flat, kind="stable") if np.isfinite(flat[i])]

    def named(index: int) -> dict[str, Any]:
        places = np.unravel_index(index, mean.shape)
        block = int(run.block.values[places[0]])
        other = int(run.other_block.values[places[-1]])
        return {"block": block, "other_block": other, "coupling": float(flat[index])}

    return [named(i) for i in reversed(order[-count:])], [named(i) for i in order[:count]]


def _distribution(values: xr.DataArray) -> dict[str, Any]:
    finite = values.values[np.isfinite(values.values)]
    if not len(finite):
        return {"mean": None, "median": None, "sd": None, "tokens": 0}
    return {
        "mean": float(finite.mean()),
        "median": float(np.median(finite)),
        "sd": float(finite.std()),
        "tokens": len(finite),
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def compare_runs(first: xr.Dataset, second: xr.Dataset) -> dict[str, Any]:
    """How two runs differ: in provenance, in every score that both have, and pair by pair.

    Args:
        first: a Dataset of ``measure`` or ``analyze``.
        second: another.

    Returns:
        ``provenance`` (attributes that differ, with both values), ``scores`` (rows with both scores, their difference
        and, on equal prompts, the standard error of the paired difference; ``excess_difference`` with its standard
        error, paired on equal prompts and of two samples otherwise, and its p-value), ``calibrated`` (the differences
        of each calibrated measure that both have), ``largest_pair_difference`` of the mismatch (None where the runs
        have different shapes), ``same_prompts``, ``shared_prompts`` (of different prompts, how many both measured, from
        which all these numbers are; None for fewer than two, and then they are of all prompts of each), ``inputs``
        ("prompts" or "images") and ``identical``.

    Raises:
        CouplingError: if the runs share no K, or are of different kinds.
    """
    kinds = first.attrs.get("kind"), second.attrs.get("kind")
    if kinds[0] != kinds[1]:
        raise CouplingError(
            f"one run is of kind {kinds[0]}, the other of kind {kinds[1]}: their scores cannot be compared"
        )
    ks = shared_ks([first, second])
    whole = first, second
    first, second = (without_first(run) for run in whole)
    attributes = {**first.attrs, **second.attrs}
    differing = sorted(key for key in attributes if first.attrs.get(key) != second.attrs.get(key))
    same_prompts = first.attrs.get("prompts_hash") == second.attrs.get("prompts_hash") is not None
    shared = None if same_prompts else on_shared_prompts(first, second)
    first, second = shared or (first, second)
    paired = (same_prompts or shared is not None) and first.sizes["prompt"] == second.sizes["prompt"] > 1
    rows = [
        _compared(first, second, k, norm, variant, paired=paired)
        for k in ks
        for norm in first.norm.values.tolist()
        for variant in VARIANTS
    ]
    return {
        "provenance": {key: [run.attrs.get(key) for run in whole] for key in differing},
        "same_prompts": bool(same_prompts),
        "shared_prompts": first.sizes["prompt"] if shared is not None else None,
        "inputs": f"{input_word(first, second)}s",
        "scores": rows,
        "calibrated": [
            _compared_calibrated(first, second, k, measure, paired=paired)
            for k in ks
            for measure in calibrated.measures_in(first)
            if measure in calibrated.measures_in(second)
        ],
        "largest_pair_difference": _largest_pair_difference(*(at_ks(run, ks).mismatch for run in (first, second))),
        "identical": _without_labels(whole[0]).identical(_without_labels(whole[1])),
    }


def _without_labels(run: xr.Dataset) -> xr.Dataset:
    """The numbers of a run alone."""
    return run.drop_vars(LABEL, errors="ignore").drop_attrs()


def _compared(
    first: xr.Dataset, second: xr.Dataset, k: K, norm: int, variant: Variant, *, paired: bool
) -> dict[str, Any]:
    """One score of two runs, the difference, and its standard error where the prompts pair up."""
    a, b = (_score(run, find_k(run, k), norm, variant) for run in (first, second))
    each = [per_prompt(run, variant.variable()).sel(k=find_k(run, k), norm=norm).values for run in (first, second)]
    return {
        "k": k,
        "norm": norm,
        "variant": variant.label,
        "first": a,
        "second": b,
        "difference": None if None in (a["score"], b["score"]) else b["score"] - a["score"],
        "standard_error": _standard_error(*each) if paired else None,
    } | _compared_excess(first, second, k, norm, variant)


def _compared_excess(first: xr.Dataset, second: xr.Dataset, k: K, norm: int, variant: Variant) -> dict[str, Any]:
    """The difference of the excess, its standard error, and the two-sided p-value of no difference by Student's t."""
    difference = excess_difference(first, second, k, norm, variant)
    error, p = difference.standard_error, None
    if error is not None and error > 0:
        freedom = min(first.sizes["prompt"], second.sizes["prompt"]) - 1
        p = _finite(2 * float(stdtr(freedom, -abs(difference.value) / error)))
    return {"excess_difference": _finite(difference.value), "excess_standard_error": error, "excess_p": p}


def _compared_calibrated(
    first: xr.Dataset, second: xr.Dataset, k: K, measure: Calibrated, *, paired: bool
) -> dict[str, Any]:
    """One calibrated measure of two runs, the difference, and its standard error where the prompts pair up."""
    rows, each = [], []
    for run in (first, second):
        means = [mean.sel(k=find_k(run, k)) for mean in calibrated.means(run, measure.name)]
        values = [_finite(float(mean.mean())) for mean in means]
        rows.append(dict(zip(("value", "chance", "z"), values, strict=True)))
        each.append(means[0].values)
    a, b = rows[0]["value"], rows[1]["value"]
    return {
        "k": k,
        "measure": measure.name,
        "label": measure.label,
        "first": rows[0],
        "second": rows[1],
        "difference": None if a is None or b is None else b - a,
        "standard_error": _standard_error(*each) if paired else None,
    }


def _standard_error(first: np.ndarray, second: np.ndarray) -> float | None:
    """The standard error of a mean over prompts of differences."""
    difference = second - first
    return _finite(float(difference.std(ddof=1)) / np.sqrt(difference.size))


def _largest_pair_difference(a: xr.DataArray, b: xr.DataArray) -> float | None:
    if a.shape != b.shape:
        return None
    return _finite(float(np.nanmax(np.abs(a.values - b.values))))
