"""What the study's results say: thresholds from the healthy runs, alarms in the others, and their lead times."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coupling.analyses.studies.lead_time.alarms import first_alarm, severity, smoothed, went_bad
from coupling.analyses.studies.lead_time.design import (
    COUPLING,
    HEALTHY,
    HELD_OUT,
    LOGARITHMIC,
    RIVALS,
    SIGNALS,
    Planned,
)
from coupling.analyses.studies.resumable import read_result
from coupling.files import write_atomically

ALLOWED = (0, 1)
"""Healthy runs that may give an alarm: each number has its own threshold."""
KEYS = ["fault", "seed"]


def read_curves(plans: Sequence[Planned], out: Path) -> pd.DataFrame:
    """Every signal of all runs that have a result.

    Returns:
        One row per run and measurement: ``fault``, ``seed``, ``ended``, ``step`` and a column per signal; empty without
        results.
    """
    parts = []
    for plan in plans:
        result = read_result(plan, out)
        if result is not None:
            labels = {name: result[name] for name in (*KEYS, "ended")}
            parts.append(pd.DataFrame(result["columns"], dtype=float).assign(**labels))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def group_of(signal: str) -> str:
    """What a signal belongs to: ``coupling`` (measures of the model), ``rival``, or ``held out``."""
    return "coupling" if signal in COUPLING else "rival" if signal in RIVALS else "held out"


def by_run(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per run.

    Returns:
        ``fault``, ``seed``; ``bad``, the update at which it went bad (NaN: it did not); ``peak`` and ``end``, the
        highest and the last smoothed held-out reward.
    """
    rows = []
    for key, part in curves.groupby(KEYS, sort=False):
        steps, rewards = part["step"].to_numpy(float), part[HELD_OUT].to_numpy(float)
        means = smoothed(rewards)
        bad, peak, end = went_bad(steps, rewards), np.nanmax(means), means[-1]
        rows.append(dict(zip(KEYS, key, strict=True)) | {"bad": bad, "peak": peak, "end": end})
    return pd.DataFrame(rows)


def severities(curves: pd.DataFrame) -> pd.DataFrame:
    """The severity of every signal at every measurement, in the form of ``curves``."""
    parts = []
    for _, part in curves.groupby(KEYS, sort=False):
        steps = part["step"].to_numpy(float)
        columns = {name: severity(steps, _values(part, name)) for name in SIGNALS}
        parts.append(part[[*KEYS, "step"]].assign(**columns))
    return pd.concat(parts, ignore_index=True)


def _values(part: pd.DataFrame, signal: str) -> np.ndarray:
    """A signal of one run; the logarithm of those of ``LOGARITHMIC``."""
    values = part[signal].to_numpy(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(values) if signal in LOGARITHMIC else values


def thresholds(found: pd.DataFrame) -> pd.DataFrame:
    """The lowest threshold of each signal at which no more healthy runs give an alarm than is allowed.

    Args:
        found: the table of ``severities``.

    Returns:
        One row per signal, in the baseline's standard deviations, and one column for each of ``ALLOWED``.
    """
    healthy = found[found["fault"] == HEALTHY].groupby("seed")[list(SIGNALS)].max()
    ordered = {signal: sorted(healthy[signal], reverse=True) for signal in SIGNALS}
    return pd.DataFrame(
        {
            allowed: {signal: values[min(allowed, len(values) - 1)] for signal, values in ordered.items()}
            for allowed in ALLOWED
        }
    )


def alarms(found: pd.DataFrame, runs: pd.DataFrame, allowed: int) -> pd.DataFrame:
    """The first alarm of every signal in every run.

    Args:
        found: the table of ``severities``.
        runs: the table of ``by_run``.
        allowed: one of ``ALLOWED``.

    Returns:
        ``fault``, ``seed``, ``signal``; ``alarm``, its update; ``bad``; ``lead = bad - alarm``, in updates.
    """
    limits = thresholds(found)[allowed]
    rows = [
        dict(zip(KEYS, key, strict=True))
        | {"signal": signal}
        | {"alarm": first_alarm(part["step"].to_numpy(float), part[signal].to_numpy(float), float(limits[signal]))}
        for key, part in found.groupby(KEYS, sort=False)
        for signal in SIGNALS
    ]
    table = pd.DataFrame(rows).merge(runs[[*KEYS, "bad"]], on=KEYS)
    return table.assign(lead=table["bad"] - table["alarm"])


def separation(found: pd.DataFrame, runs: pd.DataFrame, signal: str) -> float:
    """The share of pairs in which a run, before it goes bad, is more severe than a healthy run ever is.

    Ties count half. It does not depend on a threshold: 1 means that one threshold would tell all runs apart in time,
    and 0.5 is what a signal has that knows nothing, or less, because the healthy runs are longer.
    """
    largest: dict[bool, list[float]] = {True: [], False: []}
    for row in runs.itertuples():
        part = found[(found["fault"] == row.fault) & (found["seed"] == row.seed)]
        if row.fault == HEALTHY:
            largest[False].append(float(part[signal].max()))
        elif np.isfinite(row.bad):
            largest[True].append(float(part[part["step"] < row.bad][signal].max()))
    bad, healthy = (np.array(largest[kind])[:, None] for kind in (True, False))
    if not len(bad) or not len(healthy):
        return float("nan")
    return float(np.mean((bad > healthy.T) + 0.5 * (bad == healthy.T)))


def by_signal(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per signal and number of allowed false alarms.

    Args:
        curves: the table of ``read_curves``.

    Returns:
        ``allowed`` and ``false_alarms`` of ``healthy`` runs; ``threshold``; of the ``bad`` runs with a fault that went
        bad, those with an alarm ``before`` that (a lead time above 0), with a ``late`` one, and with ``none``;
        ``median_lead`` over the alarms of these runs; ``alarms_sound``, the number of alarms in the ``sound`` runs
        with a fault that did not go bad; ``separation``.
    """
    runs, found = by_run(curves), severities(curves)
    rows: list[dict[str, Any]] = []
    for allowed in ALLOWED:
        limits, table = thresholds(found)[allowed], alarms(found, runs, allowed)
        for signal in SIGNALS:
            own = table[table["signal"] == signal]
            healthy, faulty = own[own["fault"] == HEALTHY], own[own["fault"] != HEALTHY]
            bad, sound = faulty.dropna(subset=["bad"]), faulty[faulty["bad"].isna()]
            rows.append(
                {"group": group_of(signal), "signal": signal, "allowed": allowed, "threshold": limits[signal]}
                | {"healthy": len(healthy), "false_alarms": int(healthy["alarm"].notna().sum()), "bad": len(bad)}
                | {"before": int((bad["lead"] > 0).sum()), "late": int((bad["lead"] <= 0).sum())}
                | {"none": int(bad["alarm"].isna().sum()), "median_lead": bad["lead"].median()}
                | {"sound": len(sound), "alarms_sound": int(sound["alarm"].notna().sum())}
                | {"separation": separation(found, runs, signal)}
            )
    return pd.DataFrame(rows)


def write_results(plans: Sequence[Planned], out: Path) -> str:
    """Write the tables ``lead-time*.csv`` and the pictures ``lead-time*.png`` beside the folder of the results.

    Args:
        plans: all planned runs.
        out: the folder of the results.

    Returns:
        How many of the planned runs have a result, and the tables.

    Raises:
        CouplingError: if a file cannot be written.
    """
    curves = read_curves(plans, out)
    done = 0 if curves.empty else len(curves.drop_duplicates(KEYS))
    said = f"{done} of {len(plans)} planned runs are finished"
    if curves.empty or HEALTHY not in set(curves["fault"]):
        return said
    runs, table = by_run(curves), by_signal(curves)
    leads = alarms(severities(curves), runs, ALLOWED[0])
    for name, content in (("", table), ("-runs", runs), ("-alarms", leads)):
        write_atomically(out.parent / f"lead-time{name}.csv", content.round(4).to_csv(index=False).encode())
    from coupling import figures
    from coupling.analyses.studies.lead_time.picture import draw_leads, draw_rewards

    figures.save(draw_rewards(curves, runs), out.parent / "lead-time-rewards.png")
    figures.save(draw_leads(leads, table), out.parent / "lead-time.png")
    return f"{said}\n{runs.round(3).to_string(index=False)}\n{table.round(3).to_string(index=False)}"
