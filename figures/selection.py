"""What the pictures read from runs: names, defaults, means, and clear errors about what a run does not contain."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr

from coupling.choices import Picture, Variant, variant_of
from coupling.dataset import input_word, is_depth, off_diagonal
from coupling.errors import CouplingError
from coupling.figures.style import printable
from coupling.shares import K, find_k, normalize_k, shared_ks

Runs = xr.Dataset | Sequence[xr.Dataset]
Range = tuple[int, int]
"""(first, one past the last), as Python slices count."""
Tokens = int | Literal["last"] | Range
"""One token or a range of tokens; negative numbers count from the prompt's end, and "last" is -1."""


# Runs


def as_runs(runs: Runs) -> list[xr.Dataset]:
    """One run or several, as a list.

    Raises:
        CouplingError: if the list is empty, or every Jacobian of a run is zero.
    """
    listed = [runs] if isinstance(runs, xr.Dataset) else list(runs)
    if not listed:
        raise CouplingError("no run was given")
    for run in listed:
        if not bool((run.singular_values > 0).any()):
            raise CouplingError(
                f"every Jacobian of the run of {printable(str(run.attrs.get('model', 'a model')))} is zero (its blocks "
                "add nothing), so there is nothing to compare and nothing to draw"
            )
    return listed


def kind(run: xr.Dataset) -> str:
    """The name of a run's kind, for labels and messages; ``coupling.dataset.is_depth`` is the test."""
    return str(run.attrs.get("kind", "depth"))


def is_random(run: xr.Dataset) -> bool:
    """Whether the run measured an untrained model."""
    return run.attrs.get("weights") == "random"


def run_names(runs: Sequence[xr.Dataset]) -> list[str]:
    """A short name of each run; no two are equal."""
    names = [_run_name(run) for run in runs]
    if len({kind(run) for run in runs}) > 1:
        names = [
            f"{name} ({kind(run)})" if names.count(name) > 1 else name for name, run in zip(names, runs, strict=True)
        ]
    return [
        f"{name} #{names[: index + 1].count(name)}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def _run_name(run: xr.Dataset) -> str:
    name = str(run.attrs.get("model") or "model").rstrip("/").split("/")[-1]
    if run.attrs.get("revision"):
        name += f"@{run.attrs['revision']}"
    return printable(name, 40) + (" (random weights)" if is_random(run) else "")


def require_depth(run: xr.Dataset, picture: Picture) -> None:
    """Check that a run compares blocks, for a picture that does.

    Raises:
        CouplingError: if the run is not of kind depth.
    """
    if not is_depth(run):
        raise CouplingError(
            f"the picture {picture} compares blocks, and this run of kind {kind(run)} compares tokens; "
            "run analyze with `kind='depth'` to measure one"
        )


# K, prompts, blocks and tokens


def shared_k(runs: Sequence[xr.Dataset], k: K | None) -> K:
    """The given K, or the largest that all runs have: numbers at different K cannot be compared.

    A share of the width, such as "10%", is another number for runs of different widths.

    Raises:
        CouplingError: if a run was not measured at it, or the runs share none.
    """
    if k is None:
        shared = shared_ks(runs)
        return max([one for one in shared if not isinstance(one, str)], default=shared[-1])
    for run in runs:
        find_k(run, k)
    return normalize_k(k)[0]


def choose_prompt(run: xr.Dataset, prompt: int) -> int:
    """A prompt's index.

    Raises:
        CouplingError: if the run has no such prompt.
    """
    if not 0 <= prompt < run.sizes["prompt"]:
        word = input_word(run)
        raise CouplingError(f"there is no {word} {prompt}: the run's {word}s are 0 to {run.sizes['prompt'] - 1}")
    return prompt


def pair_names(run: xr.Dataset) -> list[str]:
    """The blocks of a run that compares tokens: ``3`` for a block with itself, ``2:5`` for two blocks."""
    pairs = zip(run.block.values.tolist(), run.other_block.values.tolist(), strict=True)
    return [str(first) if first == second else f"{first}:{second}" for first, second in pairs]


def choose_block(run: xr.Dataset, block: int | str | None) -> int:
    """The index along ``block`` of a block (3) or a pair of blocks ("2:5"), or of the middle one.

    Raises:
        CouplingError: if the run compares blocks, or if none or several of its blocks have this name.
    """
    if is_depth(run):
        raise CouplingError("`block` is for runs that compare tokens; this run of kind depth compares blocks")
    names = pair_names(run)
    if block is None:
        return (len(names) - 1) // 2
    if str(block) in names:
        return names.index(str(block))
    alike = [name for name in names if name.split(":")[0] == str(block)]
    if len(alike) != 1:
        raise CouplingError(f"the run has {'several of' if alike else 'no'} block {block}: it has {', '.join(names)}")
    return names.index(alike[0])


def token_position(token: int | str, n_tokens: int) -> int:
    """A token's position in its prompt; negative numbers count from the end, and "last" is -1.

    Raises:
        CouplingError: if the token is another text.

    Example:
        >>> token_position("last", 7), token_position(-2, 7), token_position(3, 7)
        (6, 5, 3)
    """
    if isinstance(token, str):
        if token != "last":
            raise CouplingError(f"`tokens` is {token!r}, but must be a number, 'last', or (first, one past the last)")
        return n_tokens - 1
    return int(token) + n_tokens if token < 0 else int(token)


def choose_range(
    wanted: Tokens | None, available: Sequence[int], what: str, count: int = 8, *, length: int | None = None
) -> list[int]:
    """The available numbers in a range; by default the middle ones.

    Args:
        wanted: one number, or (first, one past the last).
        available: ascending.
        what: "blocks" or "tokens", for the message.
        count: how many by default.
        length: for tokens, that of the prompt (see ``token_position``).

    Raises:
        CouplingError: if none is available.
    """
    if wanted is None:
        first = max(0, (len(available) - count) // 2)
        return list(available[first : first + count])

    def position(number: int | str) -> int:
        return int(number) if length is None else token_position(number, length)

    if isinstance(wanted, int | str | np.integer):
        first, end = position(wanted), position(wanted) + 1
    else:
        first, end = map(position, wanted)
    chosen = [number for number in available if first <= number < end]
    if not chosen:
        raise CouplingError(f"`{what}` is {wanted}, but the run's {what} are {numbers_as_text(available)}")
    return chosen


def numbers_as_text(numbers: Sequence[int]) -> str:
    """``0 to 7``, or the numbers themselves if some between them are missing.

    Example:
        >>> numbers_as_text([2, 0, 1]), numbers_as_text([0, 1, 3])
        ('0 to 2', '0, 1, 3')
    """
    numbers = sorted(set(numbers))
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def token_texts(run: xr.Dataset, prompt: int) -> list[str]:
    """The tokens of a prompt as text, or patches by their place; numbers if the run does not contain them."""
    count = int(run.n_tokens.isel(prompt=prompt))
    if "token_text" not in run:
        return [str(index) for index in range(count)]
    blank = " " if input_word(run) == "image" else "·"  # the place of a patch is "(3, 4)"
    return [printable(str(text), 14, blank=blank) for text in run.token_text.isel(prompt=prompt).values[:count]]


# Values


def variant_suffix(variant: Variant) -> str:
    """How a variant is named at the end of a label; empty for the default."""
    return "" if variant == variant_of() else f", {variant.label}"


def mean_over_pairs(
    run: xr.Dataset,
    variable: str,
    *,
    k: K,
    norm: int = 2,
    prompt: int | None = None,
    block: int | str | None = None,
) -> xr.DataArray:
    """A variable over pairs: (block, other_block) for kind depth, otherwise (token, other_token) of one block.

    The mean over the measured tokens of a depth run is taken first and the one over prompts last, as in the score.
    NaN where a Jacobian is compared with itself.

    Args:
        run: any run.
        variable: a variant of mismatch or chance (see ``coupling.choices.Variant.variable``).
        k: number of top singular vectors.
        norm: p, 1 or 2.
        prompt: one prompt; default: the mean over prompts.
        block: see ``choose_block``.

    Raises:
        CouplingError: if the run has no such k, norm, prompt or block.
    """
    values = off_diagonal(run, variable).sel(k=find_k(run, k, norm), norm=norm)
    if prompt is not None:
        values = values.isel(prompt=choose_prompt(run, prompt))
    if not is_depth(run) or block is not None:
        values = values.isel(block=choose_block(run, block))
    kept = ("block", "other_block") if is_depth(run) else ("token", "other_token")
    mean = mean_prompt_by_prompt(values, kept)
    if not is_depth(run):  # tokens that were not measured
        mean = mean.dropna("token", how="all").dropna("other_token", how="all")
    return mean.transpose(*kept)


def mean_prompt_by_prompt(values: xr.DataArray, kept: Sequence[str]) -> xr.DataArray:
    """The mean over all dimensions but ``kept``, prompt by prompt first: long prompts weigh no more than short ones."""
    within = values.mean([dim for dim in values.dims if dim not in (*kept, "prompt")])
    return within.mean("prompt") if "prompt" in within.dims else within


def overall_mean(values: xr.DataArray) -> float:
    """The mean of the values that are not NaN."""
    return float(np.nanmean(values.values))


def detailed_index(run: xr.Dataset, variable: str, picture: Picture, prompt: int | None) -> int:
    """The index along ``detailed_prompt`` of a prompt; by default that of the first prompt with detail.

    Raises:
        CouplingError: if the run did not keep the variable for it; the message names the argument that keeps it.
    """
    name = variable.replace("_", " ")
    if variable not in run:
        raise CouplingError(
            f"the run contains no {name}, which the picture {picture} draws; run analyze again with `detail='all'` "
            "(the other arguments the same, and `overwrite=True` or another `out`)"
        )
    if prompt is None:
        return 0
    detailed = run.detailed_prompt.values.tolist()
    if choose_prompt(run, prompt) not in detailed:
        word = input_word(run)
        raise CouplingError(
            f"{word} {prompt} has no {name}: the run kept it for {word}s {numbers_as_text(detailed)}; run "
            "analyze again with `detail='all'`"
        )
    return detailed.index(prompt)


def detailed_prompt_number(run: xr.Dataset, index: int) -> int:
    """The number of the prompt at an index along ``detailed_prompt``."""
    return int(run.detailed_prompt.values[index])
