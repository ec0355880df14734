"""The study's design: what is planned, in which order, and that a changed design is another one."""

from coupling.analyses.studies.lead_time import design
from coupling.analyses.studies.lead_time.design import BASELINE, EVERY, FAULTS, HEALTHY, SEEDS, STEPS, Planned, planned
from coupling.analyses.studies.lead_time.faults import ONSET


def test_every_fault_runs_with_three_seeds_beside_six_healthy_runs():
    plans = planned()
    assert len(plans) == len(set(plans)) == 18
    assert len({plan.file for plan in plans}) == len({plan.design for plan in plans}) == 18
    assert {sum(plan.fault == fault for plan in plans) for fault in FAULTS if fault != HEALTHY} == {3}
    assert sum(plan.fault == HEALTHY for plan in plans) == 6
    assert [plan.seed for plan in plans if plan.fault == "rate"] == list(SEEDS)
    assert min(plan.seed for plan in plans) == 200  # neither earlier experiments nor pilots used these


def test_batches_of_rollouts_and_measurements_begin_together_with_the_faults():
    assert ONSET % EVERY == STEPS % EVERY == BASELINE[0] % EVERY == 0
    assert BASELINE[1] == ONSET
    assert design.TRAINER["num_iterations"] == EVERY


def test_another_design_has_another_hash(monkeypatch):
    plan = Planned("stale", 200)
    before = plan.design
    assert plan.file == "stale-seed-200.json"
    assert len({before, Planned("stale", 201).design, Planned("rate", 200).design}) == 3
    monkeypatch.setattr(design, "TRAINER", design.TRAINER | {"learning_rate": 1.0})
    assert plan.design != before
