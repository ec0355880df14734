"""Attention sinks: a first token whose residual stream dwarfs the others', and what is left out because of it.

Many language models store what attention does not need at the first token, whose norm then grows to hundreds of times
that of every other (Xiao, Tian, Chen, Han, Lewis, *Efficient Streaming Language Models with Attention Sinks*, ICLR
2024; Sun, Chen, Kolter, Liu, *Massive Activations in Large Language Models*, COLM 2024). Such a token drowns the others
in averages over tokens and in pictures of their paths.
"""

import warnings

import numpy as np
import xarray as xr

from coupling.dataset import input_word, is_depth
from coupling.errors import CouplingError

DOMINANT = 10.0
"""The first token dominates where its norm is at least this many times the others' median.

In SmolLM2-135M it is 183 times the median; in models without a sink, and at random weights, 1 to 2.2 times.
"""


def first_token_dominance(run: xr.Dataset) -> float:
    """How many times the median norm of the other tokens the first token's is, at the layer where that is most.

    Args:
        run: a Dataset of ``measure`` or ``analyze``; its ``residual_norm`` has dims (prompt, token, layer).

    Returns:
        The median over prompts; NaN if no prompt has two tokens.

    Example:
        >>> import coupling
        >>> run = coupling.analyze(prompts=["import os, sys"], k=3)
        >>> round(coupling.first_token_dominance(run))
        1
    """
    norms = run.residual_norm
    if norms.sizes["token"] < 2:
        return float("nan")
    with warnings.catch_warnings():  # a prompt of one token has no others: the median of nothing is NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        others = norms.isel(token=slice(1, None)).median("token")
        ratio = norms.isel(token=0) / others.where(others > 0)
        return float(np.nanmedian(ratio.max("layer").values))


def skipped(run: xr.Dataset, skip_first: int | None = None) -> int:
    """How many first tokens are left out of averages over tokens and of their pictures.

    Args:
        run: a Dataset of ``measure`` or ``analyze``.
        skip_first: that number, from 0. Default: 1 if the first token dominates (``DOMINANT``), otherwise 0.

    Raises:
        CouplingError: if the number is negative, or leaves no token.
    """
    if skip_first is None:
        return int(first_token_dominance(run) >= DOMINANT)
    longest = run.sizes["token"] if "n_tokens" not in run else int(run.n_tokens.max())
    if not 0 <= skip_first < longest:
        raise CouplingError(
            f"`skip_first={skip_first}` does not leave a token: it must be from 0 to {longest - 1}, "
            f"because the longest {input_word(run)} has {longest} tokens"
        )
    return skip_first


def without_first(run: xr.Dataset, skip_first: int | None = None) -> xr.Dataset:
    """A run that compares tokens without its first ones, which dominate its averages; a run of kind depth as it is.

    Args:
        run: a Dataset of ``measure`` or ``analyze``.
        skip_first: see ``skipped``. By default nothing is left out where no two measured tokens would stay.

    Raises:
        CouplingError: see ``skipped``; also if the number given leaves no two measured tokens.
    """
    if is_depth(run):
        return run
    count = skipped(run, skip_first)
    if not count:
        return run
    largest = run.singular_values.isel(rank=0)
    is_measured = largest.notnull().any([dim for dim in largest.dims if dim != "token"])
    if int((is_measured & (run.token >= count)).sum()) < 2:
        if skip_first is None:
            return run
        raise CouplingError(f"`skip_first={skip_first}` does not leave two measured tokens, which are compared")
    return run.sel(token=run.token >= count, other_token=run.other_token >= count)


def note(run: xr.Dataset, skip_first: int | None = None) -> str:
    """What was left out, and why, in a few words for a caption; empty if nothing was."""
    count = skipped(run, skip_first)
    if not count or (not is_depth(run) and without_first(run, skip_first) is run):
        return ""
    if skip_first is not None:
        return (
            f"the first {count} tokens of each {input_word(run)} left out"
            if count > 1
            else f"each {input_word(run)}'s first token left out"
        )
    return f"first token left out (its norm reaches {first_token_dominance(run):.3g} times the others')"
