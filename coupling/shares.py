"""K, the number of top singular vectors: a number, or a share of the width such as "10%"; imports no torch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from coupling.errors import CouplingError
from coupling.untrusted import quoted

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

K = int | str
"""A number of top singular vectors, or a share of the width: "10%" is d // 10."""
SHARE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
LABEL = "k_label"
"""The coordinate of a run that says how each K was asked for; a run without it was given numbers alone."""


def share_of(k: K) -> Fraction | None:
    """The share of the width that a K is; None for a number.

    Raises:
        CouplingError: if the share is not above 0 and at most 100%.

    Example:
        >>> share_of("10%"), share_of(10)
        (Fraction(1, 10), None)
    """
    match = SHARE.fullmatch(k) if isinstance(k, str) else None
    if match is None:
        return None
    share = Fraction(match[1]) / 100
    if not 0 < share <= 1:
        raise CouplingError(f"K is {k}, but a share of the width must be above 0% and at most 100%")
    return share


def normalize_k(k: K | Sequence[K]) -> tuple[K, ...]:
    """One K or several without repetitions: numbers in ascending order, then shares in ascending order.

    Raises:
        CouplingError: if there is none, one is below 1, or one is neither a whole number nor a share.

    Example:
        >>> normalize_k(["10%", 10, 5])
        (5, 10, '10%')
    """
    ks = tuple(k) if isinstance(k, (Sequence, np.ndarray)) and not isinstance(k, str) else (k,)
    numbers: set[int] = set()
    shares: dict[Fraction, str] = {}
    for one in ks:
        share = share_of(one)
        if share is not None:
            shares[share] = f"{float(100 * share):.12g}%"
        elif isinstance(one, (int, np.integer)) and not isinstance(one, bool):
            numbers.add(int(one))
        else:
            raise CouplingError(
                f"K is {quoted(one)}, but must be a whole number, or a share of the width in percent such as 10%"
            )
    if not numbers and not shares:
        raise CouplingError("`k` is empty; give at least one number of singular vectors")
    if numbers and min(numbers) < 1:
        raise CouplingError(f"K is {min(numbers)}, but must be at least 1")
    return (*sorted(numbers), *(shares[share] for share in sorted(shares)))


@dataclass(frozen=True)
class ResolvedKs:
    """Every K of a measurement for a model of known width.

    Attributes:
        numbers: ascending.
        labels: how each was asked for: "10", "10%", or both, separated by commas.
    """

    numbers: tuple[int, ...]
    labels: tuple[str, ...]

    @property
    def largest(self) -> int:
        """The largest K: everything for a smaller one is part of what it needs."""
        return self.numbers[-1]

    def each_label(self) -> list[tuple[int, K]]:
        """The position of a K, and how it was asked for, for each way in which it was asked for."""
        return [
            (at, part if "%" in part else int(part))
            for at, label in enumerate(self.labels)
            for part in label.split(",")
        ]

    @property
    def has_shares(self) -> bool:
        """Whether one was asked for as a share."""
        return any("%" in label for label in self.labels)


def k_number(k: K, width: int) -> int:
    """The number of singular vectors that a K is for a model of width d; a share is rounded down.

    Raises:
        CouplingError: if it is a share of less than one vector, or above d.

    Example:
        >>> k_number("10%", 576)
        57
    """
    share = share_of(k)
    number = int(k) if share is None else int(width * share)
    if number < 1:
        raise CouplingError(f"K is {k} of the width, but this model's residual stream has d = {width}: less than one")
    if number > width:
        raise CouplingError(f"K is {number}, but this model's residual stream has d = {width}")
    return number


def resolve_ks(ks: Sequence[K], width: int) -> ResolvedKs:
    """Every K as a number, for a model of width d; two that are the same number become one.

    Raises:
        CouplingError: see ``k_number``.

    Example:
        >>> resolve_ks((5, 10, "10%"), 100)
        ResolvedKs(numbers=(5, 10), labels=('5', '10,10%'))
    """
    labels: dict[int, list[str]] = {}
    for k in ks:
        labels.setdefault(k_number(k, width), []).append(str(k))
    numbers = tuple(sorted(labels))
    return ResolvedKs(numbers, tuple(",".join(labels[number]) for number in numbers))


def key_of(k: K) -> str:
    """How a K is written in the name of a logged number, in which "%" is not allowed everywhere.

    Example:
        >>> key_of(10), key_of("10%")
        ('10', '10pct')
    """
    return str(k).replace("%", "pct")


# The K of a run


def labels_of(run: "xr.Dataset") -> list[tuple[K, ...]]:
    """How each K of a run was asked for: as a number, as a share such as "10%", or both."""
    if LABEL not in run.coords:
        return [(number,) for number in run.k.values.tolist()]
    return [tuple(part if "%" in part else int(part) for part in str(label).split(",")) for label in run[LABEL].values]


def k_names(run: "xr.Dataset") -> list[str]:
    """How each K of a run is written: "10", or "57 = 10%" where it was asked for as a share."""
    names = []
    for number, labels in zip(run.k.values.tolist(), labels_of(run), strict=True):
        shares = [str(label) for label in labels if isinstance(label, str)]
        names.append(" = ".join([str(number), *shares]))
    return names


def find_k(run: "xr.Dataset", k: K | None = None, norm: int | None = None) -> int:
    """The number that a K is in a run, after checking that the run contains it, and the norm.

    Args:
        run: a Dataset of ``measure`` or ``analyze``.
        k: a number, or a share such as "10%", however the run was asked for it; default: its largest.
        norm: p; None for any.

    Raises:
        CouplingError: if the run does not contain it; the message names what it contains.
    """
    if norm is not None and norm not in run.norm:
        raise CouplingError(f"the run has no p = {norm}; it has p in {run.norm.values.tolist()}")
    if k is None:
        return int(run.k.max())
    (wanted,) = normalize_k(k)
    for number, labels in zip(run.k.values.tolist(), labels_of(run), strict=True):
        if wanted in labels:
            return int(number)
    number = wanted
    if isinstance(wanted, str):
        if "width" not in run.attrs:
            raise CouplingError(f"the run does not record the model's width, so K = {wanted} of it is not known")
        number = k_number(wanted, int(run.attrs["width"]))
    if number not in run.k:
        which = f"{wanted}" if number == wanted else f"{wanted} ({number} of d = {run.attrs['width']})"
        raise CouplingError(f"the run was not measured at K = {which}, but at K in {run.k.values.tolist()}")
    return int(number)


def at_ks(run: "xr.Dataset", ks: Sequence[K] | None) -> "xr.Dataset":
    """A run at some of its K alone; None for all.

    Raises:
        CouplingError: if the run does not contain one.
    """
    return run if ks is None else run.sel(k=sorted({find_k(run, k) for k in ks}))


def rows_at_k(table: "pd.DataFrame", k: K | None = None) -> "tuple[pd.DataFrame, str]":
    """The rows of a table that are of one K, and how that is written; a table without a column ``k`` stays as it is.

    Args:
        table: with the columns ``k``, and ``k_label`` where K was asked for as a share of the width.
        k: a number, or a share such as "10%"; default: the one whose numbers are largest.

    Raises:
        CouplingError: if the table has no rows of it.
    """
    if "k" not in table:
        if k is not None:
            raise CouplingError("the table has no column k, so `k` cannot choose its rows")
        return table, ""
    labels = (table[LABEL] if LABEL in table else table["k"].astype("Int64")).astype(str)
    if k is None:
        chosen = str(labels.iloc[int(table["k"].to_numpy(dtype=float).argmax())])
    else:
        chosen = str(normalize_k(k)[0])
        if chosen not in set(labels) and isinstance(k, int) and k in set(table["k"]):
            return table[table["k"] == k], chosen
    if chosen not in set(labels):
        known = ", ".join(dict.fromkeys(labels.iloc[table["k"].argsort()]))
        raise CouplingError(f"the table has no rows with K = {chosen}, but with {known}")
    return table[labels == chosen], chosen


def shared_ks(runs: Sequence["xr.Dataset"]) -> list[K]:
    """Every K that all runs were measured at: numbers, then shares that are not the same number in all runs.

    Raises:
        CouplingError: if there is none.
    """
    numbers = set(runs[0].k.values.tolist()).intersection(*(run.k.values.tolist() for run in runs[1:]))
    asked = [{label for labels in labels_of(run) for label in labels if isinstance(label, str)} for run in runs]
    shares = [share for share in asked[0].intersection(*asked[1:]) if len({find_k(run, share) for run in runs}) > 1]
    shared = normalize_k([*numbers, *shares]) if numbers or shares else ()
    if not shared:
        measured = ", ".join(f"[{', '.join(k_names(run))}]" for run in runs)
        raise CouplingError(f"the runs share no K: they were measured at {measured}")
    return list(shared)
