"""The study's design: the objectives of the small model's study, two seeds, and a hash of all that matters."""

from dataclasses import replace

from coupling.analyses.studies.smollm2_rl import design
from coupling.analyses.studies.smollm2_rl.design import COMPARED, SEEDS, STEPS, planned


def test_two_objectives_with_two_seeds_one_seed_after_the_other():
    plans = planned()
    assert [plan.objective.name for plan in plans] == ["P3O, batch", "DAPO 0.2"] * 2
    assert [plan.seed for plan in plans] == [200, 200, 201, 201]
    assert len({plan.file for plan in plans}) == len({plan.design for plan in plans}) == 4
    assert (COMPARED[0].trainer, COMPARED[1].trainer) == ({"ess_scope": "batch"}, {"epsilon": 0.2})
    assert plans[1].file == "dapo-0.2-seed-200.json"
    assert STEPS % design.EVERY == 0
    assert SEEDS[0] != 90  # the pilot's


def test_another_design_has_another_hash(monkeypatch):
    plan = planned()[0]
    before = plan.design
    assert replace(plan, steps=8).design != before
    monkeypatch.setattr(design, "LORA", design.LORA | {"r": 4})
    assert plan.design != before
