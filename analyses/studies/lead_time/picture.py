"""The study's pictures: lead times by signal, and the held-out reward of every run."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from coupling.analyses.studies.lead_time.alarms import smoothed
from coupling.analyses.studies.lead_time.design import FAULTS, HEALTHY, HELD_OUT, ONSET, SIGNALS, STEPS
from coupling.figures.style import GRAY, PALETTE, legend_above, new_figure, styled

MARKERS = ("o", "s", "^", "D")
LABELS = {HELD_OUT: "held-out reward", "reward": "trained reward", "grad_norm": "gradient norm"}
"""Names of signals in pictures, where they differ from their own with spaces."""
SPREAD = 0.5
"""The height over which the markers of one signal are spread, so that none hides another."""


def label_of(signal: str) -> str:
    """What pictures and pages call a signal.

    Example:
        >>> label_of("grad_norm"), label_of("left_overlap")
        ('gradient norm', 'left overlap')
    """
    return LABELS.get(signal, signal.replace("_", " "))


def draw_leads(leads: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """The lead time of every signal in every run that went bad; on the right its separation.

    Args:
        leads: the table of ``coupling.analyses.studies.lead_time.results.alarms``.
        table: that of ``by_signal``.
    """
    faults = [fault for fault in FAULTS if fault != HEALTHY]
    bad = leads[(leads["fault"] != HEALTHY) & leads["bad"].notna()]
    looks: dict[str, dict[str, Any]] = {
        fault: {"color": PALETTE[at], "marker": MARKERS[at]} for at, fault in enumerate(faults)
    }
    with styled():
        figure = new_figure(5.2)
        axes, aside = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
        missed = min(0.0, bad["lead"].min()) - STEPS / 10  # left of all alarms
        axes.axvline(0, color=GRAY, linewidth=0.8)
        for row, signal in enumerate(SIGNALS):
            own = bad[bad["signal"] == signal]
            heights = row + np.linspace(-SPREAD / 2, SPREAD / 2, max(len(own), 2))[: len(own)]
            for height, one in zip(heights, own.itertuples(), strict=True):
                has_alarm = np.isfinite(one.lead)
                face = looks[one.fault]["color"] if has_alarm else "none"
                axes.plot(
                    one.lead if has_alarm else missed,
                    height,
                    linestyle="",
                    markersize=4,
                    markerfacecolor=face,
                    **looks[one.fault],
                )
        separation = table.drop_duplicates("signal").set_index("signal")["separation"]
        aside.axvline(0.5, color=GRAY, linewidth=0.8)
        aside.plot([separation[signal] for signal in SIGNALS], range(len(SIGNALS)), "o", color=PALETTE[6], markersize=4)
        aside.set_xlim(-0.05, 1.05)
        aside.set_xlabel("separation")
        axes.set_yticks(range(len(SIGNALS)), [label_of(signal) for signal in SIGNALS])
        axes.invert_yaxis()
        axes.set_xlabel("lead time in updates (open, left: no alarm)")
        handles = [Line2D([], [], linestyle="", label=fault, **looks[fault]) for fault in faults]
        legend_above(figure, handles, faults)
    return figure


def draw_rewards(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """The smoothed held-out reward of every run, one panel per fault; a mark where a run has gone bad.

    Args:
        curves: the table of ``coupling.analyses.studies.lead_time.results.read_curves``.
        runs: that of ``by_run``.
    """
    with styled():
        figure = new_figure(1.2 * len(FAULTS) + 0.6)
        panels = figure.subplots(len(FAULTS), 1, sharex=True, sharey=True)
        for axes, fault in zip(panels, FAULTS, strict=True):
            axes.axvline(ONSET, color=GRAY, linewidth=0.8, linestyle=":")
            for at, (seed, part) in enumerate(curves[curves["fault"] == fault].groupby("seed")):
                steps, means = part["step"].to_numpy(float), smoothed(part[HELD_OUT].to_numpy(float))
                axes.plot(steps, means, color=PALETTE[at % len(PALETTE)])
                bad = runs[(runs["fault"] == fault) & (runs["seed"] == seed)]["bad"].iloc[0]
                if np.isfinite(bad):
                    axes.plot(bad, means[steps == bad], "x", color=PALETTE[6])
            axes.set_ylabel(fault)
        panels[0].set_ylim(bottom=0)  # of all panels
        panels[-1].set_xlabel("update (dotted: from here on the fault; cross: the run has gone bad)")
        figure.supylabel("smoothed held-out reward", fontsize=10)
    return figure
