"""The study's design: what is planned, in which order, and that a changed design is another one."""

from dataclasses import replace

from coupling.analyses.studies.off_policy import design
from coupling.analyses.studies.off_policy.design import CONDITIONS, OBJECTIVES, SEEDS, Planned, planned


def test_every_objective_runs_in_every_condition_with_every_seed_and_a_seed_is_completed_first():
    plans = planned()
    assert len(plans) == len(CONDITIONS) * len(OBJECTIVES) * len(SEEDS) == 100
    assert len({plan.file for plan in plans}) == len({plan.design for plan in plans}) == 100
    assert [plan.seed for plan in plans] == sorted(plan.seed for plan in plans)
    assert {plan.steps for plan in plans} == {300}
    assert not set(SEEDS) & set(range(100))  # seeds of earlier experiments


def test_another_design_has_another_hash(monkeypatch):
    plan = Planned("16 old", OBJECTIVES[0], 100)
    assert plan.file == "16-old-p3o-batch-seed-100.json"
    others = [replace(plan, steps=10), replace(plan, objective=OBJECTIVES[1]), replace(plan, condition="4 bits")]
    assert len({plan.design, *(other.design for other in others)}) == 4
    before = plan.design
    monkeypatch.setattr(design, "TRAINER", design.TRAINER | {"learning_rate": 1.0})
    assert plan.design != before
