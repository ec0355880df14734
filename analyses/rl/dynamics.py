"""The measures that a run of ``coupling rl`` logged, as rows of the table of training dynamics."""

import re
from typing import Any

from coupling.analyses.rl.saved_run import SavedRlRun
from coupling.choices import CALIBRATED, NORMS
from coupling.errors import CouplingError
from coupling.shares import K, key_of, normalize_k

OF_TOKENS = ("line_shape_score", "expodistance", "residual_growth")
LOGGED = re.compile(r"coupling/(score|chance|excess)_k(\d+|[\d.]+pct)_p([12])")
"""The names under which ``coupling.training.CouplingCallback`` logs what depends on K and p."""


def dynamics_rows(run: SavedRlRun) -> list[dict[str, Any]]:
    """One row per measured step, K and p, with the columns of ``coupling.analyses.dynamics.dynamics_table``.

    The table of a run has the first K of its probe at p = 2 without their names; every other K and p is in columns of
    its own.

    Args:
        run: a run of ``coupling rl``.

    Raises:
        CouplingError: if coupling was measured at no step.
    """
    first = _first_k(run)
    rows = []
    for row in run.rows:
        of_tokens = {name: row.get(f"coupling/{name}") for name in OF_TOKENS}
        place = {"model": run.name, "seed": row["seed"], "step": row["step"]}
        for (k, norm), values in _of_k_and_p(row, first).items():
            number = row.get(f"coupling/k{key_of(k)}", 0) if isinstance(k, str) else k
            of_k = {measure.name: row.get(f"coupling/{measure.name}_k{key_of(k)}") for measure in CALIBRATED}
            rows.append(place | {"k": int(number), "k_label": str(k), "norm": norm} | values | of_k | of_tokens)
    if not rows:
        raise CouplingError(
            f"the run {run.folder} of coupling rl measured coupling at no step; give its configuration a probe"
        )
    return rows


def _first_k(run: SavedRlRun) -> K:
    """The K of the columns score, chance and excess."""
    if run.of_k:
        return normalize_k(_number_or_share(run.of_k.removeprefix("K = ")))[0]
    logged = sorted({match[2] for row in run.rows for name in row if (match := LOGGED.fullmatch(name))})
    return _k_of(logged[0]) if logged else 10


def _of_k_and_p(row: dict[str, Any], first: K) -> dict[tuple[K, int], dict[str, float]]:
    """Score, chance and excess of a step, by K and p."""
    found: dict[tuple[K, int], dict[str, float]] = {}
    for name in ("score", "chance", "excess"):
        if name in row:
            found.setdefault((first, NORMS[-1]), {})[name] = row[name]
    for name, value in row.items():
        match = LOGGED.fullmatch(name)
        if match is not None:
            found.setdefault((_k_of(match[2]), int(match[3])), {})[match[1]] = value
    return {place: values for place, values in found.items() if "score" in values}


def _number_or_share(text: str) -> K:
    return int(text) if text.isdecimal() else text


def _k_of(key: str) -> K:
    return key.replace("pct", "%") if key.endswith("pct") else int(key)
