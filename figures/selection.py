"""What the pictures read out of runs: names, defaults, means, and clear refusals of what is not there."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from coupling.choices import variant_of
from coupling.dataset import check_contains, off_diagonal
from coupling.errors import CouplingError
from coupling.figures.style import printable

Runs = xr.Dataset | Sequence[xr.Dataset]


def as_runs(runs: Runs) -> list[xr.Dataset]:
    """One run or several, as a list.

    Raises:
        CouplingError: if there is none.
    """
    found = [runs] if isinstance(runs, xr.Dataset) else list(runs)
    if not found:
        raise CouplingError("no run was given")
    return found


def run_names(runs: Sequence[xr.Dataset]) -> list[str]:
    """A short name of each run, no two equal."""
    names = []
    for run in runs:
        name = str(run.attrs.get("model") or "model").rstrip("/").split("/")[-1]
        if run.attrs.get("revision"):
            name += f"@{run.attrs['revision']}"
        if is_random(run):
            name += " (random weights)"
        names.append(printable(name, 40))
    if len({kind(run) for run in runs}) > 1:
        names = [f"{name} ({kind(run)})" if names.count(name) > 1 else name
                 for name, run in zip(names, runs, strict=True)]  # fmt: skip
    return [
        f"{name} #{names[: index + 1].count(name)}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def is_random(run: xr.Dataset) -> bool:
    """Whether the run measured an untrained model."""
    return run.attrs.get("weights") == "random"


def kind(run: xr.Dataset) -> str:
    """Which Jacobians a run compares."""
    return str(run.attrs.get("kind", "depth"))


def need_depth(run: xr.Dataset, picture: str) -> None:
    """Refuse a run that compares tokens where the picture compares blocks.

    Raises:
        CouplingError: if the run is not of kind depth.
    """
    if kind(run) != "depth":
        raise CouplingError(
            f"the picture {picture} compares blocks, and this run of kind {kind(run)} compares tokens; "
            "measure one with coupling analyze --kind depth"
        )


def choose_k(run: xr.Dataset, k: int | None) -> int:
    """The K asked for, or the largest that the run holds.

    Raises:
        CouplingError: if the run does not hold it.
    """
    if k is None:
        return int(run.k.values[-1])
    check_contains(run, k)
    return k


def shared_k(runs: Sequence[xr.Dataset], k: int | None) -> int:
    """The K asked for, or the largest that all runs hold: numbers of different K do not compare.

    Raises:
        CouplingError: if a run does not hold it, or the runs share none.
    """
    if k is not None:
        for run in runs:
            check_contains(run, k)
        return k
    shared = set(runs[0].k.values.tolist()).intersection(*(run.k.values.tolist() for run in runs[1:]))
    if not shared:
        raise CouplingError(f"the runs share no K: they hold {', '.join(str(run.k.values.tolist()) for run in runs)}")
    return max(shared)


def choose_prompt(run: xr.Dataset, prompt: int) -> int:
    """A prompt's place.

    Raises:
        CouplingError: if the run has no such prompt.
    """
    if not 0 <= prompt < run.sizes["prompt"]:
        raise CouplingError(f"there is no prompt {prompt}: the run's prompts are 0 to {run.sizes['prompt'] - 1}")
    return prompt


def pair_names(run: xr.Dataset) -> list[str]:
    """What a run that compares tokens has along ``block``: ``3`` for a block with itself, ``2:5`` for two."""
    pairs = zip(run.block.values.tolist(), run.other_block.values.tolist(), strict=True)
    return [str(first) if first == second else f"{first}:{second}" for first, second in pairs]


def choose_block(run: xr.Dataset, block: int | str | None) -> int:
    """The place along ``block`` of the block (3) or pair of blocks ("2:5") asked for, or of the middle one.

    Raises:
        CouplingError: if the run compares blocks, does not hold it, or holds several that begin with it.
    """
    if kind(run) == "depth":
        raise CouplingError("one block belongs to runs that compare tokens; this run of kind depth compares blocks")
    held = pair_names(run)
    if block is None:
        return (len(held) - 1) // 2
    if str(block) in held:
        return held.index(str(block))
    alike = [name for name in held if name.split(":")[0] == str(block)]
    if len(alike) != 1:
        raise CouplingError(f"the run has {'several of' if alike else 'no'} block {block}: it holds {', '.join(held)}")
    return held.index(alike[0])


def span(numbers: Sequence[int]) -> str:
    """``0 to 7``, or the numbers themselves where some are left out."""
    numbers = sorted(set(numbers))
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def choose_range(wanted: tuple[int, int] | None, available: Sequence[int], what: str, count: int = 8) -> list[int]:
    """The numbers of a half-open range that are available; by default the middle ones.

    Args:
        wanted: (first, one past the last), as Python slices count.
        available: ascending.
        what: "blocks" or "tokens", for the message.
        count: how many by default.

    Raises:
        CouplingError: if the range holds none.
    """
    if wanted is None:
        first = max(0, (len(available) - count) // 2)
        return list(available[first : first + count])
    chosen = [number for number in available if wanted[0] <= number < wanted[1]]
    if not chosen:
        raise CouplingError(f"{what} {wanted[0]}:{wanted[1]} holds none of the run's {what}, {span(available)}")
    return chosen


def mean_over_pairs(
    run: xr.Dataset, quantity: str, *, k: int, norm: int = 2, signed: bool = False, swapped: bool = False,
    prompt: int | None = None, block: int | str | None = None,
) -> xr.DataArray:  # fmt: skip
    """``mismatch`` or ``chance`` over pairs: (block, other_block) for depth, (token, other_token) of a block else.

    Averaged over the measured tokens of a depth run, then over prompts unless one is chosen, as the score is; a
    Jacobian's comparison with itself is NaN. ``block``: see ``choose_block``.

    Raises:
        CouplingError: if the run holds no such k, norm or prompt.
    """
    check_contains(run, k, norm)
    values = off_diagonal(run, variant_of(signed=signed, swapped=swapped).variable(quantity)).sel(k=k, norm=norm)
    if prompt is not None:
        values = values.isel(prompt=choose_prompt(run, prompt))
    if kind(run) != "depth" or block is not None:
        values = values.isel(block=choose_block(run, block))
    kept = ("block", "other_block") if kind(run) == "depth" else ("token", "other_token")
    mean = prompts_last(values, kept)
    if kind(run) != "depth":  # tokens that were not measured
        mean = mean.dropna("token", how="all").dropna("other_token", how="all")
    return mean.transpose(*kept)


def prompts_last(values: xr.DataArray, kept: Sequence[str]) -> xr.DataArray:
    """The mean over what is not kept, prompt by prompt first: long prompts weigh no more than short ones."""
    within = values.mean([dim for dim in values.dims if dim not in (*kept, "prompt")])
    return within.mean("prompt") if "prompt" in within.dims else within


def overall_mean(values: xr.DataArray) -> float:
    """The mean of what is finite."""
    return float(np.nanmean(values.values))


def detail_place(run: xr.Dataset, variable: str, picture: str, prompt: int | None) -> int:
    """The place along ``detailed_prompt`` of a prompt, or of the first that has detail.

    Raises:
        CouplingError: if the run kept none of it, with the option that keeps it.
    """
    if variable not in run:
        raise CouplingError(
            f"the run holds no {variable.replace('_', ' ')}, which the picture {picture} draws; measure it again with "
            "coupling analyze --detail all (same arguments, and --overwrite or another --out)"
        )
    if prompt is None:
        return 0
    held = run.detailed_prompt.values.tolist()
    if choose_prompt(run, prompt) not in held:
        raise CouplingError(
            f"prompt {prompt} has no {variable.replace('_', ' ')}: the run kept it for prompts {span(held)}; measure "
            "it again with coupling analyze --detail all"
        )
    return held.index(prompt)


def token_texts(run: xr.Dataset, prompt: int) -> list[str]:
    """The tokens of a prompt as text; their numbers where the run does not know it."""
    count = int(run.n_tokens.isel(prompt=prompt))
    if "token_text" not in run:
        return [str(index) for index in range(count)]
    return [printable(str(text), 14, blank="·") for text in run.token_text.isel(prompt=prompt).values[:count]]


def variant_name(signed: bool, swapped: bool) -> str:
    """How a variant is named in a label; empty for the default."""
    return "".join([", swapped" if swapped else "", ", signed" if signed else ""])
