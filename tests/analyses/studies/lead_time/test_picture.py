"""The pictures of the study: a marker per signal and run that went bad, and a panel per fault."""

from coupling.analyses.studies.lead_time.design import FAULTS, SIGNALS, planned
from coupling.analyses.studies.lead_time.picture import draw_leads, draw_rewards, label_of
from coupling.analyses.studies.lead_time.results import alarms, by_run, by_signal, read_curves, severities


def test_every_run_that_went_bad_has_a_marker_for_every_signal(results):
    curves = read_curves(planned(), results)
    leads = alarms(severities(curves), by_run(curves), 0)
    axes, aside = draw_leads(leads, by_signal(curves)).axes
    markers = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert len(markers) == 9 * len(SIGNALS)
    assert [label.get_text() for label in axes.get_yticklabels()] == [label_of(signal) for signal in SIGNALS]
    open_ones = [line for line in markers if line.get_markerfacecolor() == "none"]
    assert len(open_ones) == leads[leads["bad"].notna() & leads["alarm"].isna()].shape[0] > 0
    (points,) = [line for line in aside.lines if line.get_marker() == "o"]
    assert len(points.get_xdata()) == len(SIGNALS)


def test_a_panel_per_fault_and_a_cross_where_a_run_has_gone_bad(results):
    curves = read_curves(planned(), results)
    figure = draw_rewards(curves, by_run(curves))
    assert [axes.get_ylabel() for axes in figure.axes] == list(FAULTS)
    crosses = [sum(line.get_marker() == "x" for line in axes.lines) for axes in figure.axes]
    assert crosses == [0, 3, 0, 3, 3]
